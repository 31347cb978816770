"""Planes larger than a tile: which tile an object gets, and what is computed when."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from core.bright_model import Bright, Nearsighted, square
from small_models import HYBRID, VIT, segmenter

from napari_sam.geometry import fit_frame
from napari_sam.masks import iou
from napari_sam.model.tuning import ScaleTuning, Tuning
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import (
    Cancelled,
    MaskPrediction,
    PixelSegmenter,
    Segmenter,
    SegmenterWrapper,
)
from napari_sam.segmentation.pyramid import Pyramid, ScaleSearch
from napari_sam.segmentation.replay import replay
from napari_sam.segmentation.resampling import resample_logits
from napari_sam.segmentation.tiled import TiledEmbedding, TiledSegmenter
from napari_sam.segmentation.traits import Traits

CLICK = Prompts([(100, 40)], [1])


class CountingEncoder:
    """A segmenter that notes the frame of every run of the encoder."""

    def __init__(self, inner):
        self.inner, self.frames = inner, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def embed_pixels(self, pixels, frame=None, progress=None):
        embedding = self.inner.embed_pixels(pixels, frame, progress)
        self.frames.append(embedding.frame)
        return embedding


@pytest.fixture(scope="module")
def plain():
    return segmenter(HYBRID)


@pytest.fixture
def tiled(plain):
    return TiledSegmenter(CountingEncoder(plain), rescale=False)


@pytest.fixture
def plane(rng):
    return rng.integers(0, 4000, (150, 200)).astype(np.uint16)


def decoded(plane, prompts):
    tiled = TiledSegmenter(Bright(), tile=128)  # magnified: 80
    return tiled, tiled.decode(tiled.embed(plane, (0, 255)), prompts)


def test_small_object_is_decoded_magnified():
    plane = square(70, 90, 6)
    tiled, prediction = decoded(plane, Prompts([(72, 93)], [1]))
    assert [frame.shape for frame in tiled.inner.frames] == [(128, 128), (80, 80)]
    assert prediction.frame.shape == (80, 80)
    assert prediction.frame.scaled == (64, 64)
    assert iou(prediction.best(), plane > 0) > 0.9


def test_later_clicks_stay_in_the_tile_of_the_first():
    plane = square(70, 90, 6)
    tiled = TiledSegmenter(Bright(), tile=128)  # magnified: 80
    embedding = tiled.embed(plane, (0, 255))
    first = tiled.decode(embedding, Prompts([(72, 93)], [1]))
    more = Prompts([(72, 93), (74, 94)], [1, 1]).with_logits(first.logits[0], first.frame)
    assert tiled.is_ready(embedding, more)
    assert tiled.decode(embedding, more).frame == first.frame
    assert len(tiled.inner.frames) == 2


def test_small_box_is_magnified_at_once():
    tiled, prediction = decoded(square(70, 90, 6), Prompts(box=(70, 90, 75, 95)))
    assert [frame.shape for frame in tiled.inner.frames] == [(80, 80)]
    assert iou(prediction.best(), square(70, 90, 6) > 0) > 0.9


def test_object_of_ordinary_size_is_decoded_once():
    tiled, prediction = decoded(square(70, 80, 30), Prompts([(85, 95)], [1]))
    assert [frame.shape for frame in tiled.inner.frames] == [(128, 128)]
    assert iou(prediction.best(), square(70, 80, 30) > 0) > 0.9


def test_object_that_its_tile_cuts_off_is_seen_whole():
    plane = square(20, 30, 160, (200, 300))
    tiled, prediction = decoded(plane, Prompts([(60, 70)], [1]))
    assert [frame.shape for frame in tiled.inner.frames] == [(128, 128), (200, 256)]
    assert iou(prediction.best(), plane > 0) > 0.9


def test_object_at_the_planes_border_is_not_cut_off():
    plane = square(0, 0, 40)
    tiled, prediction = decoded(plane, Prompts([(10, 10)], [1]))
    assert len(tiled.inner.frames) == 1
    assert iou(prediction.best(), plane > 0) > 0.9


def test_empty_mask_asks_for_nothing():
    tiled, prediction = decoded(square(70, 90, 6), Prompts([(20, 20)], [1]))
    assert len(tiled.inner.frames) == 1
    assert not prediction.best().any()


def test_many_objects_equal_one_by_one():
    plane = np.maximum(square(70, 90, 6), np.maximum(square(10, 120, 60), square(110, 20, 5)))
    prompts = [Prompts([at], [1]) for at in ((72, 93), (40, 150), (112, 22), (5, 5))]
    tiled = TiledSegmenter(Bright(), tile=128)  # magnified: 80
    embedding = tiled.embed(plane, (0, 255))
    together = tiled.decode_many(embedding, prompts)
    for one, prediction in zip(prompts, together, strict=True):
        alone = tiled.decode(embedding, one)
        assert alone.frame == prediction.frame
        assert np.array_equal(alone.logits, prediction.logits)


@pytest.mark.parametrize(
    ("shape", "side", "scales"),
    [
        ((512, 512), 100, [1.0]),
        ((512, 512), 290, [1.0, 0.5]),
        ((512, 512), 480, [1.0, 0.5, 0.25]),
        ((700, 1100), 290, [1.0, 0.5]),
        ((700, 1100), 590, [1.0, 0.5, 0.25, 0.125]),
    ],
)
def test_large_object_under_a_click_is_decoded_at_coarser_scales(shape, side, scales):
    plane = square(50, 20, side, shape)[: shape[0]]
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    prediction = tiled.decode(embedding, Prompts([(50 + side // 2, 20 + side // 2)], [1]))
    tried = [max(frame.scaled) / max(frame.shape) for frame in tiled.inner.frames]
    assert tried == pytest.approx(scales, abs=2e-3)
    assert iou(prediction.best(), plane > 0) > 0.97


def test_later_clicks_stay_in_a_coarser_tile():
    plane = square(50, 20, 290, (512, 512))
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    first = tiled.decode(embedding, Prompts([(200, 160)], [1]))
    more = Prompts([(200, 160), (60, 30)], [1, 1]).with_logits(first.logits[0], first.frame)
    assert tiled.is_ready(embedding, more)
    assert tiled.decode(embedding, more).frame == first.frame
    assert len(tiled.inner.frames) == 2


@pytest.mark.parametrize("shape", [(512, 512), (700, 1100)])
def test_logits_alone_stay_in_a_coarser_tile(shape):
    plane = square(50, 20, 290, shape)
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    first = tiled.decode(embedding, Prompts([(200, 160)], [1]))
    alone = Prompts(mask=first.logits[0], mask_frame=first.frame)
    assert embedding.pyramid.frame_of(embedding.pyramid.tile_of(alone)) == first.frame
    assert tiled.is_ready(embedding, alone)


@pytest.mark.parametrize("kind", ["click", "box", "logits alone"])
def test_logits_of_an_unknown_frame_are_taken_at_the_scale_that_has_their_shape(kind):
    plane = square(50, 20, 290, (512, 512))
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    first = tiled.decode(embedding, Prompts([(200, 160)], [1]))
    stride = tiled.traits.mask_stride
    logits = np.zeros(first.frame.low_res(stride), np.float32)
    given = {
        "click": Prompts([(200, 160)], [1], mask=logits),
        "box": Prompts(box=(50, 20, 339, 309), mask=logits),
        "logits alone": Prompts(mask=logits),
    }[kind]
    pyramid = embedding.pyramid
    assert pyramid.frame_of(pyramid.tile_of(given)) == first.frame
    whole = given.with_logits(np.zeros(embedding.frame.low_res(stride), np.float32))
    assert pyramid.tile_of(whole) == pyramid.overview
    other = given.with_logits(np.zeros((3, 3), np.float32))
    assert pyramid.tile_of(other) == pyramid.overview


def test_later_clicks_stay_in_the_larger_tile():
    plane = square(20, 30, 160, (200, 300))
    tiled = TiledSegmenter(Bright(), tile=128)
    embedding = tiled.embed(plane, (0, 255))
    first = tiled.decode(embedding, Prompts([(60, 70)], [1]))
    more = Prompts([(60, 70), (62, 74)], [1, 1]).with_logits(first.logits[0], first.frame)
    assert tiled.decode(embedding, more).frame == first.frame
    assert len(tiled.inner.frames) == 2


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_large_box_or_mask_is_decoded_at_a_coarser_scale_at_once(kind):
    plane = square(50, 20, 220, (512, 512))
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    prompts = Prompts(box=(50, 20, 269, 239)) if kind == "box" else Prompts(mask=plane > 0)
    assert not tiled.is_ready(embedding, prompts)
    if kind == "mask":
        tiled.prepare(embedding, prompts)
    else:
        assert iou(tiled.decode(embedding, prompts).best(), plane > 0) > 0.97
    assert [frame.scaled for frame in tiled.inner.frames] == [(512, 512), (256, 256)]
    assert tiled.is_ready(embedding, prompts)


@pytest.mark.parametrize(
    "begun", [Prompts(box=(60, 60, 359, 359)), Prompts([(200, 200)], [1])], ids=["box", "click"]
)
def test_large_object_stays_reduced_where_a_click_beyond_its_tile_corrects_it(begun):
    plane = square(60, 60, 300, (700, 1100))
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    first = tiled.decode(embedding, begun)
    scale = max(first.frame.scaled) / max(first.frame.shape)
    assert scale <= 0.5
    far = (first.frame.shape[0] + 20, 200)
    points, labels = [*begun.points, far], [*begun.point_labels, 0]
    more = Prompts(points, labels, begun.box).with_logits(first.logits[0], first.frame)
    pyramid = embedding.pyramid
    tile = pyramid.tile_of(more)
    assert pyramid.scale_of(tile) == pytest.approx(scale, rel=0.01)
    assert pyramid.frame_of(tile).shape[0] > far[0]


def test_long_box_is_reduced_as_far_as_it_is_not_thin():
    plane = np.zeros((512, 512), np.uint8)
    plane[200:310, 50:340] = 255
    tiled = TiledSegmenter(Nearsighted())
    prediction = tiled.decode(tiled.embed(plane, (0, 255)), Prompts(box=(200, 50, 309, 339)))
    assert prediction.frame.scaled == (256, 256)
    assert iou(prediction.best(), plane > 0) > 0.97


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_thin_long_object_is_not_reduced(kind):
    plane = np.zeros((512, 512), np.uint8)
    plane[250:258, 50:450] = 255
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    prompts = Prompts(box=(250, 50, 257, 449)) if kind == "box" else Prompts(mask=plane > 0)
    assert tiled.is_ready(embedding, prompts)


def test_unsure_click_keeps_its_answer_where_no_large_object_is_seen():
    """A small object of low predicted IoU: every scale agrees that it is small."""
    plane = square(50, 20, 40, (512, 512))
    tiled = TiledSegmenter(Nearsighted(surest=0.7))
    prediction = tiled.decode(tiled.embed(plane, (0, 255)), Prompts([(70, 40)], [1]))
    assert prediction.frame.scaled == (512, 512)
    assert [frame.scaled[0] for frame in tiled.inner.frames] == [512, 256, 128]


def test_small_object_of_low_predicted_iou_is_magnified_in_the_end():
    plane = square(300, 400, 12, (700, 1100))
    tiled = TiledSegmenter(Nearsighted(surest=0.7))
    prediction = tiled.decode(tiled.embed(plane, (0, 255)), Prompts([(306, 406)], [1]))
    assert [max(frame.shape) for frame in tiled.inner.frames] == [512, 512, 512, 1024, 320]
    assert prediction.frame.shape == (320, 320)


def test_requested_candidates_are_those_of_the_first_tile():
    plane = square(50, 20, 290, (512, 512))
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    prediction = tiled.decode(embedding, Prompts([(200, 160)], [1]), multimask=True)
    assert prediction.frame == embedding.frame
    assert len(tiled.inner.frames) == 1


def test_coarser_tile_needs_a_higher_score():
    """A piece is kept where the whole is hardly more likely."""
    plane = square(50, 20, 290, (512, 512))
    tiled = TiledSegmenter(Nearsighted(surest=0.54))
    prediction = tiled.decode(tiled.embed(plane, (0, 255)), Prompts([(200, 160)], [1]))
    assert prediction.frame.scaled == (512, 512)


class Guessing(Nearsighted):
    """Sure of a reduced tile's mask, and guessing at what a larger tile shows."""

    def _decode(self, embedding, prompts):
        answer = super()._decode(embedding, prompts)
        larger = max(embedding.frame.shape) > 512
        return replace(answer, scores=np.float32([0.2])) if larger else answer


