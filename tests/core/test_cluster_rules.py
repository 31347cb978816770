"""What a batch on a cluster decides, without one."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks

from napari_sam.batch import ClusterError, on_cluster
from napari_sam.batch.cluster import _Run, agreed
from napari_sam.batch.cluster_worker import Loaded, Outcome, Sight, Watch
from napari_sam.batch.inputs import plan
from napari_sam.batch.labelling import Everything, Labelling, Opening, labelling_job
from napari_sam.batch.manifest import Manifest
from napari_sam.io import read_image, write_labels
from napari_sam.segmentation.protocol import Cancelled

SAME = Loaded("1.0", "0123456789abcdef", "float32")


def test_workers_that_agree_are_taken():
    assert agreed({"a": SAME, "b": SAME}, "1.0") == SAME


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Loaded("0.9", SAME.model_key, "float32"), "has napari-sam-live 0.9, expected 1.0"),
        (Loaded("1.0", "fedcba9876543210", "float32"), r"another model by that name \(fedcba98\)"),
        (Loaded("1.0", SAME.model_key, "bfloat16"), "in bfloat16, expected float32"),
    ],
)
def test_worker_that_differs_is_named(other, words):
    with pytest.raises(ClusterError, match=f"but c: .*{words}; start workers in one") as reported:
        agreed({"a": SAME, "b": SAME, "c": other}, "1.0")
    assert "a:" not in str(reported.value)


def test_worker_reports_what_it_doesnt_see(tmp_path):
    there, image = tmp_path / "signed", tmp_path / "image.tif"
    there.write_text("this", "utf-8")
    image.write_bytes(b"1234")
    assert Sight({str(there): "this"}, {str(image): 4}).missing() == []
    other = Sight({str(there): "that", str(tmp_path / "no" / "file"): ""}, {str(image): 5})
    assert other.missing() == [
        f"doesn't see {tmp_path}",
        f"doesn't see {tmp_path / 'no'}",
        f"doesn't see {image}",
    ]


def test_part_that_nobody_waits_for_stops_at_its_next_report():
    reported = []
    Watch(reported.append, lambda: True)(0.25)
    assert reported == [0.25]
    with pytest.raises(Cancelled):
        Watch(reported.append, lambda: False)(0.5)
    assert reported == [0.25]


def test_progress_is_reported_at_intervals():
    reported = []
    watch = Watch(reported.append, lambda: True)
    for i in range(1000):
        watch(i / 1000)
    assert 1 <= len(reported) < 100


class Task:
    """A future, as far as a run that is stopped asks it."""

    def __init__(self, status: str) -> None:
        self.status, self.released = status, False

    def result(self) -> Outcome:
        assert self.status == "finished"
        return Outcome()

    def release(self) -> None:
        self.released = True


class Image:
    """An image of a batch, with one part."""

    def __init__(self) -> None:
        self.image, self.is_finished = "cells.tif", False

    def is_done(self) -> bool:
        return False

    def finish(self) -> None:
        self.is_finished = True


def test_a_stopped_run_uses_finished_parts_and_explains_how_to_continue():
    images = [Image(), Image(), Image()]
    run = _Run(None, None, images, None)
    tasks = [Task("finished"), Task("pending")]
    run._data = {task: (n, 0) for n, task in enumerate(tasks)}
    for n in range(2):
        run._open[n], run._fractions[n], run._notes[n] = 1, [0.0], {}
    with pytest.warns(UserWarning, match="stopped with 1 of 3 images finished; start the same"):
        run._stop()
    assert [image.is_finished for image in images] == [True, False, False]
    assert tasks[0].released


@pytest.mark.parametrize("where", [{}, {"workers": 2, "scheduler": "tcp://a:1"}])
def test_one_place_to_compute_is_asked_for(where):
    with pytest.raises(ValueError, match="a scheduler's address or a number"), on_cluster(**where):
        pass


def test_device_on_another_machine_is_refused():
    with (
        pytest.raises(ValueError, match="a device of the cluster's workers"),
        on_cluster(device="ws://127.0.0.1:8765", workers=2),
    ):
        pass


def test_without_the_extra_one_line_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ImportError, match=r"pip install 'napari-sam-live\[cluster\]'"),
        on_cluster(workers=2),
    ):
        pass


def test_address_where_no_scheduler_can_be_is_reported():
    pytest.importorskip("distributed")
    with (
        pytest.raises(ClusterError, match="expected a dask scheduler at nonsense, got no answer"),
        on_cluster(scheduler="nonsense"),
    ):
        pass


def test_parts_done_elsewhere_are_noted_as_if_done_here(tmp_path):
    write_labels(tmp_path / "a.tif", disks((40, 50), (12, 12, 6)))
    (task,) = plan([tmp_path / "a.tif"], tmp_path / "out", ".tif")
    segmenter = ComponentSegmenter(dense=True)
    labelling = Labelling(task, Opening(None, None), Everything(None, ()), False, False)
    with Manifest(tmp_path / "out") as manifest:
        job = labelling_job(labelling, manifest, segmenter)
        assert not job.is_done()
        (part,) = job.parts()
        pickle.loads(pickle.dumps(part)).work(segmenter, lambda _: None, lambda _: None)
        assert np.asarray(read_image(task.labels).data).max() == 1
        assert not job.is_done()  # until the process with the manifest knows of it
        job.finish()
        assert job.is_done()


def test_image_that_changes_while_it_is_elsewhere_is_made_again(tmp_path):
    write_labels(tmp_path / "a.tif", disks((40, 50), (12, 12, 6)))
    (task,) = plan([tmp_path / "a.tif"], tmp_path / "out", ".tif")
    segmenter = ComponentSegmenter(dense=True)
    labelling = Labelling(task, Opening(None, None), Everything(None, ()), False, False)
    with Manifest(tmp_path / "out") as manifest:
        job = labelling_job(labelling, manifest, segmenter)
        (part,) = job.parts()
        write_labels(tmp_path / "a.tif", disks((44, 50), (12, 12, 6)))
        part.work(segmenter, lambda _: None, lambda _: None)
        job.finish()
        assert not job.is_done()


def test_same_labels_are_the_same_file(tmp_path):
    for name in ("a.ome.tif", "b.ome.tif"):
        write_labels(tmp_path / name, disks((40, 50), (12, 12, 6)), "YX")
    write_labels(tmp_path / "c.ome.tif", disks((40, 50), (12, 12, 7)), "YX")
    assert (tmp_path / "a.ome.tif").read_bytes() == (tmp_path / "b.ome.tif").read_bytes()
    assert (tmp_path / "a.ome.tif").read_bytes() != (tmp_path / "c.ome.tif").read_bytes()
