"""Objects by a decoder for instances: its maps through every wrapper, and what they come to."""

from __future__ import annotations

import logging
from contextlib import closing

import numpy as np
import pytest
from instance_reference import decode
from scipy import ndimage
from serving import TOKEN, serving
from small_models import VIT, WITH_DECODER, network, segmenter

from napari_sam import generate_masks, segment_all
from napari_sam.automask import AutomaskSettings
from napari_sam.automask.instances import objects_of_maps
from napari_sam.geometry import tile_grid
from napari_sam.model.checkpoint import save
from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.instance_maps import instance_maps, join_maps
from napari_sam.segmentation.own_process import ProcessSegmenter
from napari_sam.segmentation.protocol import Cancelled
from napari_sam.segmentation.remote import RemoteSegmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.segmentation.traits import Traits
from napari_sam.serving.limits import ServerLimits


@pytest.fixture(scope="module")
def bare():
    return segmenter(WITH_DECODER)


@pytest.fixture(scope="module")
def plane():
    noise = np.random.default_rng(0).normal(size=(50, 40))
    smooth = ndimage.gaussian_filter(noise, 2)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.fixture(scope="module")
def maps(bare, plane):
    return instance_maps(bare, bare.embed(plane))


# Wrappers ------------------------------------------------------------------------------------


def test_maps_are_the_references_at_the_planes_resolution(bare, plane, maps):
    import torch
    from torch.nn import functional as F

    embedding = bare.embed(plane)
    state = {k: v.clone() for k, v in bare.network.instance_decoder.state_dict().items()}
    with torch.inference_mode():
        said = decode(state, embedding.features[0])
        said = said[..., :64, :51]  # of the square input, what the plane fills
        said = F.interpolate(said, (50, 40), mode="bilinear", align_corners=False)[0].numpy()
    assert maps.shape == (3, 50, 40)
    assert maps.dtype == np.float32
    assert np.abs(maps - said).max() < 1e-4 * said.max()
    assert maps.std() > 0.01


def test_progress_is_reported_and_can_cancel(bare, plane):
    reported = []
    instance_maps(bare, bare.embed(plane), reported.append)
    assert reported == [1.0]
    with pytest.raises(Cancelled):
        instance_maps(bare, bare.embed(plane), cancel)


def cancel(_):
    raise Cancelled("no more")


def test_wrappers_map_as_the_bare_network_does(bare, plane, maps, tmp_path):
    cached = CachedSegmenter(TiledSegmenter(bare), tmp_path)
    tiled = TiledSegmenter(bare)
    assert np.array_equal(instance_maps(tiled, tiled.embed(plane)), maps)
    # whose features are in half precision
    assert np.abs(instance_maps(cached, cached.embed(plane)) - maps).max() < 0.01
    again = CachedSegmenter(TiledSegmenter(bare), tmp_path)
    first, second = (instance_maps(one, one.embed(plane)) for one in (cached, again))
    assert np.array_equal(first, second)


def test_process_of_its_own_maps_the_same(tmp_path, bare, plane, maps):
    save(network(WITH_DECODER), tmp_path / "mine.safetensors", half=False)
    with closing(ProcessSegmenter(tmp_path / "mine.safetensors", "cpu", "float32")) as there:
        assert there.traits.maps_instances
        reported = []
        embedding = there.embed(plane)
        assert np.array_equal(instance_maps(there, embedding, reported.append), maps)
        assert reported[-1] == 1.0
        # a process that doesn't have the embedding is sent it
        there.close()
        assert np.array_equal(instance_maps(there, embedding), maps)


def test_other_machine_maps_the_same(bare, plane, maps):
    with (
        serving({"tiny": bare}) as machine,
        closing(RemoteSegmenter("tiny", machine.address, TOKEN, rounded=False)) as there,
    ):
        assert there.traits == bare.traits
        assert np.array_equal(instance_maps(there, there.embed(plane)), maps)
        tiled, large = TiledSegmenter(there), np.tile(plane, (1, 4))
        here = TiledSegmenter(bare)
        found = instance_maps(tiled, tiled.embed(large, (0, 255)))
        assert np.array_equal(found, instance_maps(here, here.embed(large, (0, 255))))


def test_answer_that_is_too_long_is_refused_by_the_other_machine(bare, plane):
    with (
        serving({"tiny": bare}, ServerLimits(message_bytes=20_000)) as machine,
        closing(RemoteSegmenter("tiny", machine.address, TOKEN)) as there,
    ):
        embedding = there.embed(plane)
        with pytest.raises(ValueError, match="look at the plane in tiles"):
            instance_maps(there, embedding)