def test_larger_tile_needs_the_score_of_the_coarser_tile_it_completes():
    plane = square(50, 300, 290, (700, 1100))
    click = Prompts([(180, 350)], [1])
    cut = TiledSegmenter(Guessing())
    kept = cut.decode(cut.embed(plane, (0, 255)), click)
    assert max(kept.frame.shape) == 512
    assert kept.scores.max() == np.float32(0.9)
    whole = TiledSegmenter(Nearsighted())
    completed = whole.decode(whole.embed(plane, (0, 255)), click)
    assert max(completed.frame.shape) == 1024
    assert iou(completed.best(), plane > 0) > 0.97


def test_coarser_pass_over_the_same_tile_completes_nothing():
    """A mask that is cut off isn't replaced by a speck of another scale of the same tile."""
    pyramid = Pyramid.of((2000, 2000), 512, 128, Nearsighted.traits, rescales=True)
    search = ScaleSearch(pyramid, Prompts([(200, 200)], [1]), rescales=True)

    def shown(tile, score, extent):
        frame = pyramid.frame_of(tile)
        logits = np.full((1, *frame.low_res(Nearsighted.traits.mask_stride)), -1.0, np.float32)
        logits[:, :extent, :extent] = 1.0
        return MaskPrediction(logits, np.float32([score]), frame)

    whole = 1000  # all cells: cut off by the tile
    half = search.next_tile(search.tile, shown(search.tile, 0.3, 0))
    larger = search.next_tile(half, shown(half, 0.7, whole))
    assert larger.outer != half.outer
    quarter = search.next_tile(larger, shown(larger, 0.4, whole))
    assert quarter.outer == half.outer
    search.next_tile(quarter, shown(quarter, 0.66, 6))
    assert search.prediction.frame == pyramid.frame_of(half)


