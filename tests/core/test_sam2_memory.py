"""SAM 2.1's memory behind the protocol: the library's own numbers, whatever carries them."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from serving import TOKEN, serving
from small_sam2 import SIDE, input_of, remembering, small_network, small_video
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from napari_sam import CachedSegmenter, TiledSegmenter, load_segmenter, propagate
from napari_sam.model.weights import CheckpointError
from napari_sam.patches import Patch, cut
from napari_sam.propagate import Judge
from napari_sam.segmentation.memory import Past, memory_of
from napari_sam.segmentation.own_process import ProcessSegmenter
from napari_sam.segmentation.protocol import Cancelled
from napari_sam.segmentation.remote import RemoteSegmenter
from napari_sam.serving.limits import ServerLimits

SHAPE = (50, 90)
COUNT = 9


@pytest.fixture(scope="module")
def network():
    return small_video()


@pytest.fixture(scope="module")
def segmenter(network):
    return remembering(network, precision="float32")


@pytest.fixture(scope="module")
def stack():
    return np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def embeddings(segmenter, stack):
    return [segmenter.embed(plane) for plane in stack]


def disk(row: float, column: float, radius: float = 12) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def session_of(network, stack, given):
    """The library's session of a stack, with masks of objects on planes, looked at once each."""
    frames = torch.cat([input_of(plane) for plane in stack])
    session = Sam2VideoInferenceSession(frames, *SHAPE, dtype=torch.float32)
    for z, masks in given.items():
        for object_id, mask in masks.items():
            x = torch.from_numpy(mask.astype(np.float32))[None, None]
            x = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
            session.add_mask_inputs(session.obj_id_to_idx(object_id), z, (x >= 0.5).float())
        session.obj_with_new_inputs = list(masks)
        network(session, frame_idx=z)
    return session


def told_by_library(network, stack, given, reverse=False):
    """Logits and presences of all objects on the planes passed, by (plane, object)."""
    session = session_of(network, stack, given)
    start = max(given) if reverse else min(given)
    found = {}
    for out in network.propagate_in_video_iterator(session, start, reverse=reverse):
        for i, object_id in enumerate(out.object_ids):
            found[out.frame_idx, object_id] = (
                out.pred_masks[i, 0].numpy(),
                float(out.object_score_logits[i]),
            )
    return found


def told_by_ours(segmenter, embeddings, given, reverse=False):
    memory = memory_of(segmenter)
    past = {}
    for z, masks in given.items():
        kept = memory.remember(embeddings[z], [cut(mask) for mask in masks.values()])
        for object_id, one in zip(masks, kept, strict=True):
            past.setdefault(object_id, {})[z] = one
    start = max(given) if reverse else min(given)
    order = range(start, -1, -1) if reverse else range(start, len(embeddings))
    sign = -1 if reverse else 1
    found = {}
    for z in order:
        ids = [i for i in past if z not in past[i]]
        pasts = [[Past(m, sign * (z - at)) for at, m in past[i].items()] for i in ids]
        for i, one in zip(ids, memory.recall(embeddings[z], pasts, len(embeddings)), strict=True):
            found[z, i] = one
            past[i][z] = one.memory
    return found


GIVEN = {
    "one": {0: {1: disk(20, 30)}},
    "two objects": {2: {1: disk(20, 30), 2: disk(30, 60, 9)}},
    "several planes": {1: {1: disk(20, 30)}, 4: {1: disk(24, 40)}, 7: {1: disk(20, 60)}},
}


@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("kind", GIVEN)
def test_masks_are_the_librarys(network, segmenter, stack, embeddings, kind, reverse):
    given = GIVEN[kind]
    if reverse:
        given = {COUNT - 1 - z: masks for z, masks in given.items()}
    expected = told_by_library(network, stack, given, reverse)
    found = told_by_ours(segmenter, embeddings, given, reverse)
    assert len(found) >= 5
    for key, one in found.items():
        logits, presence = expected[key]
        np.testing.assert_allclose(
            one.prediction.logits[0], logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max()
        )
        assert one.presence == pytest.approx(1 / (1 + np.exp(-presence)), rel=1e-4)


