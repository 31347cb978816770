"""Bad input: each gets a message that says what was needed, what came and what to do."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import HYBRID, VIT, network, segmenter

from napari_sam import load_segmenter
from napari_sam.image import ImageWarning
from napari_sam.model import weights
from napari_sam.model.checkpoint import save
from napari_sam.prompts import Prompts


@pytest.fixture(scope="module", params=[VIT, HYBRID], ids=["vit", "hybrid"])
def made(request):
    return segmenter(request.param)


# Images -----------------------------------------------------------------------------------------

BAD_PLANES = {
    "empty": (np.zeros((0, 5)), ValueError, "at least 2 x 2 pixels"),
    "one pixel": (np.zeros((1, 1)), ValueError, "at least 2 x 2 pixels"),
    "one row": (np.zeros((1, 50)), ValueError, "at least 2 x 2 pixels"),
    "no axes": (np.float64(3), ValueError, "pick a slice first"),
    "line": (np.zeros(5), ValueError, "pick a slice first"),
    "stack": (np.zeros((5, 64, 64)), ValueError, r"got shape \(5, 64, 64\); pick a slice first"),
    "stack over time": (np.zeros((2, 5, 64, 64)), ValueError, "pick a slice first"),
    "two channels": (np.zeros((64, 64, 2)), ValueError, "pick a slice first"),
    "five channels": (np.zeros((64, 64, 5), np.uint16), ValueError, "pick a slice first"),
    "complex": (np.zeros((64, 64), complex), TypeError, r"numpy\.abs"),
    "text": (np.full((64, 64), "a"), TypeError, "image of numbers"),
    "objects": (np.full((64, 64), None), TypeError, "image of numbers"),
    "dates": (np.zeros((64, 64), "M8[s]"), TypeError, "image of numbers"),
}


@pytest.mark.parametrize("name", BAD_PLANES)
def test_bad_plane_is_refused(made, name):
    plane, error, advice = BAD_PLANES[name]
    with pytest.raises(error, match="expected") as caught:
        made.embed(plane)
    assert "got" in str(caught.value)
    with pytest.raises(error, match=advice):
        made.embed(plane)


@pytest.mark.parametrize("limits", [(1, 1), (5, 2), (0, np.nan), (-np.inf, 3)])
def test_contrast_limits_must_increase(made, limits):
    with pytest.raises(ValueError, match="low < high"):
        made.embed(np.zeros((20, 20)), limits)


@pytest.mark.parametrize("value", [0, 255, 3.5, -1e30])
def test_constant_plane_is_embedded_and_decoded(made, value):
    embedding = made.embed(np.full((20, 30), value))
    assert all(torch.isfinite(f).all() for f in embedding.features)
    assert np.isfinite(made.decode(embedding, Prompts([(3, 4)], [1])).logits).all()


def test_smallest_plane_is_embedded_and_decoded(made):
    embedding = made.embed(np.array([[0, 9], [3, 4]]))
    assert made.decode(embedding, Prompts([(1, 1)], [1])).best().shape == (2, 2)


def test_thread_of_a_plane_is_embedded_and_decoded(made):
    embedding = made.embed(np.arange(600).reshape(2, 300))
    assert made.decode(embedding, Prompts([(1, 299)], [1])).best().shape == (2, 300)


def test_pixels_that_are_no_numbers_become_the_low_limit_with_one_notice(made, rng):
    plane = rng.random((30, 30))
    clean = plane.copy()
    plane[4, 5] = np.nan
    clean[4, 5] = -1
    with pytest.warns(ImageWarning, match="low contrast limit 0.2") as caught:
        embedding = made.embed(plane, (0.2, 0.9))
    assert len(caught) == 1
    for level, other in zip(
        embedding.features, made.embed(clean, (0.2, 0.9)).features, strict=True
    ):
        assert level.equal(other)


# Prompts ----------------------------------------------------------------------------------------

BAD_PROMPTS = {
    "click outside": ({"points": [(20, 3)], "point_labels": [1]}, "give a point on the image"),
    "click before": ({"points": [(-1, 3)], "point_labels": [1]}, "give a point on the image"),
    "box outside": ({"box": (30, 30, 40, 40)}, "draw it on the image"),
    "mask of another shape": ({"mask": np.zeros((5, 5), bool)}, "give the mask of this plane"),
    "no prompts": ({}, "add one first"),
}


@pytest.mark.parametrize("name", BAD_PROMPTS)
def test_bad_prompts_are_refused_and_the_embedding_stays_usable(made, name):
    arguments, advice = BAD_PROMPTS[name]
    embedding = made.embed(np.zeros((20, 30)))
    with pytest.raises(ValueError, match=f"expected .* got .*{advice}"):
        made.decode(embedding, Prompts(**arguments))
    made.decode(embedding, Prompts([(3, 3)], [1]))


def test_prompt_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"expected finite .* got .*nan.*delete"):
        Prompts([(3, np.nan)], [1])


# Checkpoints ------------------------------------------------------------------------------------


class Attack:
    """What a malicious pickle does when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def missing(path):
    return path