def test_plane_that_another_model_embedded_is_decoded_in_the_tiles_of_this_model():
    """What a model predicts depends on it alone, not on whose embedding of the plane is at hand."""
    sure = Tuning(scales=ScaleTuning(unsure=0.0, magnified=0.5))
    plain, tuned = Nearsighted(), Nearsighted()
    tuned.traits = replace(Nearsighted.traits, tuning=sure)
    given, other = TiledSegmenter(plain), TiledSegmenter(tuned)
    plane = square(50, 300, 290, (700, 1100))
    click = Prompts([(180, 350)], [1])
    embedding = given.embed(plane, (0, 255))
    expected = other.decode(other.embed(plane, (0, 255)), click)
    assert expected.frame != given.decode(embedding, click).frame
    assert other.decode(embedding, click).frame == expected.frame
    draft = other.draft(embedding, click)
    assert draft is not None
    assert draft.prediction.frame == expected.frame


def test_empty_prompts_are_refused_on_a_plane_of_one_tile():
    tiled = TiledSegmenter(segmenter(HYBRID))
    embedding = tiled.embed(np.zeros((64, 40), np.uint8))
    with pytest.raises(ValueError, match="got no prompts"):
        tiled.decode(embedding, Prompts())


@pytest.mark.parametrize(
    ("side", "scales"),
    [(512, [1, 1 / 2, 1 / 4]), (513, [1, 1 / 2, 1 / 4]), (900, [1, 1 / 2, 1 / 4, 1 / 7])],
)
def test_unsure_click_is_never_decoded_twice_at_a_scale(side, scales):
    plane = square(50, 20, 40, (side, side))
    tiled = TiledSegmenter(Nearsighted(surest=0.7))
    tiled.decode(tiled.embed(plane, (0, 255)), Prompts([(70, 40)], [1]))
    tried = [max(frame.scaled) / max(frame.shape) for frame in tiled.inner.frames]
    assert tried[: len(scales)] == pytest.approx(scales, rel=0.01)
    assert len([one for one in tried if one <= 1]) == len(scales)


