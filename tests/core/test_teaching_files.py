"""What sessions and label images on disk teach a model, and the command that does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from component_segmenter import ComponentSegmenter
from labelled import block
from small_models import HYBRID, network
from taught_models import teach
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.batch.session_models import load_models
from napari_sam.batch.teaching import (
    examples_of_labels,
    examples_of_session,
    model_to_teach,
)
from napari_sam.examples import Example
from napari_sam.io.session_file import SessionFileError
from napari_sam.masks import iou
from napari_sam.model import taught_library, weights
from napari_sam.model.checkpoint import save
from napari_sam.model.taught import HeldBack, read
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.keeping import ImageFacts, save_session
from napari_sam.session.model_use import UsedModel
from napari_sam.session.saved import read_without_image
from napari_sam.training import pupil, rehearsal, views
from napari_sam.training.tuning import TuneSettings, TuneStep

SQUARES = [(1, np.s_[6:16, 6:18]), (2, np.s_[8:20, 40:52]), (3, np.s_[40:54, 10:20])]
SQUARES += [(4, np.s_[40:50, 40:54]), (5, np.s_[25:35, 25:35])]
LABELS = block((60, 60), *SQUARES)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """An image of five squares, and their labels."""
    noise = np.random.default_rng(0).normal(20, 3, LABELS.shape)
    tifffile.imwrite(tmp_path / "a.tif", (noise + 100 * (LABELS > 0)).astype(np.uint8))
    tifffile.imwrite(tmp_path / "a_labels.tif", LABELS)
    return tmp_path / "a.tif", tmp_path / "a_labels.tif"


@pytest.fixture
def session(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """A session in which five squares were clicked, of which the first is the current one."""
    pixels = tifffile.imread(pair[0])
    canvas = ArrayCanvas(np.zeros(pixels.shape, np.int32))
    made = Session(
        ComponentSegmenter(), ArraySource(pixels, contrast_limits=(5, 99)), canvas=canvas
    )
    for number, (rows, columns) in SQUARES:
        made.add_point((), (rows.start + 4, columns.start + 4), object_id=number)
    save_session(made, tmp_path / "a.napari-sam", ImageFacts("a", pair[0]))
    return tmp_path / "a.napari-sam"


def test_labels_beside_an_image_are_objects(pair: tuple[Path, Path]) -> None:
    (one,) = examples_of_labels(*pair)
    assert one.objects == (1, 2, 3, 4, 5)
    assert np.array_equal(one.labels, LABELS)
    assert one.complete is None
    assert "a.tif" in one.name
    (everything,) = examples_of_labels(*pair, complete=True)
    assert everything.complete is not None
    assert everything.complete.all()


def test_planes_without_objects_are_left_out(tmp_path: Path) -> None:
    labels = np.stack([LABELS, 0 * LABELS, 7 * (LABELS == 2)])
    for name in ("s.tif", "l.tif"):
        tifffile.imwrite(
            tmp_path / name, labels, photometric="minisblack", metadata={"axes": "ZYX"}
        )
    first, last = examples_of_labels(tmp_path / "s.tif", tmp_path / "l.tif")
    assert len(first.objects) == 5
    assert np.array_equal(last.labels > 0, LABELS == 2)


def test_labels_of_another_shape_or_of_fractions_are_refused(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "b.tif", LABELS[:40])
    with pytest.raises(ValueError, match=r"of the image's shape \(60, 60\), got .*b\.tif"):
        examples_of_labels(pair[0], tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "b.tif", LABELS.astype(np.float32))
    with pytest.raises(ValueError, match="an integer type"):
        examples_of_labels(pair[0], tmp_path / "b.tif")


def test_image_given_as_labels_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(1, 200, LABELS.shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    with pytest.raises(ValueError, match=r"got .*grey\.tif.* seems to be an image"):
        examples_of_labels(pair[0], tmp_path / "grey.tif")
    crowded = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((12, 12), int)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "crowded.tif", crowded)
    (one,) = examples_of_labels(pair[0], tmp_path / "crowded.tif")
    assert len(one.objects) == 25


def test_finished_objects_of_a_session_come_as_the_model_saw_them(
    session: Path, pair: tuple[Path, Path]
) -> None:
    (one,) = examples_of_session(session)
    # the first is the current one
    for label, (number, _) in zip(one.objects, SQUARES[1:], strict=True):
        assert iou(one.mask(label), number == LABELS) > 0.9
    assert np.array_equal(one.image, tifffile.imread(pair[0]))
    assert one.contrast_limits == (5, 99)


def test_image_is_no_session(pair: tuple[Path, Path]) -> None:
    with pytest.raises(SessionFileError):
        examples_of_session(pair[0])


def test_sessions_of_a_taught_model_teach_its_parent(session: Path) -> None:
    saved = read_without_image(session)
    taught = teach(network(HYBRID), "vit_b").named("coli")
    about = {"model": {"name": "coli", "key": taught.key}}
    used = {taught.key: UsedModel(taught.key, "coli", card=taught.card)}
    assert model_to_teach(replace(saved, about=about, models=used)) == "vit_b"
    taught_library.keep(taught, "coli")
    assert model_to_teach(replace(saved, about=about)) == "vit_b"
    assert model_to_teach(replace(saved, about={"model": {"name": "nano", "key": "0"}})) == "nano"
    with pytest.raises(ValueError, match=r"got one of components .* --model"):
        model_to_teach(saved)


def test_what_is_missing_of_a_sessions_model_is_reported(session: Path) -> None:
    saved = read_without_image(session)
    taught = teach(network(HYBRID), "own.safetensors").named("coli")
    about = {"model": {"name": "coli", "key": taught.key}}
    used = {taught.key: UsedModel(taught.key, "coli", card=taught.card)}
    with pytest.raises(ValueError, match=r"that coli was taught from, own.safetensors .* found no"):
        model_to_teach(replace(saved, about=about, models=used))
    for of_session in (model_to_teach, load_models):
        with pytest.raises(ValueError, match="with a model, got one in which none answered"):
            of_session(replace(saved, about={}, models={}))


# The command ------------------------------------------------------------------------------------


@pytest.fixture
def parent(private_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network among the models, with little rehearsal and few validation objects."""
    for name in ("_OF_EACH", "_FEWEST"):
        monkeypatch.setattr(views, name, 2)
    monkeypatch.setattr(pupil, "_FEWEST_HEAD_VIEWS", 2)
    monkeypatch.setattr(rehearsal, "KINDS", ("nuclei",))
    monkeypatch.setattr(rehearsal, "_SIDE", 64)
    monkeypatch.setattr(rehearsal, "_OF_EACH_KIND", 1)
    path = private_home / "models" / "parent.safetensors"
    save(network(HYBRID), path, half=False)
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["tune", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def quick(parent: Path) -> tuple[object, ...]:
    return "--model", parent, "--device", "cpu", "--steps", 2, "--threads", 1


def test_session_becomes_a_taught_model(session: Path, parent: Path, tmp_path: Path) -> None:
    output = tmp_path / "my.safetensors"
    code, reported, _ = run(session, "-o", output, *quick(parent), "--anyway", "--seed", 3)
    assert code == 0, reported
    assert "after one click" in reported
    assert "2 objects held back: little to go by" in reported
    assert "taught on 4 objects of 1 plane in 2 steps (seed 3, threads 1)" in reported
    lesson = read(output).lesson
    assert (lesson.parent, lesson.objects, lesson.seed) == ("parent.safetensors", 4, 3)
    assert lesson.sources == ()
    assert lesson.when
    assert lesson.version
    assert weights.load(output).config.name == "my"
    code, _, error = run(session, "-o", output, *quick(parent))
    assert code == 2
    assert "--overwrite" in error
    output.write_text("of somebody")
    assert run(session, "-o", output, *quick(parent))[0] == 2
    assert output.read_text() == "of somebody"


@pytest.fixture
def lessons(parent: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was to be taught; nothing is, and all get the same result."""
    asked: list[tuple[Any, ...]] = []
    scores = dict.fromkeys(("click", "clicks", "box"), HeldBack(0.5, 0.8, 9))

    def tune(
        segmenter: Segmenter, examples: Sequence[Example], settings: TuneSettings
    ) -> Iterator[TuneStep]:
        asked.append((segmenter, examples, settings))
        yield TuneStep("score", 0.5)
        is_better = settings.seed != 13
        model = teach(network(HYBRID), settings.parent) if is_better else None
        yield TuneStep("again", 1.0, scores=scores, offered=is_better, model=model)

    monkeypatch.setattr("napari_sam.training.tuning.tune", tune)
    return asked


def test_labels_become_a_taught_model_of_a_name(
    pair: tuple[Path, Path], parent: Path, lessons: list[tuple[Any, ...]]
) -> None:
    options = "--name", "coli", "--keep-names", "--complete", "--thorough"
    code, reported, error = run(pair[0], "--labels", pair[1], *options, *quick(parent))
    assert code == 0, error
    assert "on 9 objects held back\n" in reported
    assert '--model "coli"' in reported
    (one,), settings = lessons[0][1:]
    assert one.complete.all()
    assert settings == TuneSettings(
        steps=2, thorough=True, parent="parent.safetensors", sources=(str(pair[0]),)
    )
    assert weights.load("coli").config.name == "coli"


def test_session_that_is_missing_is_reported(tmp_path: Path) -> None:
    code, _, error = run(missing := tmp_path / "none.napari-sam", "--name", "a")
    assert code == 2
    assert error.strip() == f"error: expected a session at {missing}, found nothing there"


def test_what_is_no_better_is_not_written(
    session: Path, parent: Path, tmp_path: Path, lessons: list[tuple[Any, ...]]
) -> None:
    output = tmp_path / "my.safetensors"
    code, reported, error = run(session, "-o", output, *quick(parent), "--seed", 13)
    assert code == 1
    assert "after one click     0.50 → 0.80" in reported.replace("\n ", "\n")
    assert "--anyway" in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --output"),
        (["-o", "my.pt"], "ends in .safetensors"),
        (["-o", "{session}/my.safetensors"], "expected a folder"),
        (["--name", "a/b"], "expected a name"),
        (["--name", "nano"], "no model has"),
        (["--name", "a", "--steps", 1, "--seconds", 2], "got both"),
        (["--name", "a", "--labels", "x.tif", "--labels", "y.tif"], "once for each of 1 files"),
        (["--name", "a", "--model", "colli"], "no file colli"),
    ],
)
def test_wrong_request_is_reported_before_anything_is_taught(
    session: Path, options: list[object], message: str
) -> None:
    asked = [str(option).format(session=session) for option in options]
    code, reported, error = run(session, *asked)
    assert code == 2
    assert message in error
    assert reported == ""
