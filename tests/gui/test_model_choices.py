"""The lines of the model menu."""

from __future__ import annotations

from small_models import HYBRID, network
from taught_models import teach

from napari_sam.gui.models import choices
from napari_sam.model import taught_library


def test_model_of_unknown_size_is_offered_without_one() -> None:
    line = next(one for one in choices({}) if one.model == "sam2.1_tiny")
    assert line.text == "sam2.1_tiny · download ⤓"
    assert "Licence Apache-2.0" in line.tip
    assert not line.here


def test_folder_of_the_users_has_its_name(tmp_path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "sam2"}')
    (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    line = choices({}, str(folder / "config.json"))[-1]
    assert line.text == "mine · 2 MB"


def test_taught_models_are_offered_with_what_they_were_taught() -> None:
    taught_library.keep(teach(network(HYBRID), "nano"), "coli")
    kept = taught_library.keep(teach(network(HYBRID), "vit_b"), "axons")
    (taught_library.taught_folder() / "bad.safetensors").write_bytes(b"junk")
    lines = {choice.model: choice for choice in choices({"nano": 0.5}, str(kept.path))}
    assert lines["coli"].text == "coli · taught on 5 objects · 0.5 s a plane"
    assert lines["coli"].here
    assert "after one click 0.57 → 0.86" in lines["coli"].tip
    assert "2 objects held back: little to go by" in lines["coli"].tip
    assert "download vit_b" in lines["axons"].text  # its parent; nothing of its own ever is
    assert not lines["axons"].here
    assert "bad" not in lines