def test_coarser_tiles_of_an_unsure_click_can_be_encoded_ahead():
    plane = square(50, 20, 480, (512, 512))
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    click = Prompts([(290, 260)], [1])
    tiled.prepare(embedding, click)
    assert len(tiled.inner.frames) == 1
    assert tiled.is_ready(embedding, click)
    assert not tiled.is_ready(embedding, click, every_scale=True)
    seen = []
    tiled.prepare(embedding, click, seen.append, every_scale=True)
    assert tiled.is_ready(embedding, click, every_scale=True)
    assert seen == sorted(seen)
    assert [frame.scaled[0] for frame in tiled.inner.frames] == [512, 256, 128]
    assert iou(tiled.decode(embedding, click).best(), plane > 0) > 0.97
    assert len(tiled.inner.frames) == 3


def test_all_tiles_are_encoded_once_where_memory_holds_few(tiled, plane, monkeypatch):
    monkeypatch.setattr("napari_sam.segmentation.tile_store._MAX_TILE_BYTES", 1)
    embedding = tiled.embed(plane)
    tiled.prepare(embedding, CLICK)
    tiled.prepare(embedding)
    tiled.prepare(embedding)
    assert len(tiled.inner.frames) == len(embedding.pyramid.levels[0]) > 2
    assert not tiled.is_ready(embedding, CLICK)
    tiled.prepare(embedding, CLICK)
    assert tiled.is_ready(embedding, CLICK)