def empty(path):
    path.write_bytes(b"")
    return path


def truncated(path):
    torch.save(network(VIT).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-500])
    return path


def other_architecture(path):
    torch.save({"layer1.conv.weight": torch.zeros(3, 3)}, path)
    return path


def no_checkpoint(path):
    path.write_text("a shopping list")
    return path


def unknown_name(path):
    return "vit_huge"


@pytest.mark.parametrize(
    "make", [missing, empty, truncated, other_architecture, no_checkpoint, unknown_name]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_bad_checkpoint_is_refused(tmp_path, make, suffix):
    model = make(tmp_path / f"model{suffix}")
    with pytest.raises(weights.CheckpointError) as caught:
        load_segmenter(model, device="cpu")
    assert str(model).rpartition("/")[2] in str(caught.value)
    assert len(str(caught.value)) > 40


def test_malicious_checkpoint_does_nothing(tmp_path):
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    torch.save({"model": Attack(trace)}, path)
    with pytest.raises(weights.CheckpointError):
        load_segmenter(path, device="cpu")
    path.write_bytes(pickle.dumps(Attack(trace)))
    with pytest.raises(weights.CheckpointError):
        load_segmenter(path, device="cpu")
    assert not trace.exists()


def test_altered_download_is_not_opened(tmp_path, monkeypatch):
    good = tmp_path / "good.pth"
    torch.save(network(VIT).state_dict(), good)
    digest = f"sha256:{hashlib.sha256(good.read_bytes()).hexdigest()}"
    entry = replace(weights.REGISTRY["vit_b"], digest=digest)
    monkeypatch.setitem(weights.REGISTRY, "vit_b", entry)
    path = weights.path_of("vit_b")
    path.parent.mkdir(parents=True)
    path.write_bytes(good.read_bytes())
    load_segmenter("vit_b", device="cpu")
    path.write_bytes(good.read_bytes()[:-1] + b"x")
    with pytest.raises(weights.CheckpointError, match=r"expected .* got .* fetch it anew"):
        load_segmenter("vit_b", device="cpu")


def test_missing_network_explains_how_to_add_the_file(monkeypatch):
    entry = replace(weights.REGISTRY["vit_b"], url="http://127.0.0.1:9/vit_b.pth")
    monkeypatch.setitem(weights.REGISTRY, "vit_b", entry)
    with pytest.raises(weights.DownloadError, match=r"127\.0\.0\.1:9"):
        load_segmenter("vit_b", device="cpu")
    assert not weights.is_downloaded("vit_b")


@pytest.mark.parametrize("arguments", [{"device": "cuda:99"}, {"device": "gpu"}])
def test_absent_device_is_refused(tmp_path, arguments):
    save(network(HYBRID), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="expected a device"):
        load_segmenter(tmp_path / "model.safetensors", **arguments)


def test_unknown_precision_is_refused(tmp_path):
    save(network(HYBRID), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="expected a precision"):
        load_segmenter(tmp_path / "model.safetensors", device="cpu", precision="int4")
