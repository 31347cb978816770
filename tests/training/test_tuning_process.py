"""Teaching in a process of its own: what comes back, and how it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import block
from small_models import HYBRID, network, segmenter

from napari_sam.examples import Example
from napari_sam.model import checkpoint, weights
from napari_sam.model.taught import HeldBack, Lesson, TaughtModel
from napari_sam.model.taught_library import keep
from napari_sam.segmentation import worker_process
from napari_sam.segmentation.pipe import Message, Writer
from napari_sam.segmentation.protocol import Cancelled
from napari_sam.training import rehearsal, tuning_process, tuning_worker
from napari_sam.training.tuning import TuneSettings, TuneStep
from napari_sam.training.tuning_messages import (
    pack_examples,
    pack_step,
    settings_of,
    settings_values,
    unpack_examples,
    unpack_step,
)
from napari_sam.training.tuning_process import WorkerLost, tune_elsewhere, usual_threads

LABELS = block((60, 60), (1, np.s_[6:16, 6:18]), (2, np.s_[8:20, 40:52]), (3, np.s_[40:54, 10:20]))
PLANE = Example((20 + 100 * (LABELS > 0)).astype(np.uint8), LABELS, (0.0, 200.0), LABELS >= 0)
FEW = TuneSettings(steps=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a small network."""
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    checkpoint.save(network(HYBRID), path)
    return path


@pytest.fixture(autouse=True)
def drawn_before(private_home: Path) -> None:
    """Keep pictures to rehearse on the disk: drawing real ones takes seconds."""
    count, side = len(rehearsal.KINDS) * rehearsal._OF_EACH_KIND, rehearsal._SIDE
    labels = np.zeros((count, side, side), np.int32)
    labels[:, 40:80, 50:90] = 1
    images = np.repeat((labels[..., None] * 100).astype(np.uint8), 3, -1)
    np.savez_compressed(
        private_home / f"rehearsal-{rehearsal._EDITION}.npz", images=images, labels=labels
    )


def test_what_is_held_back_is_scored_in_the_other_process(file: Path) -> None:
    steps: list[TuneStep] = []
    last = tune_elsewhere(file, [PLANE], FEW, steps.append)
    assert last.fraction == 1
    assert last.scores["click"].count == 2
    assert last.offered is (last.model is not None)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert {"score", "learn"} <= {step.phase for step in steps}


def test_cancelling_ends_the_process_amid_a_step(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[worker_process.WorkerProcess] = []
    start = tuning_process.WorkerProcess

    def starting(*args: str, **options: bool) -> worker_process.WorkerProcess:
        begun.append(start(*args, **options))
        os.kill(begun[0].pid, signal.SIGSTOP)  # as if a step took for ever
        return begun[0]

    monkeypatch.setattr(tuning_process, "WorkerProcess", starting)

    def cancel(step: TuneStep) -> None:
        assert step.fraction == 0
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        tune_elsewhere(file, [PLANE], FEW, cancel)
    assert begun[0].has_ended


def test_process_that_is_lost_raises(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tuning_process.WorkerProcess

    def starting(*args: str, **options: bool) -> worker_process.WorkerProcess:
        begun = start(*args, **options)
        os.kill(begun.pid, signal.SIGKILL)
        return begun

    monkeypatch.setattr(tuning_process, "WorkerProcess", starting)
    with pytest.raises(WorkerLost, match=r"teaches the model has ended.*then teach again"):
        tune_elsewhere(file, [PLANE], FEW)


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="priorities are others there")
def test_process_leaves_the_processor_to_others_and_ends_with_its_input() -> None:
    worker = worker_process.WorkerProcess("napari_sam.training.tuning_worker", is_low=True)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(own + 10, 19)
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    assert worker._process.wait(60) == 0
    worker.close()


def test_errors_arrive_as_what_they_are(file: Path) -> None:
    plane = Example(PLANE.image, np.where(LABELS == 3, 0, LABELS))
    with pytest.raises(ValueError, match="at least 3 finished objects, got 2"):
        _answered(file, [plane])
    with pytest.raises(weights.CheckpointError, match="nothing"):
        _answered(Path("nothing.pth"), [PLANE])


def test_taught_model_comes_through_and_names_its_parent_by_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.training.verdict.LEAST_CHANGE", -1.0)
    last = _answered(file, [PLANE])
    assert last.model is not None
    assert last.model.lesson.parent == "small.safetensors"
    assert last.model.lesson.objects == 3
    assert last.model.fits(weights.load(file))
    weights.home().joinpath("models").mkdir(exist_ok=True)
    checkpoint.save(network(HYBRID), weights.home() / "models" / "small.safetensors")
    kept = keep(last.model, "squares")
    further = _answered(kept.path, [PLANE])
    assert further.model is not None
    assert [one.objects for one in further.model.lesson.earlier] == [3]
    anew = _answered(kept.path, [PLANE], from_parent=True)
    assert anew.model is not None
    assert anew.model.lesson.earlier == ()
    assert anew.model.lesson.parent == "small.safetensors"
    assert anew.model.key == last.model.key


def test_examples_survive_the_way() -> None:
    part = Example(
        np.arange(64, dtype=">u2").reshape(8, 8), np.ones((8, 8), np.uint8), plane_shape=(80, 90)
    )
    for one, other in zip(
        (PLANE, part), unpack_examples(*pack_examples([PLANE, part])), strict=True
    ):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.labels, other.labels)
        assert one.contrast_limits == other.contrast_limits
        assert one.plane_shape == other.plane_shape
        assert (one.complete is None) == (other.complete is None)


def test_settings_and_steps_survive_the_way() -> None:
    settings = TuneSettings(3.0, 7, 5, 2, True, False, "nano", ("a.tif",))
    assert settings_of(settings_values(settings)) == settings
    parent, taught = network(HYBRID), segmenter(HYBRID, seed=4).network
    lesson = Lesson("small", segmenter(HYBRID).model_key, 3, 1)
    model = TaughtModel.between(parent, taught, lesson)
    scores = {"click": HeldBack(0.5, 0.75, 2)}
    step = TuneStep("again", 1.0, 0.0, scores, True, model)
    found = unpack_step(pack_step("result", 1, step))
    assert (found.phase, found.fraction, found.offered) == ("again", 1.0, True)
    assert found.scores == scores
    assert found.model is not None
    assert found.model.digest == model.digest
    assert torch.equal(
        *(one.tensors["mask_decoder.iou_token.weight"] for one in (found.model, model))
    )


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 1), (6, 3), (8, 4), (64, 4)])
def test_teaching_leaves_most_cores_to_clicks(cores: int, threads: int) -> None:
    assert usual_threads(cores) == threads
    assert 1 <= usual_threads() <= 4


def _answered(model: Path, examples: list[Example], from_parent: bool = False) -> TuneStep:
    """Teach as the other process does, in this one."""
    values, arrays = pack_examples(examples)
    about = {
        "model": str(model),
        "device": "cpu",
        "from_parent": from_parent,
        "examples": values,
        "settings": settings_values(FEW),
    }
    threads, (source, target) = torch.get_num_threads(), os.pipe()
    reported: list[TuneStep] = []

    class Heard(Writer):
        def put(self, message: Message) -> None:
            if message.kind == "error":
                raise tuning_process.error_of(message.values)
            reported.append(unpack_step(message))

    try:
        tuning_worker.answer(Message("tune", 1, about, arrays), Heard(target))
    finally:
        torch.set_num_threads(threads)
        os.close(source)
        os.close(target)
    return reported[-1]
