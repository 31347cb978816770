"""A decoder for instances that was really trained, in all that finds everything."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from trained_decoder import CONFIG, FILE, draw, targets
from typer.testing import CliRunner

from napari_sam import cli, load_segmenter, segment_all
from napari_sam.automask import AutomaskSettings, generate_masks
from napari_sam.automask.instances import objects_of_maps
from napari_sam.batch import segment_all_files
from napari_sam.io import read_image, write_labels
from napari_sam.model.checkpoint import save
from napari_sam.model.weights import load
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.training.average_precision import count_matches

LIMITS = (0, 255)


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter(FILE, "cpu", "float32", cache=False)


@pytest.fixture(scope="module")
def drawn():
    """Nuclei that it wasn't trained on, on a plane of nine tiles."""
    return draw(110, np.random.default_rng(1234), count=16)


def recall(labels, truth):
    return count_matches(labels, truth).true[0] / truth.max()


def test_drawn_distances_come_back_as_the_objects_they_are_of(drawn):
    _, truth = drawn
    found = objects_of_maps(targets(truth), AutomaskSettings())
    assert abs(len(found) - truth.max()) <= 1


def test_nearly_all_nuclei_are_found_also_across_tiles(segmenter, drawn):
    plane, truth = drawn
    assert max(plane.shape) > 1.5 * CONFIG.image_size
    labels = segment_all(segmenter, plane, LIMITS)
    assert recall(labels, truth) > 0.9
    assert labels.max() < 1.1 * truth.max()


def test_scores_rise_with_how_bright_a_nucleus_is(segmenter, drawn):
    plane, _ = drawn
    found = generate_masks(segmenter, plane, LIMITS)
    assert all(0.5 < one.score <= 1 and 0 <= one.stability <= 1 for one in found)
    few = generate_masks(segmenter, plane, LIMITS, min_mask_region_area=150)
    assert {one.box for one in few} == {one.box for one in found if one.area >= 150}


def test_session_finds_refines_and_takes_back(segmenter, drawn):
    plane, truth = drawn
    canvas = ArrayCanvas(np.zeros(plane.shape, np.int32))
    session = Session(segmenter, ArraySource(plane, contrast_limits=LIMITS), canvas=canvas)
    told = []
    session.noticed.connect(lambda notice: told.append(str(notice)))
    session.find_all()
    session.wait()
    labels = canvas.array.copy()
    assert recall(labels, truth) > 0.9
    assert "by the model's decoder for instances" in session.next_undo
    assert any("found by the model's decoder for instances" in one for one in told), told
    row = session.objects[0]
    assert row.origin == "found"
    assert 0.5 < row.score <= 1
    # a click goes on from its mask, as with objects of any other origin
    place = tuple(map(int, np.argwhere(labels == row.id).mean(0)))
    session.adopt((), row.id)
    session.add_point((), place)
    session.wait()
    assert canvas.array[place] == row.id
    session.undo()
    session.undo()
    np.testing.assert_array_equal(canvas.array, labels)
    session.undo()
    assert not canvas.array.any()


def test_stack_is_joined_through_its_planes(segmenter, drawn):
    part = drawn[0][:64, :64]
    canvas = ArrayCanvas(np.zeros((3, 64, 64), np.int32))
    source = ArraySource(np.stack([part] * 3), contrast_limits=LIMITS)
    session = Session(segmenter, source, canvas=canvas)
    session.find_all(range(3))
    session.wait()
    assert canvas.array[0].any()
    np.testing.assert_array_equal(canvas.array[0], canvas.array[2])


@pytest.fixture
def image(tmp_path, drawn):
    write_labels(tmp_path / "nuclei.tif", drawn[0])
    return tmp_path / "nuclei.tif"


def test_command_says_by_what_it_found_everything(image, drawn, tmp_path):
    def auto(*more):
        where = ["-o", tmp_path / "out.tif", "--model", FILE, "--device", "cpu"]
        contrast = ["--contrast", "0", "255"]
        given = ["auto", image, *where, *contrast, *more]
        return CliRunner().invoke(cli.app, [str(one) for one in given])

    result = auto()
    assert result.exit_code == 0, result.output
    assert "by the model's decoder for instances" in " ".join(result.output.split())
    labels = tifffile.imread(tmp_path / "out.tif")
    assert recall(labels, drawn[1]) > 0.9
    auto("--min-area", 150)
    areas = np.bincount(tifffile.imread(tmp_path / "out.tif").ravel())[1:]
    assert 0 < areas[areas > 0].min() >= 150
    result = auto("--points-per-side", 2)
    assert "by a grid of points" in " ".join(result.output.split())


def test_menu_command_finds_everything_without_a_viewer(image, drawn, tmp_path):
    import npe2

    manager = npe2.PluginManager.instance()
    manager.discover()
    given = {"images": image, "output": tmp_path / "labels", "model": str(FILE), "device": "cpu"}
    summary = manager.commands.execute("napari-sam-live.segment_all_files", kwargs=given)
    assert not summary.failed
    labels = read_image(tmp_path / "labels" / "nuclei_labels.tif").data[...]
    assert recall(np.asarray(labels), drawn[1]) > 0.8


def test_labels_are_made_again_when_the_decoder_changes(image, tmp_path):
    def batch(sam):
        segmenter = SamSegmenter(sam, "cpu", "float32")
        return segment_all_files(segmenter, [image], tmp_path / "labels")

    assert batch(load(FILE)).done
    assert batch(load(FILE)).skipped
    other = load(FILE)
    other.instance_decoder.out_conv.bias.data[0] += 0.5
    assert batch(other).done


def test_without_its_decoder_the_same_model_goes_by_a_grid(tmp_path, drawn, caplog):
    import logging
    from dataclasses import replace

    sam = load(FILE)
    sam.config = replace(sam.config, instance_channels=())
    sam.instance_decoder = None
    save(sam, tmp_path / "clicks.safetensors")
    plain = load_segmenter(tmp_path / "clicks.safetensors", "cpu", cache=False)
    assert plain.traits.way() == "grid"
    with caplog.at_level(logging.INFO):
        generate_masks(plain, drawn[0][:40, :40], LIMITS, points_per_side=2)
    assert "by a grid of points" in caplog.text
