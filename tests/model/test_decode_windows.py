"""Windows of an embedding: where they lie, what they cut, what they put back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import HYBRID, VIT, segmenter

from napari_sam.geometry import fit_frame
from napari_sam.model.decode_windows import Windows
from napari_sam.model.tuning import WindowTuning
from napari_sam.prompts import Prompts
from napari_sam.segmentation import on_device
from napari_sam.segmentation.traits import Traits
from napari_sam.segmentation.window_choice import window_side

GRID = (12, 16)  # cells of 8 pixels
SIDE = 48  # 6 cells
FULL = (96, 128)


def clicks(*xy):
    return torch.tensor([[at] for at in xy], dtype=torch.float32), torch.ones(len(xy), 1)


@given(st.floats(0, 127), st.floats(0, 95))
def test_window_holds_its_click_and_lies_inside(x, y):
    windows = Windows.around((*clicks((x, y)), None, None), SIDE, GRID, HYBRID)
    (row, column), (h, w) = windows.corners[0], windows.shape
    assert (h, w) == (6, 6)
    assert 0 <= row <= GRID[0] - h
    assert 0 <= column <= GRID[1] - w
    assert row % HYBRID.decoder_pooling == column % HYBRID.decoder_pooling == 0
    assert 8 * column <= x <= 8 * (column + w)
    assert 8 * row <= y <= 8 * (row + h)


def test_nothing_is_cut_where_nothing_is_gained():
    given = (*clicks((60, 40)), None, None)
    assert Windows.around(given, 128, GRID, HYBRID) is None
    assert Windows.around((None, None, None, torch.zeros(1, 1, 48, 64)), SIDE, GRID, HYBRID) is None


def test_box_is_in_the_middle_of_its_window():
    box = torch.tensor([[56.0, 40.0, 72.0, 56.0]])
    windows = Windows.around((None, None, box, None), SIDE, GRID, HYBRID)
    r, c = windows.corners[0]
    middle = 8 * (r + 3), 8 * (c + 3)
    assert max(abs(middle[0] - 48), abs(middle[1] - 64)) <= 8  # half of a step
    _, _, moved, _ = windows.cut_prompts((None, None, box, None))
    assert moved.tolist() == [[56.0 - 8 * c, 40.0 - 8 * r, 72.0 - 8 * c, 56.0 - 8 * r]]


def test_features_and_prompts_are_cut_alike():
    at = [(20.0, 20.0), (100.0, 70.0)]
    given = (*clicks(*at), None, torch.arange(2 * 48 * 64.0).view(2, 1, 48, 64))
    windows = Windows.around(given, SIDE, GRID, HYBRID)
    # each level holds its own positions, so a click can be looked up in it
    levels = []
    for k in (1, 2, 4):
        rows, columns = torch.meshgrid(
            torch.arange(k * GRID[0]), torch.arange(k * GRID[1]), indexing="ij"
        )
        levels.append(torch.stack([rows, columns])[None].float())
    points, labels, _, masks = windows.cut_prompts(given)
    for level, k in zip(windows.cut_features(tuple(levels)), (1, 2, 4), strict=True):
        assert level.shape == (2, 2, 6 * k, 6 * k)
        for i, (x, y) in enumerate(at):
            px, py = (points[i, 0] * k / 8).int().tolist()
            assert level[i, :, py, px].tolist() == [y * k // 8, x * k // 8]
    assert masks.shape == (2, 1, 24, 24)
    assert torch.equal(labels, given[1])


def test_logits_come_back_where_they_were_cut():
    given = (*clicks((20, 20), (100, 70)), None, torch.randn(2, 1, 48, 64))
    windows = Windows.around(given, SIDE, GRID, HYBRID)
    _, _, _, cut = windows.cut_prompts(given)
    whole = windows.put_back(cut)
    inside = whole > -19
    assert inside.sum() == cut.numel()
    assert torch.equal(whole[inside], given[3][inside])


@pytest.mark.parametrize(
    ("at", "cell", "left"),
    [
        ((64, 48), (10, 10), False),
        ((64, 48), (0, 10), True),
        ((64, 48), (10, 23), True),
        ((2, 48), (10, 0), False),  # the window ends where the plane does
        ((2, 48), (10, 23), True),
        ((126, 94), (23, 23), False),
    ],
)
def test_masks_that_reach_beyond_are_found(at, cell, left):
    windows = Windows.around((*clicks(at), None, None), SIDE, GRID, HYBRID)
    logits = torch.full((1, 2, 24, 24), -1.0)
    logits[0, 1, *cell] = 1.0
    assert windows.left(logits) == ([0] if left else [])


@pytest.fixture(scope="module")
def predicted():
    one = segmenter(HYBRID)
    plane = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    embedding = one.embed(plane)
    prompts = [Prompts([(12, 12)], [1]), Prompts([(40, 50)], [1]), Prompts([(60, 5)], [1])]
    return one, embedding, prompts


def test_objects_are_found_in_windows_of_any_batch(predicted):
    one, embedding, prompts = predicted
    together = one.decode_many(embedding, prompts, window=32)
    for prompt, prediction in zip(prompts, together, strict=True):
        alone = one.decode_many(embedding, [prompt], window=32)[0]
        assert np.allclose(alone.logits, prediction.logits, atol=1e-4)
        assert prediction.frame == embedding.frame
        whole = one.decode(embedding, prompt)
        best = prediction.logits[prediction.best_index]
        if (best > -19).all():  # it went on beyond its window
            assert np.allclose(whole.logits, prediction.logits, atol=1e-4)
        else:
            assert (best > -19).sum() == 16 * 16


@pytest.mark.parametrize(("window", "sizes"), [(32, [8, 8, 4]), (0, [4, 4, 4, 4, 4])])
def test_small_windows_are_decoded_many_at_a_time_and_whole_planes_four(
    predicted, monkeypatch, window, sizes
):
    one, embedding, _ = predicted
    seen = []
    decode = one._sam.decode

    def counted(features, points, *rest, **options):
        seen.append(len(points))
        return decode(features, points, *rest, **options)

    monkeypatch.setattr(one._sam, "decode", counted)
    monkeypatch.setattr(on_device, "_CPU_CELLS", 128)
    monkeypatch.setattr(Windows, "left", lambda *_: [])
    prompts = [Prompts([(4 + 2 * i, 40)], [1]) for i in range(20)]
    one.decode_many(embedding, prompts, False, window)
    assert seen == sizes


def test_masks_that_go_on_beyond_their_windows_are_decoded_together(predicted, monkeypatch):
    one, embedding, _ = predicted
    seen = []
    left = Windows.left

    def first_and_last(self, logits):
        seen.append((self.shape, len(logits)))
        return [0, len(logits) - 1] if self.shape == (2, 2) else left(self, logits)

    monkeypatch.setattr(on_device, "_CPU_CELLS", 16)
    monkeypatch.setattr(Windows, "left", first_and_last)
    prompts = [Prompts(box=(4 * i, 30, 4 * i + 4, 40)) for i in range(8)]
    found = one.decode_many(embedding, prompts, False, 16)
    assert seen == [((2, 2), 4), ((2, 2), 4), ((4, 4), 4)]
    for i in (0, 3, 4, 7):
        alone = one.decode_many(embedding, [prompts[i]], False, 32)[0]
        assert np.allclose(alone.logits, found[i].logits, atol=1e-4)
    for i in (1, 2, 5, 6):
        assert (found[i].logits > -19).sum() == 8 * 8


def test_negative_window_is_refused(predicted):
    one, embedding, prompts = predicted
    with pytest.raises(ValueError, match="window must be 0"):
        one.decode_many(embedding, prompts, window=-1)


FRAME = fit_frame((256, 256), Traits.of(replace(HYBRID, image_size=512, max_upscale=2.0)).geometry)
CLICK = [(100, 100)], [1]
LOGITS = np.full((256, 256), -1.0, np.float32)
LOGITS[90:110, 90:200] = 1.0


@pytest.mark.parametrize(
    ("prompts", "side"),
    [
        (Prompts(*CLICK), 192),
        (Prompts(box=(90, 90, 109, 149)), 160),  # 118 model pixels from centre to centre
        (Prompts(box=(90, 90, 109, 109)), 128),
        (Prompts(box=(10, 90, 109, 149)), 256),
        (Prompts([(100, 100), (100, 200)], [1, 0]), 256),
        (Prompts(*CLICK).with_logits(LOGITS, FRAME), 512),  # 199 pixels to the right of the click
        (Prompts(*CLICK, mask=LOGITS > 0), 512),
        (Prompts(*CLICK).with_logits(-np.abs(LOGITS), FRAME), 192),  # an empty mask
        (Prompts(mask=LOGITS > 0), 0),  # where there is nothing but a mask, everything is seen
    ],
)
def test_square_holds_prompts_and_the_mask_that_they_carry(prompts, side):
    """At two model pixels per pixel of the plane, with a quarter more than is needed."""
    assert window_side(prompts, FRAME, 2, WindowTuning()) == side


def test_model_tied_to_its_whole_input_takes_no_windows():
    one = segmenter(VIT)
    embedding = one.embed(np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8))
    prompts = [Prompts([(12, 12)], [1])]
    whole, windowed = (one.decode_many(embedding, prompts, window=w)[0] for w in (0, 32))
    assert np.array_equal(whole.logits, windowed.logits)
