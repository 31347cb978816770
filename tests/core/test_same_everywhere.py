"""The viewer, the commands for files, the command line and Python put a model together alike."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from small_models import HYBRID, VIT, network
from typer.testing import CliRunner

from napari_sam import CachedSegmenter, TiledSegmenter, cli, load_segmenter
from napari_sam.batch import label_objects
from napari_sam.gui.commands import segment_files
from napari_sam.gui.models import load_for_viewer
from napari_sam.io import read_image, write_prompts
from napari_sam.model.checkpoint import save
from napari_sam.prompts import Prompts
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.tiled import TiledEmbedding
from napari_sam.session import ArrayCanvas, ArraySource, Session

CONFIGS = pytest.mark.parametrize("config", [VIT, HYBRID], ids=["sam", "own"])
SHAPE = (100, 150)  # more than twice the input of these models
CLICKED = {
    ((), 2): Prompts([(20, 30), (24, 31)], [1, 0]),
    ((), 3): Prompts([(70, 60)], [1]),
    ((), 7): Prompts([(50, 140), (52, 120), (60, 130)], [1, 1, 0]),
}


@pytest.fixture
def model(tmp_path, config):
    path = tmp_path / "model.safetensors"
    save(network(config), path, half=False)
    return str(path)


@pytest.fixture
def image(tmp_path, rng):
    path = tmp_path / "cells.tif"
    pixels = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb")
    write_prompts(path.with_suffix(".csv"), CLICKED)
    return path


@pytest.fixture
def runs(monkeypatch):
    """The shape of what was encoded, for each run of an encoder."""
    seen = []
    encode = SamSegmenter.embed_pixels

    def counted(self, pixels, frame=None, progress=None):
        seen.append(pixels.shape)
        return encode(self, pixels, frame, progress)

    monkeypatch.setattr(SamSegmenter, "embed_pixels", counted)
    return seen


def run(*arguments):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output


def loaded_by_viewer(model):
    return load_for_viewer(2**30)(model, "cpu", lambda fraction: None)


def labels_of_viewer(model, pixels):
    """Label an image as the viewer does when its objects are prompted one after the other."""
    labels = np.zeros(SHAPE, np.uint8)
    source, canvas = ArraySource(pixels, rgb=True), ArrayCanvas(labels)
    session = Session(loaded_by_viewer(model), source, canvas=canvas)
    for (plane, number), prompts in CLICKED.items():
        session.add_prompts({(number, plane): prompts})
        session.wait()
    return labels


@CONFIGS
def test_same_prompts_give_the_same_labels_in_all_four_ways(image, model, tmp_path, private_home):
    pixels, found = tifffile.imread(image), {}
    found["viewer"] = labels_of_viewer(model, pixels)
    segment_files(image, tmp_path / "command.tif", model=model, device="cpu")
    run("segment", image, "-o", tmp_path / "line.tif", "--model", model, "--device", "cpu")
    uncached = tmp_path / "uncached.tif"
    run("segment", image, "-o", uncached, "--model", model, "--device", "cpu", "--no-cache")
    for name in ("command", "line", "uncached"):
        found[name] = tifffile.imread(tmp_path / f"{name}.tif")
    python = load_segmenter(model, "cpu", cache=tmp_path / "elsewhere")
    found["python"] = label_objects(python, read_image(image), CLICKED)
    assert 100 < np.count_nonzero(found["viewer"]) < 0.9 * np.prod(SHAPE), np.bincount(
        found["viewer"].ravel()
    )
    for way, labels in found.items():
        np.testing.assert_array_equal(labels, found["viewer"], err_msg=way)


@CONFIGS
def test_what_the_command_line_embeds_ahead_the_viewer_never_encodes(image, model, runs):
    run("embed", image, "--model", model, "--device", "cpu")
    assert len(runs) > 1
    assert max(max(shape[:2]) for shape in runs) <= 64
    runs.clear()
    segmenter = loaded_by_viewer(model)
    segmenter.prepare(segmenter.embed(tifffile.imread(image)))
    assert runs == []


@pytest.mark.parametrize("config", [VIT])
def test_network_alone_sees_a_large_plane_whole(model, rng):
    plane = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    alone = load_segmenter(model, "cpu", tiles=False, cache=False)
    assert isinstance(alone, SamSegmenter)
    expected = SamSegmenter(network(VIT), "cpu").embed(plane)
    assert alone.embed(plane).features[0].equal(expected.features[0])
    assert isinstance(load_segmenter(model, "cpu").embed(plane), TiledEmbedding)


@pytest.mark.parametrize("config", [VIT])
def test_cached_model_can_be_given_another_cache(model, tmp_path, private_home, rng):
    plane = rng.random((40, 40))
    CachedSegmenter(load_segmenter(model, "cpu"), tmp_path / "mine").embed(plane)
    assert len(list((tmp_path / "mine").rglob("*.safetensors"))) == 1
    assert not (private_home / "embeddings").exists()


@pytest.mark.parametrize("config", [VIT])
def test_tiles_around_a_cache_are_refused_with_what_to_do(model):
    with pytest.raises(TypeError, match="tiles=False, cache=False"):
        TiledSegmenter(load_segmenter(model, "cpu"))