@pytest.mark.parametrize("prompts", [Prompts(box=(50, 20, 80, 60)), None])
def test_no_coarser_tile_is_encoded_for_prompts_that_never_need_one(prompts):
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(square(50, 20, 30, (512, 512)), (0, 255))
    tiled.prepare(embedding, prompts, every_scale=True)
    assert len(tiled.inner.frames) == 1


def test_embedding_keeps_no_array_of_the_callers():
    plane = np.repeat(square(50, 20, 290, (512, 512))[..., None], 3, axis=2)
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane)
    expected = plane[..., 0] > 0
    plane[:] = 0
    assert iou(tiled.decode(embedding, Prompts([(200, 160)], [1])).best(), expected) > 0.97


def test_embedding_can_be_pickled_with_its_tiles(tiled, plane):
    embedding = tiled.embed(plane)
    prediction = tiled.decode(embedding, CLICK)
    copy = pickle.loads(pickle.dumps(embedding))
    assert tiled.is_ready(copy, CLICK)
    assert copy.nbytes == embedding.nbytes
    np.testing.assert_array_equal(tiled.decode(copy, CLICK).logits, prediction.logits)


def test_plane_of_one_tile_is_encoded_at_once_and_takes_logits_alone():
    tiled = TiledSegmenter(CountingEncoder(segmenter(HYBRID)))
    embedding = tiled.embed(np.zeros((64, 40), np.uint8))
    assert len(tiled.inner.frames) == 1
    assert embedding.features
    logits = Prompts(mask=np.full((32, 32), 1.0, np.float32), mask_frame=embedding.frame)
    assert tiled.decode(embedding, logits).frame == embedding.frame
    assert tiled.decode(embedding, Prompts(mask=np.zeros((64, 40), bool))).logits.shape[1:] == (
        32,
        32,
    )


