"""The plain segmenter: stateless, batched without consequences, strict about what belongs where."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from component_segmenter import ComponentSegmenter
from small_models import HYBRID, VIT, network, segmenter

from napari_sam import load_segmenter, replay
from napari_sam.geometry import Frame, fit_frame
from napari_sam.model.checkpoint import save
from napari_sam.model.keys import encoder_key, model_key
from napari_sam.model.sam import Sam
from napari_sam.prompts import Prompts
from napari_sam.segmentation.cached import embedding_key
from napari_sam.segmentation.devices import DeviceWarning
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import (
    Cancelled,
    MaskPrediction,
    PixelSegmenter,
    Segmenter,
    part_of,
)
from napari_sam.segmentation.replay import replay_many
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.segmentation.traits import Traits

CONFIGS = pytest.mark.parametrize("config", [VIT, HYBRID], ids=["vit", "hybrid"])
CLICK = Prompts([(10, 20)], [1])
VARIED = [
    CLICK,
    Prompts([(5, 5), (30, 40)], [1, 0]),
    Prompts(box=(3, 4, 20, 30)),
    Prompts([(12, 13)], [1], box=(3, 4, 20, 30)),
    Prompts([(30, 9)], [1]),
    Prompts([(33, 20), (8, 40)], [1, 1]),
    Prompts(mask=np.eye(40, 50, dtype=bool)),
]


@pytest.fixture(scope="module")
def made():
    return {config.name: segmenter(config) for config in (VIT, HYBRID)}


@pytest.fixture(scope="module")
def plane():
    return np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def assert_same(one: MaskPrediction, other: MaskPrediction, atol: float = 2e-5) -> None:
    np.testing.assert_allclose(one.logits, other.logits, atol=atol, rtol=1e-5)
    np.testing.assert_allclose(one.scores, other.scores, atol=atol, rtol=1e-5)
    assert one.frame == other.frame


@CONFIGS
def test_it_follows_the_protocols(made, config):
    assert isinstance(made[config.name], Segmenter)
    assert isinstance(made[config.name], PixelSegmenter)


@CONFIGS
def test_objects_decoded_together_equal_objects_decoded_alone(made, plane, config):
    one = made[config.name]
    embedding = one.embed(plane)
    together = one.decode_many(embedding, VARIED)
    for prompts, prediction in zip(VARIED, together, strict=True):
        assert_same(prediction, one.decode(embedding, prompts))


@CONFIGS
def test_best_candidate_of_our_models_is_decoded_from_its_own_logits_once_more(made, plane, config):
    one = made[config.name]
    embedding = one.embed(plane)
    first, answer = one.decode(embedding, CLICK, True), one.decode(embedding, CLICK)
    best = first.best_index
    expected, scores = first.logits.copy(), first.scores.copy()
    if config is HYBRID:
        again = CLICK.with_logits(first.logits[best], first.frame)
        second = one.decode(embedding, again)
        assert not np.allclose(second.logits[0], first.logits[best], atol=1e-3)
        expected[best], scores[best] = second.logits[0], second.scores[0]
    assert_same(answer, MaskPrediction(expected, scores, first.frame))


# A random network's second look magnifies the rounding that differs between batches: up to
# 1.05e-4 on a CPU with AVX2.
@pytest.mark.parametrize(("multimask", "atol"), [(True, 2e-5), ("auto", 3e-4)])
def test_more_objects_than_one_pass_holds_keep_their_order(made, plane, multimask, atol):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    prompts = [Prompts([(i % 40, i % 50)], [1]) for i in range(0, 140, 2)]
    together = one.decode_many(embedding, prompts, multimask)
    for i in (0, 31, 32, 69):
        assert_same(together[i], one.decode(embedding, prompts[i], multimask), atol)
    assert one.decode_many(embedding, []) == []


@CONFIGS
def test_answer_depends_on_nothing_that_was_asked_before(made, plane, config):
    one = made[config.name]
    embedding = one.embed(plane)
    first = one.decode(embedding, CLICK)
    other = one.embed(plane[::-1])
    one.decode(other, VARIED[2])
    assert np.array_equal(one.decode(embedding, CLICK).logits, first.logits)
    assert not np.array_equal(one.decode(other, CLICK).logits, first.logits)


def test_threads_do_not_disturb_each_other(made, plane):
    one = made[HYBRID.name]
    planes = [plane, np.ascontiguousarray(plane[::-1]), np.ascontiguousarray(plane[:, ::-1])]
    expected = [one.decode(one.embed(p), CLICK) for p in planes]
    results = {}

    def work(i):
        results[i] = [one.decode(one.embed(planes[i]), CLICK) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, predictions in results.items():
        for prediction in predictions:
            assert_same(prediction, expected[i])


@pytest.mark.parametrize(("prompts", "count"), [(CLICK, 3), *((p, 1) for p in VARIED[1:4])])
def test_only_a_single_click_has_three_candidates(made, plane, prompts, count):
    one = made[VIT.name]
    embedding = one.embed(plane)
    assert len(one.decode(embedding, prompts).scores) == count
    assert len(one.decode(embedding, prompts, multimask=True).scores) == 3
    assert len(one.decode(embedding, prompts, multimask=False).scores) == 1


@CONFIGS
def test_masks_have_the_planes_shape_and_the_best_has_the_highest_score(made, plane, config):
    one = made[config.name]
    prediction = one.decode(one.embed(plane), CLICK)
    masks = prediction.masks()
    assert masks.shape == (3, 40, 50)
    assert masks.dtype == bool
    assert prediction.best_index == np.argmax(prediction.scores)
    assert np.array_equal(prediction.best(), masks[prediction.best_index])
    assert prediction.logits.dtype == prediction.scores.dtype == np.float32


def test_region_mask_is_the_masks_part_in_its_frame(made, plane):
    one = made[HYBRID.name]
    frame = fit_frame((40, 50), Traits.of(HYBRID).geometry, (7, 9), (100, 120))
    prediction = one.decode(one.embed_pixels(plane, frame), Prompts([(20, 30)], [1]))
    mask = prediction.mask(0)
    assert mask.shape == (100, 120)
    assert np.array_equal(mask[7:47, 9:59], prediction.region_mask(0))
    assert mask.sum() == prediction.region_mask(0).sum()


def test_progress_rises_to_one_and_may_cancel(made, plane):
    one, seen = made[VIT.name], []
    one.embed(plane, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1

    def stop(fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        one.embed(plane, progress=stop)
    one.embed(plane)


def test_part_of_a_progress_reports_its_share():
    seen = []
    part_of(seen.append, 0.25, 0.75)(0.5)
    assert seen == [0.5]
    assert part_of(None, 0, 1) is None


@pytest.mark.parametrize("quick", [False, True])
def test_proposals_lie_in_the_plane_best_first(made, plane, quick):
    found = made[HYBRID.name].propose(made[HYBRID.name].embed(plane), quick)
    assert len(found.boxes) == len(found.scores) > 0
    assert (found.boxes >= 0).all()
    assert (found.boxes <= (39, 49, 39, 49)).all()
    assert (found.boxes[:, :2] <= found.boxes[:, 2:]).all()
    assert (np.diff(found.scores) <= 1e-6).all()
    assert made[VIT.name].propose(made[VIT.name].embed(plane), quick) is None


def test_cells_are_read_once_for_both_decodes(plane):
    sam, reads = network(HYBRID), []
    sam.dense_head.boxes.register_forward_hook(lambda *given: reads.append(given))
    one = SamSegmenter(sam, device="cpu", precision="float32")
    embedding = one.embed(plane)
    one.propose(embedding, quick=True)
    one.propose(embedding)
    assert len(reads) == 1
    one.propose(one.embed(plane))
    assert len(reads) == 2


def test_regions_decide_which_proposals_are_believed(plane):
    sam = network(HYBRID)
    one = SamSegmenter(sam, device="cpu", precision="float32")
    embedding = one.embed(plane)
    quick = one.propose(embedding, quick=True)
    with torch.no_grad():
        sam.roi_head.out.weight.zero_()
        sam.roi_head.out.bias.copy_(torch.tensor([-3.0, 0.0, 0.0, 0.0, 0.0]))
    doubted = one.propose(embedding)
    assert doubted.scores.max() < quick.scores.max() - 0.2
    with torch.no_grad():  # every box is half as high: its lower half
        sam.roi_head.out.bias.copy_(torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0]))
    lower = one.propose(embedding).boxes
    high = one.propose(embedding, quick=True).boxes
    assert np.median(lower[:, 2] - lower[:, 0]) < 0.7 * np.median(high[:, 2] - high[:, 0])


@CONFIGS
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close(plane, config, precision):
    exact = segmenter(config)
    half = SamSegmenter(network(config), "cpu", precision)
    embedding = half.embed(plane)
    assert (embedding.precision, embedding.encoder_key) == (precision, exact.encoder_key)
    expected = exact.embed(plane).features
    for level, other in zip(embedding.features, expected, strict=True):
        error = (level.float() - other).abs().mean() / other.abs().mean()
        assert error < 0.05
    prediction, wanted = half.decode(embedding, CLICK), exact.decode(exact.embed(plane), CLICK)
    assert prediction.logits.dtype == prediction.scores.dtype == np.float32
    for ours, other in ((prediction.logits, wanted.logits), (prediction.scores, wanted.scores)):
        assert np.abs(ours - other).mean() < 0.05 * np.abs(other).mean() + 1e-3


def test_decoder_of_a_sam_computes_in_bfloat16_along_with_its_encoder(plane):
    expected = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float32}
    for precision, dtype in expected.items():
        one = SamSegmenter(network(VIT), "cpu", precision)
        assert one._sam.mask_decoder.dtype == dtype
        assert one._ready(one.embed(plane)).features[0].dtype == dtype
    own = SamSegmenter(network(HYBRID), "cpu", "bfloat16")
    assert own._sam.mask_decoder.dtype == torch.float32


def test_embedding_knows_its_size(made, plane):
    embedding = made[HYBRID.name].embed(plane)
    assert embedding.nbytes == sum(4 * f.numel() for f in embedding.features)


def test_memory_goes_with_the_embedding(made, plane):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    one.decode(embedding, CLICK)
    gone = weakref.ref(embedding)
    del embedding
    gc.collect()
    assert gone() is None


def test_features_of_our_models_are_decoded_channels_last_however_they_were_kept(plane):
    """Windows are cut from them in one copy then; a cache keeps them channels first."""
    made = segmenter(HYBRID)
    embedding = made.embed(plane)
    kept = replace(embedding, features=tuple(f.contiguous() for f in embedding.features))
    for feature in made._ready(kept).features:
        assert feature.is_contiguous(memory_format=torch.channels_last)
    ours, expected = (made.decode(one, CLICK).logits for one in (kept, embedding))
    np.testing.assert_array_equal(ours, expected)


def test_few_embeddings_are_kept_ready_for_decoding(made, plane):
    """A session may hold hundreds of embeddings; their float32 copies must not pile up."""
    one = segmenter(HYBRID)
    embeddings = [one.embed(np.roll(plane, i, axis=0)) for i in range(20)]
    for embedding in embeddings:
        one.decode(embedding, CLICK)
    assert len(one._derived) < len(embeddings)
    assert_same(one.decode(embeddings[0], CLICK), one.decode(embeddings[0], CLICK))


@pytest.mark.parametrize("key", [encoder_key, model_key])
def test_keys_follow_from_weights_and_configuration_but_not_the_name(key):
    same = key(network(VIT))
    assert same == key(network(VIT))
    assert same == key(network(VIT.renamed("other")))
    assert same != key(network(VIT, seed=4))
    assert same != key(network(HYBRID))


@pytest.mark.parametrize(
    ("part", "reads_the_same"),
    [("image_encoder", False), ("prompt_encoder", True), ("mask_decoder", True)],
)
def test_weights_of_the_encoder_alone_decide_whose_embeddings_a_model_reads(part, reads_the_same):
    given, tuned = network(VIT), network(VIT)
    next(getattr(tuned, part).parameters()).data += 0.5
    assert (encoder_key(tuned) == encoder_key(given)) == reads_the_same
    assert model_key(tuned) != model_key(given)


@pytest.mark.parametrize("change", [{"pixel_mean": (1.0, 2.0, 3.0)}, {"resize": "own"}])
def test_preprocessing_belongs_to_the_encoder(change):
    other = Sam(replace(VIT, **change))
    other.load_state_dict(network(VIT).state_dict())
    assert encoder_key(other) != encoder_key(network(VIT))


def test_embeddings_of_nano_on_disk_from_before_encoders_had_keys_are_still_found():
    nano = load_segmenter("nano", device="cpu", precision="float32")
    pixels, frame = np.zeros((40, 50, 3), np.uint8), fit_frame((40, 50), nano.traits.geometry)
    kept_as = "5304559c53b9189271c9ae3fe2c1df8a"  # the name of its file
    assert embedding_key(pixels, frame, nano.encoder_key, "float32") == kept_as


def test_tuned_decoder_reads_the_embeddings_that_are_there(plane):
    given = segmenter(VIT)
    tuned = network(VIT)
    tuned.mask_decoder.iou_prediction_head.layers[-1].bias.data += 1
    tuned = SamSegmenter(tuned, device="cpu", precision="float32")
    embedding = given.embed(plane)
    ours, theirs = tuned.decode(embedding, CLICK), given.decode(embedding, CLICK)
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    np.testing.assert_allclose(ours.scores, theirs.scores + 1, rtol=1e-5)


# What does not belong together ------------------------------------------------------------------


def test_embedding_of_another_model_is_refused(made, plane):
    embedding = made[VIT.name].embed(plane)
    for call in (
        lambda one: one.decode(embedding, CLICK),
        lambda one: one.decode_many(embedding, [CLICK]),
        lambda one: one.propose(embedding),
    ):
        with pytest.raises(ValueError, match="embed the plane again"):
            call(made[HYBRID.name])


def test_logits_of_another_plane_are_refused(made, plane):
    one = made[HYBRID.name]
    other = one.decode(one.embed(plane[:, :48]), CLICK)
    embedding = one.embed(plane)
    carried = CLICK.with_logits(other.logits[0], other.frame)
    with pytest.raises(ValueError, match="same plane"):
        one.decode(embedding, carried)
    with pytest.raises(ValueError, match="same plane"):
        one.decode(embedding, CLICK.with_logits(np.zeros((3, 3), np.float32)))


def test_logits_and_masks_of_this_plane_are_taken(made, plane):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    first = one.decode(embedding, CLICK)
    plain = one.decode(embedding, CLICK, multimask=False)
    carried = one.decode(embedding, CLICK.with_logits(first.logits[0], first.frame))
    given = one.decode(embedding, Prompts([(10, 20)], [1], mask=first.mask(0)))
    assert len(carried.scores) == len(given.scores) == 1
    assert not np.array_equal(carried.logits, plain.logits)
    assert not np.array_equal(given.logits, plain.logits)


def test_pixels_must_fit_their_frame(made, plane):
    with pytest.raises(ValueError, match=r"frame's shape \(40, 51\), got \(40, 50\)"):
        made[HYBRID.name].embed_pixels(plane, fit_frame((40, 51), Traits.of(HYBRID).geometry))


# Replaying --------------------------------------------------------------------------------------


def test_replay_carries_the_chosen_logits_from_click_to_click(made, plane):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    clicks = Prompts([(10, 20), (30, 5), (12, 22)], [1, 0, 1])
    steps = replay(one, embedding, clicks)
    assert len(steps) == 3
    expected = one.decode(embedding, clicks.first(1))
    for count, step in enumerate(steps, 1):
        assert_same(step, expected)
        following = clicks.first(count + 1)
        best = expected.best_index
        expected = one.decode(
            embedding, following.with_logits(expected.logits[best], expected.frame)
        )


def test_replay_starts_from_a_box_without_clicks(made, plane):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    steps = replay(one, embedding, Prompts([(10, 20)], [1], box=(3, 4, 20, 30)))
    assert len(steps) == 2
    assert_same(steps[0], one.decode(embedding, Prompts(box=(3, 4, 20, 30))))


def test_replay_follows_the_candidate_a_user_chose(made, plane):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    clicks = Prompts([(10, 20), (30, 5)], [1, 0])
    first = one.decode(embedding, clicks.first(1))
    other = (first.best_index + 1) % 3
    steps = replay(one, embedding, clicks, candidate=other)
    expected = clicks.with_logits(first.logits[other], first.frame)
    assert_same(steps[1], one.decode(embedding, expected))


def test_candidates_are_named_by_their_areas_too():
    logits = np.full((4, 5, 6), -1.0, np.float32)
    logits[0, :2] = logits[1, 0, :3] = logits[3, :4] = 1.0  # 12, 3, 0 and 24 pixels
    frame = Frame((5, 6), (0, 0), (5, 6), (5, 6), (5, 6), "own")
    prediction = MaskPrediction(logits, np.array([0.5, 0.9, 0.8, 0.7], np.float32), frame)
    assert prediction.by_area == (3, 0, 1)
    named = [prediction.index_of(name) for name in ("whole", "part", "sub-part", None, 2, 7)]
    assert named == [3, 0, 1, 1, 2, 3]
    empty = MaskPrediction(logits[2:3], np.array([0.8], np.float32), frame)
    assert [empty.index_of(name) for name in ("whole", "sub-part")] == [0, 0]


def test_replay_builds_on_the_mask_whose_area_a_user_chose(made, plane):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    clicks = Prompts([(10, 20), (30, 5)], [1, 0])
    first = one.decode(embedding, clicks.first(1))
    at = first.by_area[0]
    for steps in (
        replay(one, embedding, clicks, "whole"),
        list(replay_many(one, embedding, [clicks], candidates=["whole"])),
    ):
        expected = clicks.with_logits(first.logits[at], first.frame)
        assert_same(steps[-1], one.decode(embedding, expected))


def test_replay_repeats_only_what_changed(made, plane):
    one = made[HYBRID.name]
    embedding = one.embed(plane)
    clicks = Prompts([(10, 20), (30, 5), (12, 22)], [1, 0, 1])
    steps = replay(one, embedding, clicks)
    again = replay(one, embedding, clicks, earlier=steps[:2])
    assert again[0] is steps[0]
    assert again[1] is steps[1]
    assert_same(again[2], steps[2])
    assert replay(one, embedding, clicks.first(1), earlier=steps) == steps[:1]


def test_replay_reports_each_click_and_may_be_cancelled(made, plane):
    one = made[VIT.name]
    clicks = Prompts([(10, 20), (25, 12), (5, 40)], [1, 0, 1])
    reported = []
    replay(one, one.embed(plane), clicks, progress=reported.append)
    assert reported == pytest.approx([1 / 3, 2 / 3, 1])

    def stop(fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        replay(one, one.embed(plane), clicks, progress=stop)


@CONFIGS
def test_objects_replayed_together_equal_objects_replayed_alone(made, plane, config):
    one = made[config.name]
    embedding = one.embed(plane)
    several = [*VARIED, Prompts([(10, 20), (25, 12), (5, 40)], [1, 0, 1], box=(3, 4, 39, 45))] * 5
    together = list(replay_many(one, embedding, several))
    assert len(together) == 40
    for prompts, prediction in zip(several[:8], together[32:], strict=True):
        assert_same(prediction, replay(one, embedding, prompts)[-1], 2e-4)  # steps add up


def test_objects_replayed_together_follow_the_candidates_a_user_chose(made, plane):
    one = made[VIT.name]
    embedding = one.embed(plane)
    clicks = Prompts([(10, 20), (25, 12)], [1, 0])
    chosen = [0, None, 2] * 11
    together = list(replay_many(one, embedding, [clicks] * 33, candidates=chosen))
    for candidate, prediction in list(zip(chosen, together, strict=True))[-3:]:
        assert_same(prediction, replay(one, embedding, clicks, candidate)[-1], 2e-4)


class Counting:
    """Notes what a segmenter is asked to decode."""

    def __init__(self, segmenter):
        self.segmenter, self.asked = segmenter, []

    def __getattr__(self, name):
        return getattr(self.segmenter, name)

    def decode(self, embedding, prompts, multimask="auto", progress=None):
        return self.decode_many(embedding, [prompts])[0]

    def decode_many(self, embedding, prompts):
        self.asked += prompts
        return self.segmenter.decode_many(embedding, prompts)


def test_objects_replayed_together_report_progress_and_stop_when_cancelled():
    counting = Counting(ComponentSegmenter())
    embedding = counting.embed(np.eye(40))
    reported = []

    def stop(fraction):
        reported.append(fraction)
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(replay_many(counting, embedding, [CLICK] * 300, stop))
    assert reported == sorted(reported)
    assert 0.3 < reported[-1] < 0.45
    assert len(counting.asked) < 0.45 * 300


@pytest.mark.parametrize("box", [None, (3, 4, 20, 30)])
def test_cost_of_many_clicks_on_an_object_grows_in_proportion(box):
    counting = Counting(ComponentSegmenter())
    embedding = counting.embed(np.eye(40))
    clicks = Prompts([(n % 40, n // 40) for n in range(1000)], [1] * 1000, box)
    replay(counting, embedding, clicks)
    asked = counting.asked
    assert len(asked) == 1000 + (box is not None)
    assert max(len(one.points) for one in asked) == 64
    assert all(one.box == box for one in asked)
    last = asked[-1].points
    assert np.array_equal(last[0], clicks.points[0])
    assert np.array_equal(last[1:], clicks.points[-63:])
    counting.asked = []
    list(replay_many(counting, embedding, [clicks]))
    assert [len(one.points) for one in counting.asked] == [len(one.points) for one in asked]


def test_nothing_to_replay_is_refused(made, plane):
    with pytest.raises(ValueError, match="add one first"):
        replay(made[VIT.name], made[VIT.name].embed(plane), Prompts())


# Devices and loading ----------------------------------------------------------------------------


def test_full_gpu_memory_falls_back_to_the_cpu_and_goes_on(plane, monkeypatch):
    """There is no GPU here: the segmenter is told that it has one, and that it is full."""
    one, expected = segmenter(HYBRID), segmenter(HYBRID).embed(plane)
    encode, one._device, failures, closed = one._encode, torch.device("cuda:0"), [], []
    one._replays = SimpleNamespace(close=lambda: closed.append(one.device))

    def full_once(*arguments):
        if not failures:
            failures.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(*arguments)

    monkeypatch.setattr(one, "_encode", full_once)
    one._cell_boxes[expected] = (torch.zeros(1), torch.zeros(1))  # on the GPU, as it were
    assert one.device == "cuda:0"
    with pytest.warns(DeviceWarning, match="going on with the CPU") as caught:
        embedding = one.embed(plane)
    assert len(caught) == 1
    assert (one.device, one.precision) == ("cpu", "float32")
    assert closed == ["cuda:0"]  # before anything moves
    assert one._replays is None
    assert expected not in one._cell_boxes
    for level, other in zip(embedding.features, expected.features, strict=True):
        torch.testing.assert_close(level, other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.decode(embedding, CLICK)


def test_full_memory_of_the_cpu_is_an_error(plane, monkeypatch):
    one = segmenter(HYBRID)

    def full(*_):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(one, "_encode", full)
    with pytest.raises(torch.OutOfMemoryError):
        one.embed(plane)


@pytest.mark.parametrize(
    ("config", "kind"), [(VIT, "safetensors"), (VIT, "pth"), (HYBRID, "safetensors")]
)
def test_checkpoint_becomes_the_same_segmenter(made, plane, tmp_path, config, kind):
    path = tmp_path / f"model.{kind}"
    if kind == "safetensors":
        save(network(config), path, half=False)
    else:
        torch.save(network(config).state_dict(), path)
    loaded = load_segmenter(path, "cpu", "float32", cache=False)
    assert isinstance(loaded, TiledSegmenter)
    expected = made[config.name]
    if kind == "safetensors":
        assert loaded.model_key == expected.model_key
    embedding = loaded.embed(plane)
    for level, other in zip(embedding.features, expected.embed(plane).features, strict=True):
        torch.testing.assert_close(level, other)