@pytest.mark.parametrize("bias", [50, -50])
def test_object_that_is_not_there_is_remembered_as_the_library_does(stack, bias):
    network = small_video()
    with torch.no_grad():
        network.mask_decoder.pred_obj_score_head.proj_out.bias.add_(bias)
    segmenter = remembering(network, precision="float32")
    embeddings = [segmenter.embed(plane) for plane in stack[:5]]
    expected = told_by_library(network, stack[:5], GIVEN["one"])
    found = told_by_ours(segmenter, embeddings, GIVEN["one"])
    for key, one in found.items():
        assert (one.presence > 0.5) == (bias > 0)
        assert one.prediction.patch(0).is_empty == (bias < 0)
        logits = expected[key][0]
        np.testing.assert_allclose(
            one.prediction.logits[0], logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max()
        )


def both(segmenter, embeddings):
    """What is remembered of two objects, and what is recalled of them twice."""
    memory = memory_of(segmenter)
    given = memory.remember(embeddings[0], [cut(disk(20, 30)), cut(disk(30, 60, 9))])
    first = memory.recall(embeddings[1], [[Past(one, 1)] for one in given], 9)
    pasts = [[Past(a, 2), Past(b.memory, 1)] for a, b in zip(given, first, strict=True)]
    return [*first, *memory.recall(embeddings[2], pasts, 9)]


def check_same(one, other):
    assert len(one) == len(other) == 4
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.prediction.logits, b.prediction.logits)
        assert np.array_equal(a.prediction.scores, b.prediction.scores)
        assert a.presence == b.presence
        assert torch.equal(a.memory.features, b.memory.features)
        assert torch.equal(a.memory.pointer, b.memory.pointer)


def check_close(one, other):
    logits = other.prediction.logits
    np.testing.assert_allclose(
        one.prediction.logits, logits, rtol=1e-5, atol=1e-5 * np.abs(logits).max()
    )
    assert one.presence == pytest.approx(other.presence, rel=1e-5)


@pytest.fixture(scope="module")
def bare(segmenter, embeddings):
    return both(segmenter, embeddings)


def test_tiles_and_cache_change_nothing_of_a_plane_in_one_piece(segmenter, stack, tmp_path):
    def rounded(embedding):
        return replace(embedding, features=tuple(f.half() for f in embedding.features))

    expected = both(segmenter, [rounded(segmenter.embed(plane)) for plane in stack[:3]])
    small = TiledSegmenter(segmenter, tile=100)
    cached = CachedSegmenter(small, tmp_path)
    assert cached.traits.remembers
    check_same(both(cached, [cached.embed(plane) for plane in stack[:3]]), expected)


def test_nothing_is_remembered_of_tiles(segmenter, stack):
    tiled = TiledSegmenter(segmenter)
    embedding = tiled.embed(stack[0])
    with pytest.raises(ValueError, match="in one piece, got one in tiles"):
        memory_of(tiled).remember(embedding, [cut(disk(20, 30))])
    steps = list(propagate(tiled, stack[:3], {0: disk(20, 30)}))
    plain = list(propagate(tiled, stack[:3], {0: disk(20, 30)}, memory=False))
    assert [s.index for s in steps] == [s.index for s in plain]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(steps, plain, strict=True))


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    network.save_pretrained(folder)
    return folder


def test_files_of_the_video_model_hold_the_memory(folder, segmenter, stack, bare):
    found = load_segmenter(folder, "cpu", "float32", tiles=False, cache=False)
    assert (found.model_key, found.traits.memory_planes) == (segmenter.model_key, 3)
    assert found.traits.memory_pointers == 4
    check_same(both(found, [found.embed(plane) for plane in stack[:3]]), bare)


