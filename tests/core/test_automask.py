"""Everything in a plane: as the reference does it, from proposals, as labels, through a stack."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from component_segmenter import ComponentSegmenter, disks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import SamAutomaticMaskGenerator, make_masks_small, randomise, reference_sam
from small_models import VIT

from napari_sam import generate_masks, samples, segment_all
from napari_sam.automask import AutomaskSettings, ObjectMask, merge_objects
from napari_sam.automask.grid import crop_boxes, point_grid
from napari_sam.automask.objects import encode_region
from napari_sam.automask.proposed import _propose
from napari_sam.automask.stack import link_planes
from napari_sam.geometry import Geometry
from napari_sam.masks import Rle, decode_rle
from napari_sam.model.checkpoint import load_into_new
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Cancelled, MaskPrediction, Proposals

SHAPE = (60, 80)
CIRCLES = [(15, 15, 8), (15, 50, 6), (45, 30, 10)]


def brute(circles=CIRCLES) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(disks(SHAPE, circle))) for circle in circles}


def pixels(objects: list[ObjectMask]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(decode_rle(one.mask))) for one in objects}


# Against the reference --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both():
    """Our segmenter and the reference's network with the same weights."""
    original = reference_sam(VIT)
    randomise(original, seed=19)
    make_masks_small(original, image())
    ours = load_into_new(original.state_dict(), VIT, "the reference's weights")
    return SamSegmenter(ours, "cpu", "float32"), original


def image() -> np.ndarray:
    return np.asarray(samples.load("histology").data)[:90, :140]


# Random masks are noise: thresholds low enough that many pass, and many are near the limits.
LOOSE = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.5, "points_per_side": 8}


@pytest.mark.parametrize(
    "settings",
    [
        LOOSE | {"box_nms_thresh": 0.9},
        LOOSE | {"box_nms_thresh": 0.95, "stability_score_offset": 0.5, "pred_iou_thresh": 0.1},
        LOOSE | {"box_nms_thresh": 0.98, "crop_n_layers": 1, "points_per_side": 4},
        LOOSE
        | {
            "crop_n_layers": 2,
            "crop_n_points_downscale_factor": 2,
            "box_nms_thresh": 0.9,
            "crop_nms_thresh": 0.9,
            "crop_overlap_ratio": 0.5,
        },
    ],
    ids=["plane", "thresholds", "one layer of crops", "two layers of crops"],
)
def test_masks_from_a_grid_equal_the_references(both, settings):
    segmenter, original = both
    expected = SamAutomaticMaskGenerator(original, **settings).generate(image())
    objects = generate_masks(segmenter, image(), **settings)
    assert len(expected) >= 4, "too few masks to compare anything"
    assert len(objects) == len(expected)
    for one, other in zip(objects, expected, strict=True):
        mask, reference = decode_rle(one.mask), other["segmentation"]
        overlap = np.count_nonzero(mask & reference) / np.count_nonzero(mask | reference)
        assert overlap > 0.99
        assert one.score == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert one.stability == pytest.approx(other["stability_score"], abs=1e-2)
        assert one.point == pytest.approx(tuple(other["point_coords"][0][::-1]))
        x, y, w, h = other["bbox"]
        assert one.box == pytest.approx((y, x, y + h, x + w), abs=1)
        x, y, w, h = other["crop_box"]
        assert one.crop_box == (y, x, y + h, x + w)


def test_defaults_are_the_references():
    import inspect

    parameters = inspect.signature(SamAutomaticMaskGenerator.__init__).parameters
    ours = AutomaskSettings()
    shared = [name for name in parameters if hasattr(ours, name)]
    assert len(shared) == 11
    for name in shared:
        assert getattr(ours, name) == parameters[name].default, name