def test_it_follows_the_protocols(plain):
    wrapped = TiledSegmenter(plain)
    assert isinstance(plain, PixelSegmenter)
    assert not isinstance(plain, SegmenterWrapper)
    assert isinstance(wrapped, Segmenter)
    assert isinstance(wrapped, SegmenterWrapper)
    for name in ("traits", "encoder_key", "model_key", "device", "precision"):
        assert getattr(wrapped, name) == getattr(plain, name)


@pytest.mark.parametrize("shape", [(64, 64), (20, 64), (64, 20, 3)])
def test_plane_that_fits_a_tile_is_embedded_as_without_tiles(plain, tiled, rng, shape):
    plane = rng.integers(0, 256, shape, dtype=np.uint8)
    embedding, expected = tiled.embed(plane), plain.embed(plane)
    assert not isinstance(embedding, TiledEmbedding)
    assert embedding.frame == expected.frame
    for level, other in zip(embedding.features, expected.features, strict=True):
        assert level.equal(other)
    prompts = Prompts([(10, 12)], [1])
    assert np.array_equal(
        tiled.decode(embedding, prompts).logits, plain.decode(expected, prompts).logits
    )
    assert tiled.is_ready(embedding, prompts)


def test_sam_model_sees_planes_up_to_its_input_size_whole():
    wrapped = TiledSegmenter(segmenter(VIT))
    assert not isinstance(wrapped.embed(np.zeros((64, 30))), TiledEmbedding)
    assert isinstance(wrapped.embed(np.zeros((65, 30))), TiledEmbedding)


def test_large_plane_is_only_normalised_at_first(tiled, plane):
    embedding = tiled.embed(plane)
    assert tiled.inner.frames == []
    assert embedding.features == ()
    assert embedding.frame == fit_frame((150, 200), Traits.of(HYBRID).geometry)
    assert embedding.nbytes == 150 * 200
    assert not tiled.is_ready(embedding, CLICK)


def test_decoding_a_click_encodes_only_its_tile(tiled, plane):
    embedding = tiled.embed(plane)
    prediction = tiled.decode(embedding, CLICK)
    (frame,) = tiled.inner.frames
    assert prediction.frame == frame
    assert frame.plane_shape == (150, 200)
    assert frame.shape == frame.scaled == (64, 64)
    rows, columns = frame.region
    assert rows.start <= 100 < rows.stop
    assert columns.start <= 40 < columns.stop
    assert tiled.is_ready(embedding, CLICK)
    assert not tiled.is_ready(embedding, Prompts([(10, 190)], [1]))
    tiled.decode(embedding, CLICK.with_point((101, 41), 0))
    assert len(tiled.inner.frames) == 1
    assert embedding.nbytes > 150 * 200


def test_tile_gives_what_the_crop_alone_gives(plain, tiled, rng):
    plane = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    prediction = tiled.decode(tiled.embed(plane), CLICK)
    crop = np.ascontiguousarray(plane[prediction.frame.region])
    local = Prompts(CLICK.points - prediction.frame.origin, [1])
    expected = plain.decode(plain.embed(crop), local)
    np.testing.assert_allclose(prediction.logits, expected.logits, atol=1e-4)
    region = prediction.region_mask(0)
    assert np.array_equal(prediction.masks()[0][prediction.frame.region], region)
    assert prediction.masks().shape == (3, 150, 200)


def test_box_larger_than_a_tile_is_seen_at_half_the_scale(tiled, plane):
    embedding = tiled.embed(plane)
    frame = tiled.decode(embedding, Prompts(box=(20, 20, 110, 100))).frame
    assert frame.shape == (128, 128)
    assert frame.scaled == (64, 64)


def test_object_across_the_plane_is_seen_in_the_overview(tiled, plane):
    embedding = tiled.embed(plane)
    prediction = tiled.decode(embedding, Prompts([(2, 2), (148, 198)], [1, 1]))
    assert prediction.frame == embedding.frame
    assert prediction.frame.is_whole
    assert prediction.best().shape == (150, 200)