def test_process_of_its_own_remembers_the_same_even_when_started_anew(folder, stack, bare):
    with closing(ProcessSegmenter(folder, "cpu", "float32")) as there:
        embeddings = [there.embed(plane) for plane in stack[:3]]
        for one, other in zip(both(there, embeddings), bare, strict=True):
            check_close(one, other)  # it computes on fewer threads while somebody waits
        memory = there.memory
        given = memory.remember(embeddings[0], [cut(disk(20, 30)), cut(disk(30, 60, 9))])
        there.close()  # as if memory had run out
        again = memory.recall(embeddings[1], [[Past(one, 1)] for one in given], 9)
        for one, other in zip(again, bare[:2], strict=True):
            check_close(one, other)


def test_other_machine_remembers_the_same_even_what_it_forgot(segmenter, stack, bare):
    limits = ServerLimits(memory_bytes=1)  # keeps the latest alone
    for limit in (ServerLimits(), limits):
        with serving({"small": segmenter}, limit) as machine:
            there = RemoteSegmenter("small", machine.address, TOKEN, rounded=False)
            with closing(there):
                check_same(both(there, [there.embed(plane) for plane in stack[:3]]), bare)


def test_what_makes_no_sense_is_refused(segmenter, embeddings, stack):
    memory = memory_of(segmenter)
    (given,) = memory.remember(embeddings[0], [cut(disk(20, 30))])
    with pytest.raises(ValueError, match="at least one pixel to remember"):
        memory.remember(embeddings[0], [Patch()])
    with pytest.raises(ValueError, match="where it was given, got none"):
        memory.recall(embeddings[1], [[]], COUNT)
    with pytest.raises(ValueError, match="got one of another"):
        memory.recall(embeddings[1], [[Past(replace(given, model_key="x" * 8), 1)]], COUNT)
    small = segmenter.embed(stack[0, :40])
    with pytest.raises(ValueError, match="planes of one stack"):
        memory.recall(small, [[Past(given, 1)]], COUNT)


def test_recalling_reports_between_objects_and_may_be_cancelled(segmenter, embeddings):
    memory = memory_of(segmenter)
    given = memory.remember(embeddings[0], [cut(disk(20, 30)), cut(disk(30, 60, 9))])
    pasts, reported = [[Past(one, 1)] for one in given], []
    memory.recall(embeddings[1], pasts, COUNT, reported.append)
    assert reported == [0.5, 1.0]

    def cancel(fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        memory.recall(embeddings[1], pasts, COUNT, cancel)


def test_image_model_has_no_memory(tmp_path):
    small_network().save_pretrained(tmp_path)
    found = load_segmenter(tmp_path, "cpu", tiles=False, cache=False)
    assert memory_of(found) is None
    assert not found.traits.remembers


def test_part_of_a_memory_is_refused(network, tmp_path):
    state = dict(network.state_dict())
    del state["no_object_pointer"]
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(CheckpointError, match=r"1 are missing \(no_object_pointer\)"):
        load_segmenter(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("memory_attention_rope_feat_sizes", [8, 8], "doesn't fit its encoder"),
        ("image_size", 32, "doesn't fit its encoder"),
        ("num_maskmem", 2, "no network fits its files"),
        ("memory_attention_num_layers", 10**9, "far larger network"),
    ],
)
def test_memory_that_does_not_fit_is_refused(folder, tmp_path, name, value, message):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(CheckpointError, match=message):
        load_segmenter(tmp_path, "cpu")


def test_propagation_uses_the_memory_and_repeats_to_the_last_bit(segmenter, stack):
    given = {0: disk(20, 30), 6: disk(24, 40)}
    runs = [list(propagate(segmenter, stack, given)) for _ in range(2)]
    assert {s.index for s in runs[0]} >= {0, 6}
    for one, other in zip(*runs, strict=True):
        assert one.index == other.index
        assert np.array_equal(one.mask, other.mask)
        assert (one.score, one.quality) == (other.score, other.quality)
    recalled = told_by_ours(segmenter, [segmenter.embed(p) for p in stack], {0: {1: disk(20, 30)}})
    always = replace(Judge(), negligible=1.0)  # believes in no end
    steps = list(propagate(segmenter, stack, {0: disk(20, 30)}, judge=always))
    masks = {s.index: s.mask for s in steps[1:]}
    assert masks
    for z, mask in masks.items():
        assert np.array_equal(mask, recalled[z, 1].prediction.best())