@pytest.mark.parametrize("shape", [(50, 70), (333, 200)])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_crops_are_the_references(shape, layers):
    from segment_anything.utils.amg import build_all_layer_point_grids, generate_crop_boxes

    expected, depths = generate_crop_boxes(shape, layers, 512 / 1500)
    crops = list(crop_boxes(shape, layers, 512 / 1500))
    assert [[c0, r0, c1, r1] for (r0, c0, r1, c1), _ in crops] == expected
    assert [layer for _, layer in crops] == depths
    for layer, grid in enumerate(build_all_layer_point_grids(8, layers, 2)):
        ours = point_grid(8 // 2**layer, shape)
        np.testing.assert_allclose(ours[:, ::-1], grid * (shape[1], shape[0]))


# With known objects -----------------------------------------------------------------------------


@pytest.mark.parametrize("dense", [True, False], ids=["proposals", "grid"])
def test_every_object_is_found_once(dense):
    segmenter = ComponentSegmenter(dense)
    objects = generate_masks(segmenter, disks(SHAPE, *CIRCLES), points_per_side=16)
    assert pixels(objects) == brute()
    for one in objects:
        mask = decode_rle(one.mask)
        rows, columns = np.nonzero(mask)
        assert one.box == (rows.min(), columns.min(), rows.max(), columns.max())
        assert one.area == mask.sum()
        assert np.array_equal(one.crop(), mask[one.region])
        assert mask[tuple(np.round(one.point).astype(int))]
        assert 0.6 <= one.score <= 1 if dense else one.score == pytest.approx(0.9)
        assert one.stability == 1


def test_head_is_used_where_there_is_one_unless_a_grid_is_asked_for():
    plane = disks(SHAPE, *CIRCLES)
    deep = {one.point for one in generate_masks(ComponentSegmenter(dense=True), plane)}
    assert deep == {(float(r), float(c)) for r, c, _ in CIRCLES}
    grid = generate_masks(ComponentSegmenter(dense=True), plane, proposals=False)
    assert len(grid) == 3
    assert {one.point for one in grid} != deep


def test_proposals_are_refused_without_a_head():
    with pytest.raises(ValueError, match="dense head"):
        generate_masks(ComponentSegmenter(), disks(SHAPE), proposals=True)


@pytest.mark.parametrize("dense", [True, False])
def test_empty_plane_has_no_objects(dense):
    segmenter = ComponentSegmenter(dense)
    assert generate_masks(segmenter, np.zeros(SHAPE)) == []
    assert not segment_all(segmenter, np.zeros(SHAPE)).any()


def test_small_holes_and_islands_are_removed_as_the_reference_does():
    """OpenCV is not needed: the rule is written out for one object."""
    plane = disks(SHAPE, (30, 40, 20))
    plane[30, 40] = plane[28:31, 50:53] = 0  # holes of 1 and 9 pixels
    objects = generate_masks(ComponentSegmenter(), plane, min_mask_region_area=5)
    mask = decode_rle(objects[0].mask)
    assert mask[30, 40]
    assert not mask[29, 51]
    (one,) = generate_masks(ComponentSegmenter(), plane, min_mask_region_area=20)
    assert np.array_equal(decode_rle(one.mask), disks(SHAPE, (30, 40, 20)) > 0)


@pytest.mark.parametrize("heads", [0, 1, 2])
def test_progress_rises_to_one_and_can_cancel(heads):
    seen = []
    segmenter = ComponentSegmenter(dense=heads > 0)
    if heads == 2:
        segmenter.traits = replace(segmenter.traits, judges=True)
    generate_masks(segmenter, disks(SHAPE, *CIRCLES), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1

    def stop(fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        generate_masks(segmenter, disks(SHAPE, *CIRCLES), progress=stop)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points_per_side": 0}, "points_per_side"),
        ({"crop_n_layers": -1}, "crop_n_layers"),
        ({"crop_n_layers": 6, "crop_n_points_downscale_factor": 2}, "at least one point"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        generate_masks(ComponentSegmenter(), disks(SHAPE), **settings)


def test_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="points_pr_side"):
        generate_masks(ComponentSegmenter(), disks(SHAPE), points_pr_side=3)


def test_plane_smaller_than_the_grid_is_segmented():
    assert len(generate_masks(ComponentSegmenter(), disks((8, 9), (4, 4, 2)))) == 1


# Labels -----------------------------------------------------------------------------------------


def objects_of(*masks, scores=None) -> list[ObjectMask]:
    scores = scores or [1 - i / 10 for i in range(len(masks))]
    made = []
    for mask, score in zip(masks, scores, strict=True):
        box, rle = encode_region(mask, (0, 0), mask.shape)
        made.append(ObjectMask(box, rle, score, 1.0, (0.0, 0.0), (0, 0, *mask.shape)))
    return made


def test_better_mask_keeps_the_shared_pixels():
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[10:20, 10:30], right[10:20, 25:50] = True, True
    labels = merge_objects(objects_of(left, right, scores=[0.5, 0.9]), SHAPE)
    assert np.array_equal(labels == 1, right)
    assert np.array_equal(labels == 2, left & ~right)


def test_mask_that_is_mostly_covered_is_dropped():
    large, small = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    large[10:30, 10:30], small[12:20, 12:20] = True, True
    labels = merge_objects(objects_of(large, small), SHAPE)
    assert np.array_equal(labels, large.astype(int))


def test_labels_of_a_plane_are_its_objects():
    labels = segment_all(ComponentSegmenter(dense=True), disks(SHAPE, *CIRCLES))
    assert labels.shape == SHAPE
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert {frozenset(np.flatnonzero(labels == n)) for n in (1, 2, 3)} == brute()


def test_stack_keeps_an_object_under_one_label():
    planes = [disks(SHAPE, (15, 15 + z, 7), (45, 60, 7)) for z in range(4)]
    planes.append(disks(SHAPE, (45, 60, 7), (20, 40, 5)))
    labels = segment_all(ComponentSegmenter(dense=True), np.stack(planes))
    assert labels.shape == (5, *SHAPE)
    assert len({labels[z, 15, 15 + z] for z in range(4)}) == 1
    assert len({labels[z, 45, 60] for z in range(5)}) == 1
    assert len(np.unique(labels[labels > 0])) == 3
    assert np.array_equal(labels > 0, np.stack(planes) > 0)


def test_colour_plane_and_colour_stack_are_distinguished():
    plane = np.repeat(disks(SHAPE, *CIRCLES)[..., None], 3, axis=2)
    segmenter = ComponentSegmenter(dense=True)
    assert segment_all(segmenter, plane).shape == SHAPE
    assert segment_all(segmenter, np.stack([plane, plane])).shape == (2, *SHAPE)


def test_volume_over_time_is_refused():
    with pytest.raises(ValueError, match="pick a channel or a time point"):
        segment_all(ComponentSegmenter(), np.zeros((2, 2, 9, 9)))


def test_links_prefer_the_larger_overlap():
    before, here = np.zeros((10, 30), np.int32), np.zeros((10, 30), np.int32)
    before[:, :10], before[:, 10:20] = 1, 2
    here[:, 2:9], here[:, 9:21] = 5, 3
    linked = link_planes(np.stack([before, here]))
    assert linked[1, 0, 5] == linked[0, 0, 5]
    assert linked[1, 0, 15] == linked[0, 0, 15]
    assert linked[0, 0, 5] != linked[0, 0, 15]


@pytest.mark.parametrize(("dtype", "large"), [("i4", 2**31 - 1), ("i8", 2**40), ("u8", 2**64 - 1)])
def test_numbers_of_any_size_are_linked(dtype, large):
    before, here = np.zeros((10, 30), dtype), np.zeros((10, 30), dtype)
    before[:, :10], here[:, 2:9], here[:, 20:] = large, 5, large
    linked = link_planes(np.stack([before, here]))
    assert linked.dtype == np.dtype(dtype)
    assert np.array_equal(linked[0] == 1, before > 0)
    assert np.array_equal(linked[1] == 1, here == 5)
    assert np.array_equal(linked[1] == 2, here == large)


def test_object_that_splits_continues_in_one_part_only():
    before, here = np.zeros((10, 30), np.int32), np.zeros((10, 30), np.int32)
    before[:, :20] = 1
    here[:, :9], here[:, 11:20] = 1, 2
    linked = link_planes(np.stack([before, here]))
    first, second = linked[1, 0, 0], linked[1, 0, 15]
    assert first != second
    assert linked[0, 0, 0] in (first, second)


# Encoding ---------------------------------------------------------------------------------------

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(lambda m: m.any())


@given(region=masks, r=st.integers(0, 3), c=st.integers(0, 3), margin=st.integers(0, 3))
def test_encoding_a_region_equals_the_references_of_the_plane(region, r, c, margin):
    from segment_anything.utils.amg import mask_to_rle_pytorch

    h, w = region.shape
    plane = np.zeros((r + h + margin, c + w + margin), bool)
    plane[r : r + h, c : c + w] = region
    box, rle = encode_region(region, (r, c), plane.shape)
    (runs,) = mask_to_rle_pytorch(torch.from_numpy(plane)[None])
    assert rle == Rle(tuple(runs["size"]), tuple(runs["counts"]))
    one = ObjectMask(box, rle, 1.0, 1.0, (0.0, 0.0), (0, 0, *plane.shape))
    assert np.array_equal(one.crop(), plane[one.region])
    assert one.area == math.prod(plane.shape) - np.count_nonzero(~plane)


# Boxes that a head proposes ---------------------------------------------------------------------


class Boxed(ComponentSegmenter):
    """Its head proposes what a test says, and a box gives the pixels within."""

    def __init__(self, *proposed):
        super().__init__(dense=True)
        self.proposed = sorted(proposed, key=lambda one: -one[1])

    def propose(self, embedding, quick=False, progress=None) -> Proposals:
        boxes = np.array([box for box, _ in self.proposed], float)
        return Proposals(boxes, np.array([score for _, score in self.proposed], np.float32))

    def decode(self, embedding, prompts, multimask="auto", progress=None) -> MaskPrediction:
        r0, c0, r1, c1 = map(int, prompts.box)
        logits = np.full((1, *SHAPE), -5.0, np.float32)
        logits[0, r0 : r1 + 1, c0 : c1 + 1] = 5.0
        return MaskPrediction(logits, np.array([0.9], np.float32), embedding.frame)


def test_mask_is_that_of_the_box_and_scored_as_the_box():
    (one,) = generate_masks(Boxed(((5, 7, 14, 20), 0.8)), np.zeros(SHAPE))
    assert one.box == (5, 7, 14, 20)
    assert one.score == pytest.approx(0.8)
    assert one.point == (9.5, 13.5)
    assert decode_rle(one.mask).sum() == 10 * 14


def test_boxes_that_are_no_good_are_left_out():
    proposed = ((5, 5, 14, 14), 0.9), ((30, 30, 39, 39), 0.4)
    assert len(generate_masks(Boxed(*proposed), np.zeros(SHAPE))) == 1
    assert len(generate_masks(Boxed(*proposed), np.zeros(SHAPE), proposal_iou_thresh=0.3)) == 2
    assert generate_masks(Boxed(*proposed), np.zeros(SHAPE), proposal_iou_thresh=0.95) == []


class Judged(Boxed):
    """Its cells say the same of every box; judged, a box has the score that a test says."""

    def __init__(self, *proposed):
        super().__init__(*proposed)
        self.traits = replace(self.traits, judges=True)

    def propose(self, embedding, quick=False, progress=None) -> Proposals:
        found = super().propose(embedding, quick, progress)
        return replace(found, scores=np.full_like(found.scores, 0.9)) if quick else found


def test_boxes_are_believed_as_they_were_judged():
    proposed = ((5, 5, 14, 14), 0.6), ((30, 30, 39, 39), 0.4)
    (one,) = generate_masks(Judged(*proposed), np.zeros(SHAPE))
    assert one.score == pytest.approx(0.6)
    assert len(generate_masks(Judged(*proposed), np.zeros(SHAPE), proposal_iou_thresh=0.3)) == 2
    assert generate_masks(Boxed(*proposed), np.zeros(SHAPE)) == []


def test_of_masks_that_overlap_the_better_one_is_kept():
    proposed = ((5, 5, 14, 14), 0.7), ((5, 5, 14, 16), 0.9), ((5, 14, 14, 23), 0.8)
    kept = generate_masks(Boxed(*proposed), np.zeros(SHAPE))
    assert [one.box for one in kept] == [(5, 5, 14, 16), (5, 14, 14, 23)]
    assert len(generate_masks(Boxed(*proposed), np.zeros(SHAPE), proposal_overlap=0.0)) == 1


# The scale of a plane ---------------------------------------------------------------------------


class Scalable(ComponentSegmenter):
    """A component segmenter that says of itself what the embedded model says.

    Its head knows one size: it takes larger objects for pieces of so many model pixels.
    """

    def __init__(self, knows=9999):
        super().__init__(dense=True)
        self.traits = replace(self.traits, geometry=Geometry(256, 2.0), decodes_windows=True)
        self.knows = knows

    def propose(self, embedding, quick=False, progress=None) -> Proposals:
        found = super().propose(embedding, quick, progress)
        side = self.knows / self.scales[-1] if self.scales[-1] else 9999
        corner = np.minimum(found.boxes[:, 2:], found.boxes[:, :2] + side - 1)
        return Proposals(np.concatenate([found.boxes[:, :2], corner], axis=1), found.scores)


class Scripted(Scalable):
    """Boxes look by look, the last ones for all further looks: sides, numbers and scores."""

    def __init__(self, *seen: list[tuple[int, int, float]]):
        super().__init__()
        self.seen = seen

    def propose(self, embedding, quick=False, progress=None) -> Proposals:
        found = self.seen[min(len(self.scales), len(self.seen)) - 1]
        sides, scores = (np.repeat([f[i] for f in found], [f[1] for f in found]) for i in (0, 2))
        boxes = np.stack([np.full(len(sides), 9.0)] * 2 + [8.0 + sides] * 2, axis=1)
        order = np.argsort(-scores)
        return Proposals(boxes[order], scores[order].astype(np.float32))


def scale_chosen(segmenter) -> float:
    """Scale that is chosen for a plane of the model's own size."""
    return _propose(segmenter, np.zeros((256, 256, 3), np.uint8), AutomaskSettings(), None).scale


def looks(segmenter, radius, **settings) -> list[float]:
    """Scales at which a plane of 640 pixels with disks of one size is looked at."""
    plane = disks((640, 640), (100, 100, radius), (300, 300, radius), (500, 500, radius))
    generate_masks(segmenter, plane, (0, 255), **settings)
    return segmenter.scales


@pytest.mark.parametrize("radius", [8, 20, 50, 90])
@pytest.mark.parametrize("knows", [9999, 40])
def test_plane_is_searched_where_its_objects_have_the_wanted_size(radius, knows):
    scales = looks(Scalable(knows), radius)
    assert scales[0] == pytest.approx(0.1)  # a quarter of the model's 256 pixels
    assert any(22 <= 2 * radius * scale <= 40 for scale in scales)
    assert max(scales) <= max(0.4, 2 * 28 / (2 * radius))


@pytest.mark.parametrize(
    ("seen", "chosen"),
    [
        ([(80, 0.6), (40, 0.65), (20, 0.8), (20, 0.9), (14, 0.85)], 3),  # clumps that part
        ([(40, 0.8)], 2),  # the same objects at every scale
        ([(40, 0.8), (30, 0.7), (20, 0.6), (10, 0.6)], 0),  # objects that fall into pieces
        ([(20, 0.7), (20, 0.8), (20, 0.75), (20, 0.85)], 3),  # worse and then better again
    ],
    ids=["clumps", "objects", "pieces", "detour"],
)
def test_scale_is_the_one_where_boxes_are_best(seen, chosen):
    """Sides of a box in pixels of the plane and its score, look by look."""
    segmenter = Scripted(*([(side, 20, score)] for side, score in seen))
    assert scale_chosen(segmenter) == segmenter.scales[chosen]


def test_one_large_box_does_not_end_the_search():
    segmenter = Scripted(*[[(200, 1, 0.75)]] * 4, [(20, 30, 0.8)])
    assert scale_chosen(segmenter) >= 1 == segmenter.scales[4]


def test_few_good_boxes_do_not_outweigh_many():
    """Half of the plane's boxes a little better than all of them: a coarse look is no rule."""
    segmenter = Scripted([(52, 1, 0.75)], [(52, 50, 0.7)])
    assert scale_chosen(segmenter) > segmenter.scales[0]


@pytest.mark.parametrize(
    ("afar", "close", "finer"),
    [
        ([(100, 4, 0.7)], [(30, 36, 0.66)], True),  # clumps and the objects in them
        ([(50, 20, 0.7)], [(50, 20, 0.64), (4, 300, 0.7)], False),  # specks beside the objects
    ],
    ids=["clumps", "specks"],
)
def test_more_objects_are_worth_more_unless_they_are_specks(afar, close, finer):
    """Sides, numbers and scores of the boxes at the first scale, and at all later ones."""
    segmenter = Scripted(afar, close)
    assert (scale_chosen(segmenter) > segmenter.scales[0]) == finer


def test_minute_objects_are_magnified_as_far_as_the_model_may():
    assert looks(Scalable(), 2)[-1] == 2


def test_scale_of_the_model_itself_is_used_when_asked_for():
    assert looks(Scalable(), 8, proposal_diameter=0) == [None]


def test_empty_plane_is_never_magnified():
    segmenter = Scalable()
    generate_masks(segmenter, np.zeros((640, 640), np.uint8), (0, 255))
    assert max(segmenter.scales) <= 1
