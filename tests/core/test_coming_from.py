"""The calls of docs/coming-from.md: segment-anything's and ours, run with the same weights."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import make_masks_small, randomise, reference_sam, segment_anything
from small_models import VIT

from napari_sam import samples
from napari_sam.gui.key_table import markdown

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (theirs|ours)\n(.*?)```", PAGE, re.DOTALL)
# Masks of random weights are noise: limits so low that some of them pass.
SETTINGS = {
    "points_per_side": 8,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.5,
    "box_nms_thresh": 0.9,
}
# A checkpoint doesn't tell the heads of its decoder: they are SAM's.
SMALL = replace(VIT, decoder_heads=8)


def read(checkpoint: str) -> torch.nn.Module:
    """Do what `sam_model_registry` does, for a network of another size."""
    network = reference_sam(SMALL)
    network.load_state_dict(torch.load(checkpoint))
    return network


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    return np.asarray(samples.load("histology").data)[:90, :140]


def test_both_sides_of_each_pair_give_the_same(plane, tmp_path, monkeypatch):
    network = reference_sam(SMALL)
    randomise(network, seed=19)
    make_masks_small(network, plane)
    torch.save(network.state_dict(), tmp_path / "sam_vit_b_01ec64.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", read)

    names = {"np": np, "image": plane, "settings": SETTINGS}
    compared = 0
    for (side, theirs), (other, ours) in zip(BLOCKS[::2], BLOCKS[1::2], strict=True):
        assert (side, other) == ("theirs", "ours")
        names = {key: value for key, value in names.items() if not key.endswith("_mask")}
        exec(compile(theirs, "theirs", "exec"), names)
        exec(compile(ours, "ours", "exec"), names)
        mask, reference = names["our_mask"], names["their_mask"]
        assert 0 < reference.mean() < 1, "a mask that is empty or full compares nothing"
        assert np.count_nonzero(mask & reference) > 0.99 * np.count_nonzero(mask | reference)
        compared += 1
    assert compared == 4
    assert names["our_number"] == names["their_number"] > 1


def test_the_keys_that_it_names_are_those_of_the_plugin():
    named = set(re.findall(r"`((?:Ctrl\+|Shift\+)*[A-Z])`", PAGE.split("## micro-sam")[1]))
    theirs = {"T", "S", "C"}  # of micro-sam; its Shift+S does something else here
    page = markdown()
    assert named
    for key in named - theirs:
        assert f"| {key}" in page, key
