"""Batches on a real cluster of two worker processes, which all tests here share."""

from __future__ import annotations

import json
import os
import signal
import warnings
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import safetensors.numpy
import tifffile
import torch
from small_models import HYBRID, network
from typer.testing import CliRunner

import napari_sam
from napari_sam import cli, load_segmenter
from napari_sam.batch import (
    ClusterError,
    cluster,
    embed_files,
    on_cluster,
    segment_all_files,
    segment_files,
)
from napari_sam.batch.manifest import NAME
from napari_sam.io import write_prompts
from napari_sam.model.checkpoint import save
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Cancelled


@pytest.fixture(scope="module")
def two_workers():
    pytest.importorskip("distributed")
    from distributed import Security

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # that it isn't encrypted: others than it connect
        patch.setattr(Security, "temporary", Mock(side_effect=ImportError))
        local = cluster.local_cluster(2)
    with local:
        yield local


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "hybrid.safetensors"
    save(network(HYBRID), path)
    return path


@pytest.fixture
def model(two_workers, checkpoint):
    address = two_workers.scheduler_address
    with on_cluster(checkpoint, "cpu", scheduler=address, on_disk=False) as model:
        yield model


@pytest.fixture
def here(two_workers, checkpoint):
    """The same model in this process, with as many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(two_workers.worker_spec[0]["options"]["nthreads"])
    yield load_segmenter(checkpoint, "cpu", disk_bytes=0)
    torch.set_num_threads(before)


def images_in(folder: Path, count: int, rng) -> Path:
    folder.mkdir()
    for i in range(count):
        tifffile.imwrite(folder / f"{i:02}.tif", rng.integers(0, 200, (60, 50), np.uint8))
        write_prompts(folder / f"{i:02}.csv", {((), 4): Prompts([(30, 20)], [1])})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != NAME}


def features_in(path: Path) -> dict[str, bytes]:
    return {name: level.tobytes() for name, level in safetensors.numpy.load_file(path).items()}


def noted(folder: Path) -> list[tuple[str, bool]]:
    """What the manifest says, in its order: a result, and whether it was finished."""
    lines = (folder / NAME).read_text("utf-8").split("\n")
    entries = [json.loads(line) for line in lines if line]
    return [(one["result"], one["fingerprint"] is not None) for one in entries]


def test_files_are_those_of_a_run_without_cluster(model, here, tmp_path, rng, monkeypatch):
    images = images_in(tmp_path / "images", 2, rng)
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    extras = {"overlay": True, "measurements": True}
    for name, segment in (("all", segment_all_files), ("clicks", segment_files)):
        there = segment(model, "images", f"{name} there", **extras)
        assert there == segment(here, images.relative_to(tmp_path), f"{name} here", **extras)
        assert len(there.done) == 2
        found = contents(tmp_path / f"{name} there")
        assert len(found) == 6
        assert found == contents(tmp_path / f"{name} here")
        again = segment(here, "images", f"{name} there", **extras)
        assert len(again.skipped) == 2


def test_killed_worker_costs_only_what_it_was_at(model, two_workers, tmp_path, rng):
    images, out = images_in(tmp_path / "images", 14, rng), tmp_path / "out"
    before: dict[str, os.stat_result] = {}

    def kill(image, fraction):
        finished = [name for name, is_done in noted(out) if is_done] if out.exists() else []
        if len(finished) >= 3 and not before:
            before.update({name: (out / name).stat() for name in finished})
            os.kill(two_workers.workers[0].pid, signal.SIGKILL)

    summary = segment_all_files(model, images, out, progress=kill)
    assert len(summary.done) == 14
    assert not summary.failed
    assert before
    assert len(before) < 12  # it was killed in the middle
    for name, stat in before.items():
        assert (out / name).stat().st_ino == stat.st_ino
    assert sorted(noted(out)) == sorted(
        (f"{i:02}_labels.tif", is_done) for i in range(14) for is_done in (False, True)
    )
    assert not [name for name in contents(out) if "-napari-sam" in name]


def test_stopped_run_goes_on_where_it_was(model, tmp_path, rng):
    images, out = images_in(tmp_path / "images", 8, rng), tmp_path / "out"

    def stop(image, fraction):
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        segment_all_files(model, images, out, progress=stop)
    finished = {name for name, is_done in noted(out) if is_done}
    assert 2 <= len(finished) < 8
    caught = []
    summary = segment_all_files(model, images, out, progress=lambda *about: caught.append(about[1]))
    assert len(summary.skipped) == len(finished)
    assert len(summary.done) == 8 - len(finished)
    assert caught == sorted(caught)
    assert caught[-1] == 1.0


def test_planes_of_a_stack_are_shared_out(model, here, checkpoint, tmp_path, rng, monkeypatch):
    stack = rng.integers(0, 200, (20, 60, 50), np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata={"axes": "ZYX"})
    found = []
    for name in ("here", "there"):
        monkeypatch.setenv("NAPARI_SAM_HOME", str(tmp_path / name))
        segmenter = model if name == "there" else load_segmenter(checkpoint, "cpu")
        assert len(embed_files(segmenter, tmp_path / "stack.tif").done) == 1
        kept = (tmp_path / name / "embeddings").rglob("*.safetensors")
        found.append({path.name: features_in(path) for path in kept})
    assert len(found[1]) == 20
    assert found[0] == found[1]


def test_broken_image_is_reported_and_stops_nothing(model, tmp_path, rng):
    images = images_in(tmp_path / "images", 2, rng)
    (images / "01.tif").write_bytes(b"II*\0 nothing more")
    summary = segment_files(model, images, tmp_path / "out")
    assert [path.name for path in summary.done] == ["00.tif"]
    assert [one.image.name for one in summary.failed] == ["01.tif"]


def test_workers_that_dont_see_the_folder_are_named(model, tmp_path, rng, monkeypatch):
    images = images_in(tmp_path / "images", 1, rng)
    unsigned = cluster._sign

    @cluster.contextmanager
    def sign_elsewhere(folder):
        with unsigned(folder) as (path, text):
            Path(path).unlink()  # as where a folder of that name is another machine's own
            yield path, text

    monkeypatch.setattr(cluster, "_sign", sign_elsewhere)
    with pytest.raises(ClusterError) as caught:
        segment_files(model, images, tmp_path / "out")
    for worker in model.workers:
        assert worker in str(caught.value)
    assert f"doesn't see {tmp_path / 'out'}; use a folder that all machines mount" in str(
        caught.value
    )
    assert not contents(tmp_path / "out")


def test_workers_of_another_version_are_refused(two_workers, checkpoint, monkeypatch):
    monkeypatch.setattr(napari_sam, "__version__", "9.9.9", raising=False)
    with (
        pytest.raises(ClusterError, match=r"tcp://.*: has napari-sam-live .*, expected 9\.9\.9"),
        on_cluster(checkpoint, "cpu", scheduler=two_workers.scheduler_address),
    ):
        pass


def test_model_that_workers_cant_load_is_reported(two_workers, tmp_path):
    with (
        pytest.raises(ClusterError, match=r"tcp://127.*no such model.*install the same"),
        on_cluster("no such model", scheduler=two_workers.scheduler_address),
    ):
        pass


def test_command_line_takes_a_scheduler(two_workers, checkpoint, tmp_path, rng):
    images = images_in(tmp_path / "images", 2, rng)
    arguments = ["auto", images, "-o", tmp_path / "out", "--model", checkpoint, "--no-cache"]
    where = ["--scheduler", two_workers.scheduler_address]
    result = CliRunner().invoke(cli.app, [str(one) for one in (*arguments, *where)])
    assert result.exit_code == 0, result.output
    assert "2 done; labels in" in result.stdout