def test_model_without_a_decoder_is_refused_by_every_wrapper(plane, tmp_path):
    plain = segmenter(VIT)
    wrapped = CachedSegmenter(TiledSegmenter(plain), tmp_path)
    for one in (plain, TiledSegmenter(plain), wrapped):
        assert not one.traits.maps_instances
        with pytest.raises(ValueError, match="expected a model with a decoder for instances"):
            instance_maps(one, one.embed(plane))


def test_embedding_of_another_encoder_is_refused(bare, plane):
    with pytest.raises(ValueError, match="of another"):
        instance_maps(bare, segmenter(VIT, seed=4).embed(plane))


def test_traits_have_the_decoder(bare):
    assert Traits.from_json(bare.traits.to_json()) == bare.traits
    assert bare.traits.instance_key
    assert bare.traits.way() == "decoder"
    assert bare.traits.way(proposals=False) == "grid"
    assert segmenter(VIT).traits.way() == "grid"


# Tiles ---------------------------------------------------------------------------------------


def test_tiles_of_one_picture_join_to_it():
    truth = np.random.default_rng(1).random((3, 150, 170), np.float32)
    tiles = tile_grid((150, 170), 64, 16)

    def maps_of(number):
        r0, c0, r1, c1 = tiles[number].outer
        return truth[:, r0:r1, c0:c1]

    assert len(tiles) > 9
    assert np.allclose(join_maps(tiles, (150, 170), maps_of), truth, atol=1e-6)


def test_tiles_that_differ_join_without_a_step():
    tiles = tile_grid((64, 200), 64, 16)

    def maps_of(number):
        return np.full((3, 64, 64), float(number), np.float32)

    joined = join_maps(tiles, (64, 200), maps_of)
    assert joined[0, 0, 0] == 0
    assert joined[0, 0, -1] == len(tiles) - 1
    assert np.abs(np.diff(joined[0], axis=1)).max() < 0.07


def test_large_plane_is_mapped_in_tiles(bare):
    plane = np.random.default_rng(2).integers(0, 255, (64, 150), np.uint8)
    tiled = TiledSegmenter(bare)
    embedding, reported = tiled.embed(plane, (0, 255)), []
    maps = instance_maps(tiled, embedding, reported.append)
    assert maps.shape == (3, 64, 150)
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    # the first tile alone says what lies beyond all others
    alone = bare.embed(plane[:, :64], (0, 255))
    second = embedding.pyramid.levels[0][1].outer[1]
    first = instance_maps(bare, alone)[:, :, :second]
    assert np.allclose(maps[:, :, :second], first, atol=1e-6)


# The watershed -------------------------------------------------------------------------------


