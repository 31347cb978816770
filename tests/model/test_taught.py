"""Taught models: their files, their names, and how they are loaded with their parents."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_models import HYBRID, network
from taught_models import lesson_on, teach

from napari_sam.model import taught_library as library
from napari_sam.model import weights
from napari_sam.model.architecture import CheckpointError
from napari_sam.model.checkpoint import save as save_checkpoint
from napari_sam.model.keys import model_key
from napari_sam.model.lesson import Card, card_of
from napari_sam.model.sam import Sam
from napari_sam.model.taught import TaughtModel, read, save


@pytest.fixture(scope="module")
def parent() -> Sam:
    return network(HYBRID)


@pytest.fixture(scope="module")
def taught(parent: Sam) -> TaughtModel:
    return teach(parent)


@pytest.fixture
def beside(parent: Sam, taught: TaughtModel, tmp_path: Path) -> Path:
    """A taught model's file, and its parent's beside it."""
    save_checkpoint(parent, tmp_path / "parent.safetensors", half=False)
    save(taught.named("coli"), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def same(one: Sam, other: Sam) -> bool:
    return all(torch.equal(value, other.state_dict()[n]) for n, value in one.state_dict().items())


# The file ------------------------------------------------------------------------------------


def test_file_gives_back_what_was_saved(taught: TaughtModel, tmp_path: Path) -> None:
    save(taught.named("coli"), tmp_path / "a.safetensors")
    again = read(tmp_path / "a.safetensors")
    assert again.lesson == taught.lesson
    assert (again.name, again.key, again.digest) == ("coli", taught.key, taught.digest)
    assert again.tensors.keys() == taught.tensors.keys()
    assert all(torch.equal(again.tensors[name], value) for name, value in taught.tensors.items())


def test_bytes_are_those_of_the_file_every_time(taught: TaughtModel, tmp_path: Path) -> None:
    save(taught, tmp_path / "a.safetensors")
    assert taught.to_bytes() == (tmp_path / "a.safetensors").read_bytes()
    assert TaughtModel.from_bytes(taught.to_bytes()).to_bytes() == taught.to_bytes()


def test_digest_is_of_the_weights_not_of_the_name(taught: TaughtModel, parent: Sam) -> None:
    assert taught.named("other").digest == taught.digest
    assert teach(parent, seed=1).digest != taught.digest


def test_key_is_that_of_the_network_that_results(taught: TaughtModel, parent: Sam) -> None:
    sam = taught.named("coli").applied_to(parent)
    assert model_key(sam) == taught.key != model_key(parent)
    assert sam.config == HYBRID.renamed("coli")
    assert parent.config == HYBRID


def test_sources_are_kept_as_names_without_folders(taught: TaughtModel) -> None:
    named = replace(taught, lesson=replace(taught.lesson, sources=("/home/me/a.tif",)))
    assert TaughtModel.from_bytes(named.to_bytes()).lesson.sources == ("a.tif",)
    assert b"/home" not in named.to_bytes()


def test_taught_again_belongs_to_the_first_parent(taught: TaughtModel, parent: Sam) -> None:
    once = taught.named("coli").applied_to(parent)
    pupil = network(HYBRID)
    pupil.load_state_dict(once.state_dict())
    with torch.no_grad():
        pupil.prompt_encoder.no_mask_embed.weight += 1
    second = TaughtModel.between(once, pupil, replace(lesson_on(once), objects=9))
    again = TaughtModel.from_bytes(second.to_bytes())
    assert again.lesson.parent_key == model_key(parent)
    assert again.lesson.objects == 9
    assert again.lesson.earlier == (taught.lesson,)
    assert model_key(again.applied_to(parent)) == second.key


# Damaged, foreign and hostile files -----------------------------------------------------------


def refused(path: Path, *parts: str) -> None:
    for ask in (read, weights.load):
        with pytest.raises(CheckpointError) as caught:
            ask(path)
        message = str(caught.value)
        assert str(path) in message
        assert len(message) < 1000
        assert message.isprintable()
        assert all(part in message for part in parts), message


def test_every_truncated_file_is_refused(taught: TaughtModel, tmp_path: Path) -> None:
    content, path = taught.to_bytes(), tmp_path / "a.safetensors"
    for length in (0, 5, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path)
        with pytest.raises(CheckpointError):
            TaughtModel.from_bytes(content[:length])


def test_one_wrong_bit_in_a_weight_is_noticed(taught: TaughtModel, tmp_path: Path) -> None:
    content, path = bytearray(taught.to_bytes()), tmp_path / "a.safetensors"
    content[-7] ^= 1
    path.write_bytes(content)
    refused(path, "digest", "use another copy")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), b"\x80\x04N.", bytes(9)]
)
def test_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="expected a taught model"):
        TaughtModel.from_bytes(content)


def test_whole_checkpoint_is_not_taken_for_a_taught_model(parent: Sam, tmp_path: Path) -> None:
    save_checkpoint(parent, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="load it as a model"):
        read(tmp_path / "a.safetensors")
    assert card_of(tmp_path / "a.safetensors") is None


def altered(taught: TaughtModel, **changes: object) -> bytes:
    """The content of a file whose lesson says something else."""
    words = json.loads(taught.card.to_json())
    for name, value in changes.items():
        (words if name in words else words["lesson"])[name] = value
    return safetensors.torch.save(taught.tensors, metadata={"taught": json.dumps(words)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "later napari-sam-live"),
        ({"parent": "../../etc/passwd"}, "without folders"),
        ({"parent": "a\x1b[2Jb"}, "a line"),
        ({"parent": "x" * 10**5}, "a line"),
        ({"parent_key": "no"}, "hexadecimal"),
        ({"key": ["a"]}, "hexadecimal"),
        ({"name": "a\nb"}, "a line"),
        ({"objects": -1}, "whole number"),
        ({"steps": 10**400}, "whole number"),
        ({"planes": True}, "whole number"),
        ({"thorough": 1}, "true or false"),
        ({"sources": ["a"] * 10**5}, "at most"),
        ({"scores": {"click": {"before": float("nan"), "after": 1, "count": 1}}}, "0 to 1"),
        ({"scores": {"click": 3}}, "TypeError"),
        ({"scores": [1]}, "scores"),
        ({"earlier": [[]]}, "TypeError"),
        ({"lesson": None}, "TypeError"),
    ],
)
def test_file_with_nonsense_is_refused(
    taught: TaughtModel, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    (tmp_path / "a.safetensors").write_bytes(altered(taught, **changes))
    refused(tmp_path / "a.safetensors", said)


def test_list_within_lists_without_end_is_refused(taught: TaughtModel, tmp_path: Path) -> None:
    for text in ("[" * 10**5, '{"version": 1, "lesson": ' + '{"a":' * 10**5):
        content = safetensors.torch.save(taught.tensors, metadata={"taught": text})
        (tmp_path / "a.safetensors").write_bytes(content)
        refused(tmp_path / "a.safetensors")


def test_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**60) + b'{"a": 1}')
    refused(tmp_path / "a.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_named_pipe_is_not_waited_for(private_home: Path, tmp_path: Path) -> None:
    library.taught_folder().mkdir()
    for path in (tmp_path / "a.safetensors", library.path_of("coli")):
        os.mkfifo(path)
        refused(path, "a named pipe")
    assert library.listed() == []


def test_file_larger_than_any_model_is_not_read(
    taught: TaughtModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(taught, tmp_path / "a.safetensors")
    monkeypatch.setattr("napari_sam.model.taught._LARGEST", 10**4)
    refused(tmp_path / "a.safetensors", "no model has as many")


def test_weights_that_are_not_finite_or_not_half_are_refused(
    taught: TaughtModel, parent: Sam, beside: Path
) -> None:
    name = next(iter(taught.tensors))
    for value, said in (
        (taught.tensors[name].float(), "half precision"),
        (torch.full_like(taught.tensors[name], float("nan")), "finite"),
        (taught.tensors[name].reshape(-1)[:1], "another shape"),
    ):
        changed = replace(taught, tensors=taught.tensors | {name: value})
        beside.write_bytes(changed.to_bytes())
        with pytest.raises(CheckpointError, match=said):
            weights.load(beside)


def test_tensors_of_no_place_are_refused(taught: TaughtModel, beside: Path) -> None:
    changed = replace(taught, tensors=taught.tensors | {"more": torch.zeros(1).half()})
    beside.write_bytes(changed.to_bytes())
    with pytest.raises(CheckpointError, match="have no place in it"):
        weights.load(beside)


# Loading with its parent ------------------------------------------------------------------------


def test_taught_model_is_loaded_with_the_parent_beside_it(
    beside: Path, taught: TaughtModel, parent: Sam
) -> None:
    sam = weights.load(str(beside))
    assert same(sam, taught.applied_to(parent))
    assert sam.config.name == "coli"
    assert weights.verify(beside).startswith("sha256:")


def test_parent_among_the_models_is_found(beside: Path, private_home: Path) -> None:
    (private_home / "models").mkdir()
    (beside.parent / "parent.safetensors").rename(private_home / "models" / "parent.safetensors")
    assert weights.load(beside).config.name == "coli"


def test_missing_parent_is_reported_with_its_place(beside: Path) -> None:
    (beside.parent / "parent.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"^[^/]*: .* from, parent\.safetensors .* found none; put a copy"
    ):
        weights.load(beside)


def test_another_parent_is_refused(beside: Path) -> None:
    other = beside.parent / "parent.safetensors"
    save_checkpoint(network(HYBRID, seed=4), other)
    with pytest.raises(CheckpointError, match="found another model"):
        weights.load(beside)
    shutil.copy(beside, other)  # a taught model is nobody's parent
    with pytest.raises(CheckpointError, match="found another model"):
        weights.load(beside)


def test_parent_of_the_registry_is_downloaded_first(
    monkeypatch: pytest.MonkeyPatch, parent: Sam, private_home: Path
) -> None:
    entry = replace(weights.REGISTRY["vit_b"], name="known", digest=None)
    monkeypatch.setitem(weights.REGISTRY, "known", entry)
    library.keep(teach(parent, "known"), "coli")
    assert weights.to_download("coli") == weights.to_download("known") == "known"
    assert weights.called("coli") == "coli"
    assert weights.called("/somewhere/a.pt") == "a.pt"
    # brought by hand, as nobody serves it here
    save_checkpoint(parent, private_home / "models" / "known.safetensors", half=False)
    (private_home / "models" / "known.safetensors").rename(weights.path_of("known"))
    assert weights.to_download("coli") is None
    assert weights.load("coli").config.name == "coli"


# Names ---------------------------------------------------------------------------------------


def test_kept_model_goes_by_its_name(beside: Path, taught: TaughtModel) -> None:
    shutil.copy(beside.parent / "parent.safetensors", library.taught_folder().parent)
    kept = library.bring(beside)
    assert kept.name == "coli"
    assert library.find("coli") == library.find(kept.path) == kept
    assert library.find_by_key(taught.key) == kept
    assert [one.name for one in library.listed()] == ["coli"]
    assert library.bring(beside).name == "coli 2"


@pytest.mark.parametrize(
    "name",
    ["", " a", "a ", "a.", ".a", "a/b", "a\\b", "..", "a:b", "con", "NUL.x", "a\n", "-a", "a.pt",
     "my.safetensors", "x" * 61, "a\x00", "nano", "Nano", "vit_b", "a*"],
)  # fmt: skip
def test_name_that_is_no_file_name_everywhere_is_refused(taught: TaughtModel, name: str) -> None:
    with pytest.raises(ValueError, match="expected a name"):
        library.keep(taught, name)
    assert library.listed() == []
    assert library.is_name(library.free_name(name))


def test_taken_name_is_refused_whatever_its_capitals(taught: TaughtModel) -> None:
    library.keep(taught, "Zellwände")
    with pytest.raises(ValueError, match="zellwände 2"):
        library.keep(taught, "zellwände")


def test_model_is_renamed_and_removed(taught: TaughtModel) -> None:
    library.keep(taught, "a")
    assert library.rename("a", "b").name == "b"
    assert library.rename("b", "B").name == "B"
    assert library.existing("B").read().name == "B"
    shutil.copy(library.path_of("B"), library.path_of("b"))  # by hand, on a disk that tells them
    with pytest.raises(ValueError, match="no model has"):
        library.rename("B", "b")
    library.remove("b")
    library.remove("B")
    assert library.listed() == []
    with pytest.raises(CheckpointError, match="there is none yet"):
        library.remove("B")


def test_damaged_file_is_listed_with_the_reason_and_can_be_removed(taught: TaughtModel) -> None:
    library.keep(taught, "good")
    (library.taught_folder() / "bad.safetensors").write_bytes(b"junk")
    (library.taught_folder() / "cut.safetensors").write_bytes(taught.to_bytes()[:-9])
    (library.taught_folder() / "notes.txt").write_text("not ours")
    errors = {one.name: one.error for one in library.listed()}
    assert errors["good"] == ""
    assert "expected a taught model" in errors["bad"]
    assert "cut short" in errors["cut"]
    with pytest.raises(CheckpointError, match="expected a taught model"):
        weights.load("bad")
    library.remove("bad")
    library.remove("cut")
    assert library.names() == ["good"]


def test_unknown_name_lists_the_taught_ones(taught: TaughtModel) -> None:
    library.keep(taught, "coli")
    for ask in (weights.load, weights.verify):
        with pytest.raises(CheckpointError, match=r"nano, .*taught \(coli\)"):
            ask("colli")
    with pytest.raises(CheckpointError, match="nothing to download"):
        weights.download("coli")


def test_models_are_listed_without_torch(taught: TaughtModel) -> None:
    library.keep(taught, "coli")
    code = (
        "import sys; from napari_sam.model import weights, taught_library as library\n"
        "print([one.card.lesson.objects for one in library.listed()], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[5]", "False"]


def test_card_is_read_back(taught: TaughtModel) -> None:
    assert Card.from_json(taught.card.to_json()) == taught.card
