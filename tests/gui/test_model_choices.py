"""The lines of the model menu."""

from __future__ import annotations

from small_models import HYBRID, network
from taught_models import teach

from napari_sam.gui.models import choices
from napari_sam.model import taught_library


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