def test_box_that_leaves_the_plane_stays_in_the_tile_at_its_border(tiled, plane):
    frame = tiled.decode(tiled.embed(plane), Prompts(box=(-30, -5, 20, 20))).frame
    assert frame.shape == (64, 64)


def test_mask_prompt_chooses_a_tile_that_holds_it(tiled, plane):
    mask = np.zeros((150, 200), bool)
    mask[10:100, 20:60] = True
    frame = tiled.decode(tiled.embed(plane), Prompts(mask=mask)).frame
    assert frame.shape == (128, 128)


def test_clicks_at_every_corner_find_a_tile(tiled, plane):
    embedding = tiled.embed(plane)
    for point in [(-0.5, -0.5), (149.5, 199.5), (0, 199), (149, 0)]:
        assert tiled.decode(embedding, Prompts([point], [1])).frame.shape == (64, 64)


def test_logits_move_with_the_object_to_another_tile(tiled, plane):
    """The second click lies outside the first one's tile: the object moves to a larger one."""
    embedding = tiled.embed(plane)
    first, second = replay(tiled, embedding, Prompts([(30, 30), (30, 110)], [1, 1]))
    assert first.frame != second.frame
    assert np.isfinite(second.logits).all()
    without = tiled.decode(embedding, Prompts([(30, 30), (30, 110)], [1, 1]), multimask=False)
    assert not np.array_equal(second.logits, without.logits)


def test_resampled_logits_cut_the_same_pixels(plane):
    coarse = fit_frame((128, 128), Traits.of(HYBRID).geometry, (10, 40), (150, 200))
    fine = fit_frame((64, 64), Traits.of(HYBRID).geometry, (30, 60), (150, 200))
    rows, columns = np.mgrid[:32, :32]
    disk = (6.0 - np.hypot(rows - 13, columns - 12)).astype(np.float32)
    moved = resample_logits(disk, coarse, fine, (32, 32))
    assert moved.shape == (32, 32)

    def mask(logits, frame):

        out = np.zeros((150, 200), bool)
        out[frame.region] = (frame.enlarge(torch.from_numpy(logits[None]))[0] > 0).numpy()
        return out

    before, after = mask(disk, coarse)[fine.region], mask(moved, fine)[fine.region]
    assert before.any()
    assert np.count_nonzero(before & after) / np.count_nonzero(before | after) > 0.95
    back = resample_logits(moved, fine, coarse, (32, 32))
    assert back[0, 0] == 0, "outside the source the logits are undecided"


def test_logits_without_a_place_are_refused(tiled, plane):
    logits = np.zeros((32, 32), np.float32)
    with pytest.raises(ValueError, match="logits alone"):
        tiled.decode(tiled.embed(plane), Prompts(mask=logits))


def test_logits_of_another_plane_are_refused(tiled, plane):
    other = tiled.decode(tiled.embed(plane[:-1]), CLICK)
    prompts = CLICK.with_logits(other.logits[0], other.frame)
    with pytest.raises(ValueError, match="same plane"):
        tiled.decode(tiled.embed(plane), prompts)


def test_decode_many_equals_one_by_one_across_tiles(tiled, plane):
    embedding = tiled.embed(plane)
    prompts = [
        Prompts([(10, 10)], [1]),
        Prompts(box=(100, 150, 120, 180)),
        Prompts([(12, 14)], [1]),
        Prompts(box=(5, 5, 140, 190)),
    ]
    many = tiled.decode_many(embedding, prompts)
    for one, prediction in zip(prompts, many, strict=True):
        expected = tiled.decode(embedding, one)
        assert prediction.frame == expected.frame
        np.testing.assert_allclose(prediction.logits, expected.logits, atol=1e-4)