def maps_of_discs(shape, discs):
    """What a perfect decoder says of discs (row, column, radius), the first on top."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    away = np.full(shape, np.inf)
    for number, (row, column, radius) in enumerate(discs, 1):
        share = np.hypot(rows - row, columns - column) / radius
        here = (share < 1) & (share < away)
        labels[here], away[here] = number, share[here]
    maps = np.ones((3, *shape), np.float32)
    maps[0] = labels > 0
    for number in range(1, len(discs) + 1):
        mask = labels == number
        deep = ndimage.distance_transform_edt(mask)
        maps[1][mask] = away[mask]
        maps[2][mask] = 1 - deep[mask] / deep.max()
    return maps, labels


DISCS = [(20, 20, 12), (20, 42, 12), (50, 30, 14), (70, 80, 9), (30, 85, 16)]


def painted(found, shape):
    labels = np.zeros(shape, np.int32)
    for number, one in enumerate(found, 1):
        assert not labels[one.region][one.crop()].any()
        labels[one.region][one.crop()] = number
    return labels


def ious(labels, truth):
    best = []
    for number in range(1, truth.max() + 1):
        mask = truth == number
        inside = np.unique(labels[mask])
        best.append(
            max(
                np.count_nonzero(mask & (labels == i)) / np.count_nonzero(mask | (labels == i))
                for i in inside
                if i
            )
        )
    return best


def test_touching_objects_are_parted():
    maps, truth = maps_of_discs((90, 110), DISCS)
    assert ndimage.label(maps[0])[1] < len(DISCS)  # by the foreground alone they are one
    found = objects_of_maps(maps, AutomaskSettings())
    assert len(found) == len(DISCS)
    assert min(ious(painted(found, (90, 110)), truth)) > 0.9
    for one in found:
        row, column = map(int, one.point)
        assert one.crop()[row - one.box[0], column - one.box[1]]
        assert 0.9 < one.score <= 1
        assert 0.7 < one.stability <= 1


def test_score_is_the_mean_probability_and_the_highest_comes_first():
    maps, _ = maps_of_discs((90, 110), DISCS)
    maps[0, :70, :60] *= 0.8
    found = objects_of_maps(maps, AutomaskSettings(foreground_smoothing=0))
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert [round(score, 4) for score in scores] == [1, 1, 0.8, 0.8, 0.8]
    # a logit above the threshold is a probability of 0.73: all pixels are left
    assert all(one.stability == 1 for one in found)
    sure = objects_of_maps(maps, AutomaskSettings(instance_score_thresh=0.9))
    assert len(sure) == 2


def test_small_objects_are_dropped_when_asked_for():
    maps, _ = maps_of_discs((90, 110), DISCS)
    found = objects_of_maps(maps, AutomaskSettings(min_mask_region_area=300))
    assert len(found) == 4
    assert all(one.area >= 300 for one in found)


def test_thresholds_decide_what_is_sure():
    maps, _ = maps_of_discs((90, 110), DISCS)
    merged = objects_of_maps(
        maps,
        AutomaskSettings(center_distance_threshold=1.1, boundary_distance_threshold=1.1),
    )
    assert len(merged) < len(DISCS)
    assert objects_of_maps(maps, AutomaskSettings(center_distance_threshold=-1.0)) == []


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_plane_without_objects_has_none(value):
    maps = np.ones((3, 30, 40), np.float32)
    maps[0] = value
    assert objects_of_maps(maps, AutomaskSettings()) == []


def test_foreground_without_a_seed_is_background():
    maps, truth = maps_of_discs((90, 110), DISCS)
    maps[1][truth == 4] = 1
    found = objects_of_maps(maps, AutomaskSettings(distance_smoothing=0))
    assert not painted(found, (90, 110))[truth == 4].any()
    assert len(found) == 4


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"foreground_threshold": 0.0}, "foreground_threshold"),
        ({"foreground_smoothing": -1.0}, "foreground_smoothing"),
        ({"distance_smoothing": float("nan")}, "distance_smoothing"),
    ],
)
def test_settings_without_sense_are_refused(settings, reported):
    with pytest.raises(ValueError, match=reported):
        AutomaskSettings(**settings)


# The whole way -------------------------------------------------------------------------------


class Knowing:
    """A network that says of each pixel what a perfect decoder would, tile by tile."""

    def __init__(self, inner, maps):
        self._inner, self._maps = inner, maps

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def instance_maps(self, embedding, progress=None):
        if progress is not None:
            progress(1.0)
        return self._maps[:, *embedding.frame.region]


@pytest.mark.parametrize("shape", [(60, 60), (90, 110)])
def test_everything_is_found_by_the_decoder_also_across_tiles(bare, shape, caplog):
    discs = [(r, c, 10) for r in range(12, shape[0] - 8, 19) for c in range(12, shape[1] - 8, 19)]
    maps, truth = maps_of_discs(shape, discs)
    tiled = TiledSegmenter(Knowing(bare, maps))
    reported = []
    with caplog.at_level(logging.INFO):
        found = generate_masks(tiled, np.zeros(shape, np.uint8), (0, 1), reported.append)
    assert len(found) == len(discs)
    assert min(ious(painted(found, shape), truth)) > 0.9
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    assert "by the model's decoder for instances" in caplog.text


def test_grid_is_used_when_asked_for(bare, plane, caplog):
    with caplog.at_level(logging.INFO):
        generate_masks(bare, plane, proposals=False, points_per_side=2)
    assert "by a grid of points" in caplog.text


def test_stack_keeps_an_object_under_one_label(bare):
    maps, truth = maps_of_discs((60, 60), [(20, 20, 12), (20, 42, 12)])
    labels = segment_all(Knowing(bare, maps), np.zeros((3, 60, 60), np.uint8), (0, 1))
    assert labels.max() == 2
    assert np.array_equal(labels[0], labels[2])
    assert min(ious(labels[1], truth)) > 0.9


def test_cancel_is_heard(bare, plane):
    def stop(fraction):
        if fraction > 0.5:
            raise Cancelled("no more")

    with pytest.raises(Cancelled):
        generate_masks(bare, plane, progress=stop)
