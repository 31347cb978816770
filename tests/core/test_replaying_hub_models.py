"""A session that a model of the hub answered is replayed by that, where it is here."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from small_sam2 import small_network
from typer.testing import CliRunner

from napari_sam import cli, load_segmenter
from napari_sam.model import pretrained
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.keeping import ImageFacts, save_session

NAME, COMMIT = "lab/small-sam2", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_model(monkeypatch, tmp_path):
    """A folder as the hub's tools leave it; nothing is ever asked for beyond this machine."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def asked(*_, **__):
        raise AssertionError("a download was begun")

    monkeypatch.setattr(pretrained, "download", asked)
    folder = pretrained._cache() / f"models--{NAME.replace('/', '--')}"
    small_network().save_pretrained(folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return folder


@pytest.fixture
def session(hub_model, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (50, 60), np.uint8)
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image)
    canvas = ArrayCanvas(np.zeros((50, 60), np.int32))
    segmenter = load_segmenter(NAME, device="cpu", precision="float32", cache=False)
    made = Session(segmenter, ArraySource(image), canvas=canvas)
    made.add_point((None, None), (20, 30))
    assert canvas.array.any()
    save_session(made, tmp_path / "one.napari-sam", ImageFacts(path=path))
    return tmp_path / "one.napari-sam"


def replay(session):
    options = ["-o", str(session.with_name("again.tif")), "--device", "cpu"]
    return CliRunner().invoke(cli.app, ["replay", str(session), *options])


def test_a_model_of_the_hub_is_found_by_the_name_that_the_session_keeps(session):
    result = replay(session)
    assert result.exit_code == 0, result.output
    assert "bit for bit the saved labels" in " ".join(result.output.split())


def test_one_that_is_not_here_is_never_downloaded_unasked(session, hub_model):
    (hub_model / "refs" / "main").unlink()
    result = replay(session)
    assert result.exit_code == 2
    assert f"napari-sam models download {NAME}" in " ".join(result.output.split())
    assert not session.with_name("again.tif").exists()


def test_another_model_under_the_name_is_refused(session, hub_model):
    network = small_network()
    with_other = hub_model / "snapshots" / COMMIT
    next(network.parameters()).data += 1
    network.save_pretrained(with_other)
    result = replay(session)
    assert result.exit_code == 2
    assert "expected the model of the session" in " ".join(result.output.split())