def test_preparing_all_tiles_reports_progress_and_leaves_nothing_to_encode(tiled, plane):
    embedding, seen = tiled.embed(plane), []
    tiled.prepare(embedding, progress=seen.append)
    assert len(tiled.inner.frames) == len(embedding.pyramid.levels[0])
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert all(
        tiled.is_ready(embedding, Prompts([(r, c)], [1]))
        for r in range(0, 150, 10)
        for c in range(0, 200, 10)
    )


def test_preparing_can_be_cancelled_and_continued(tiled, plane):
    embedding = tiled.embed(plane)

    def stop(fraction):
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        tiled.prepare(embedding, progress=stop)
    done = len(tiled.inner.frames)
    assert 0 < done < len(embedding.pyramid.levels[0])
    tiled.prepare(embedding)
    assert len(tiled.inner.frames) == len(embedding.pyramid.levels[0])


def test_proposals_come_from_cores_without_repetition(tiled, plain, plane):
    embedding = tiled.embed(plane)
    proposals = tiled.propose(embedding)
    assert len(proposals.boxes)
    assert np.all(np.diff(proposals.scores) <= 0)
    assert len(np.unique(proposals.boxes, axis=0)) == len(proposals.boxes)
    assert np.all((proposals.boxes >= 0) & (proposals.boxes <= (149, 199, 149, 199)))
    expected = 0
    for tile in embedding.pyramid.levels[0]:
        r0, c0, r1, c1 = tile.core
        inner = plain.propose(tiled._embed_tile(embedding, tile)).centres.round(6)
        inside = (inner >= (r0 - 0.5, c0 - 0.5)) & (inner < (r1 - 0.5, c1 - 0.5))
        expected += np.count_nonzero(inside.all(axis=1))
    assert len(proposals.boxes) == expected


def test_proposing_reports_progress_and_can_be_cancelled(tiled, plane):
    embedding = tiled.embed(plane)
    seen = []
    tiled.propose(embedding, progress=seen.append)
    assert len(seen) >= len(embedding.pyramid.levels[0])
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def cancel(fraction):
        raise Cancelled

    fresh = tiled.embed(plane)
    with pytest.raises(Cancelled):
        tiled.propose(fresh, progress=cancel)
    assert len(tiled.inner.frames) == len(embedding.pyramid.levels[0])  # not even one more


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.3])
def test_plane_is_seen_at_a_wanted_scale(tiled, plane, scale):
    embedding = tiled.embed(plane, scale=scale)
    proposals = tiled.propose(embedding)
    assert len(proposals.boxes) == len(proposals.scores) > 0
    for frame in tiled.inner.frames or [embedding.frame]:
        assert np.divide(frame.scaled, frame.shape) == pytest.approx(scale, rel=0.05)


def test_model_without_a_dense_head_proposes_nothing(rng):
    wrapped = TiledSegmenter(segmenter(VIT))
    assert wrapped.propose(wrapped.embed(rng.random((90, 90)))) is None


def test_two_threads_encode_a_tile_once(tiled, plane):
    embedding = tiled.embed(plane)
    threads = [threading.Thread(target=tiled.decode, args=(embedding, CLICK)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tiled.inner.frames) == 1


def test_memory_of_tiles_is_bounded(tiled, plane, monkeypatch):
    monkeypatch.setattr("napari_sam.segmentation.tile_store._MAX_TILE_BYTES", 1)
    embedding = tiled.embed(plane)
    tiled.decode(embedding, CLICK)
    one = embedding.nbytes
    tiled.prepare(embedding)
    assert embedding.nbytes == one, "only the tile used last is kept"


def test_embedding_of_another_model_is_refused(tiled, plane):
    foreign = TiledSegmenter(segmenter(HYBRID, seed=4)).embed(plane)
    with pytest.raises(ValueError, match="embed the plane again"):
        tiled.decode(foreign, CLICK)


def test_halo_that_leaves_no_core_is_refused(plain):
    with pytest.raises(ValueError, match="larger than two halos"):
        TiledSegmenter(plain, tile=64, halo=32)
