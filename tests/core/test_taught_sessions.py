"""Sessions in which a model was taught: kept, opened and run again wherever its parent is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from small_models import HYBRID, VIT, network
from taught_models import lesson_on
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.batch import replay_session
from napari_sam.batch.session_models import load_models
from napari_sam.io.session_file import SessionFile, SessionFileError
from napari_sam.model import taught_library
from napari_sam.model.checkpoint import save
from napari_sam.model.sam import Sam
from napari_sam.model.taught import TaughtModel
from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.loading import load_segmenter
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.session import ArrayCanvas, ArraySource, Session, read_session
from napari_sam.session.keeping import ImageFacts, Keeping, save_session
from napari_sam.session.saved import read_without_image

SHAPE = (2, 60, 70)


def pupil_of(parent: Sam, config, seed: int, thorough: bool) -> Sam:
    """Change the decoder of a network as teaching would, or all of it."""
    pupil, other = network(config), network(config, seed)
    pupil.load_state_dict(parent.state_dict())
    parts = [(pupil.mask_decoder, other.mask_decoder)]
    if thorough:
        parts.append((pupil.image_encoder, other.image_encoder))
    for part, changed in parts:
        part.load_state_dict(changed.half().float().state_dict())
    return pupil


@pytest.fixture(autouse=True)
def one_thread():
    """Two of them wait for each other longer than networks as small as these take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def lesson_of(config, thorough: bool) -> tuple[Sam, TaughtModel]:
    """A network, and what was taught to it."""
    parent = network(config)
    pupil = pupil_of(parent, config, 8, thorough)
    lesson = replace(lesson_on(parent), thorough=thorough)
    return parent, TaughtModel.between(parent, pupil, lesson).named("my cells")


@pytest.fixture
def taught(request, tmp_path, monkeypatch) -> TaughtModel:
    """A taught model that is in no library, whose parent lies in the folder of models."""
    parent, model = lesson_of(*getattr(request, "param", (HYBRID, False)))
    monkeypatch.setenv("NAPARI_SAM_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "models").mkdir(parents=True)
    save(parent, parent_path(tmp_path), half=False)
    return model


def parent_path(tmp_path) -> Path:
    return tmp_path / "home" / "models" / "parent.safetensors"


def parent_of(model: TaughtModel) -> Segmenter:
    """Put the parent of a taught model to use."""
    return _put_to_use(model, is_parent=True)


def load(model: TaughtModel) -> Segmenter:
    """Put a taught model to use."""
    return _put_to_use(model, is_parent=False)


@cache
def _put_to_use(model: TaughtModel, is_parent: bool) -> Segmenter:
    kinds = ((HYBRID, False), (HYBRID, True), (VIT, False))
    (parent,) = [sam for sam, one in (lesson_of(*kind) for kind in kinds) if one is model]
    sam = parent if is_parent else model.applied_to(parent)
    return CachedSegmenter(TiledSegmenter(SamSegmenter(sam, "cpu", "float32")), max_bytes=0)


def image() -> np.ndarray:
    rows, columns = np.indices(SHAPE[1:])
    one = 40 * ((rows - 20) ** 2 + (columns - 25) ** 2 < 150) + rows + np.sin(columns) * 9
    return np.stack([one, one[::-1]]).astype(np.float32)


def work(session: Session, taught: TaughtModel) -> Session:
    """Click, have the model of now taught, click on, take it back and make it again."""
    session.add_point(0, (20, 25))
    session.add_point(0, (50, 60), object_id=2)
    session.object_id = 3
    session.add_point(1, (40, 25))
    session.use_model(load(taught))
    session.add_point(0, (22, 27), object_id=1)  # of the new one, both clicks
    session.add_point(1, (10, 10), object_id=4)
    session.undo()
    session.undo()
    session.undo()
    session.add_point(1, (38, 30), object_id=3)  # of the old one
    session.use_model(load(taught))
    session.add_point(0, (30, 30), object_id=1)
    session.find_all([1], points_per_side=2)
    return session


def new_session(model: TaughtModel) -> Session:
    canvas = ArrayCanvas(np.zeros(SHAPE, np.int32))
    return Session(parent_of(model), ArraySource(image()), canvas=canvas)


every_kind = pytest.mark.parametrize(
    "taught", [(HYBRID, False), (HYBRID, True), (VIT, False)], indirect=True
)


def plain(model, *, precision):
    assert precision == "float32"
    return load_segmenter(model, "cpu", precision, disk_bytes=0)


@every_kind
def test_session_is_run_again_bit_for_bit_from_its_file_image_and_parent(tmp_path, taught):
    model = taught
    session = work(new_session(model), model)
    path = tmp_path / "one.napari-sam"
    session.save(path)
    assert not taught_library.listed()
    saved = read_session(path, session.source)
    models = load_models(saved, plain)
    assert {one.model_key for one in models} == {model.key, model.lesson.parent_key}
    result = replay_session(saved, session.source, models)
    assert (result.different, result.notes) == (0, ())
    np.testing.assert_array_equal(result.labels, session.canvas.array)
    assert session.canvas.array.any()
    by_one = replay_session(saved, session.source, models[0])
    assert "made by another model" in by_one.notes[0]


@every_kind
def test_object_clicked_after_the_change_is_answered_by_the_new_model_alone(taught):
    model = taught
    session = new_session(model)
    session.add_point(0, (20, 25))
    old = session.mask(1, 0)
    session.use_model(load(model))
    session.add_point(0, (50, 60), object_id=2)
    np.testing.assert_array_equal(session.mask(1, 0), old)
    session.add_point(0, (22, 27), object_id=1)
    other = new_session(model)
    other.segmenter = load(model)
    other.add_point(0, (20, 25))
    other.add_point(0, (22, 27))
    np.testing.assert_array_equal(session.mask(1, 0), other.mask(1, 0))


@every_kind
def test_embeddings_are_kept_while_the_encoder_is_the_same(taught, monkeypatch):
    model, thorough = taught, taught.lesson.thorough
    session = new_session(model)
    session.add_point(0, (20, 25))
    pupil, embedded = load(model), []
    embed = pupil.embed
    monkeypatch.setattr(pupil, "embed", lambda *a, **b: embedded.append(1) or embed(*a, **b))
    session.use_model(pupil)
    session.add_point(0, (22, 27), object_id=1)
    assert len(embedded) == thorough
    session.undo()
    session.undo()
    assert session.segmenter.model_key == model.lesson.parent_key
    session.add_point(0, (30, 30), object_id=1)
    assert len(embedded) == thorough


def test_kept_session_has_the_weights_before_it_ends_and_once(tmp_path, taught):
    model = taught
    session = new_session(model)
    file = SessionFile.create(tmp_path / "kept.napari-sam")
    keeping = Keeping(session, file, ImageFacts())
    work(session, model)
    assert keeping.recorder.flush(20)
    saved = read_session(file.path, session.source)
    assert saved.models[model.key].weights == model.to_bytes()
    copy = tmp_path / "copy.napari-sam"
    keeping.save(copy)
    keeping.close()
    for path in (copy, file.path):
        again = read_session(path, session.source)
        (weights,) = [one.weights for one in again.models.values() if one.weights is not None]
        assert TaughtModel.from_bytes(weights).digest == model.digest
        result = replay_session(again, session.source, load_models(again, plain))
        assert result.different == 0


def test_session_that_is_opened_goes_on_with_what_was_taught(tmp_path, taught):
    model = taught
    session = work(new_session(model), model)
    path = tmp_path / "one.napari-sam"
    session.save(path)
    saved = read_session(path, session.source)
    pupil = plain(saved.model.loadable, precision="float32")
    assert (saved.model.name, pupil.model_key) == ("my cells", model.key)
    wanted = []
    later = Session.open(path, session.source, pupil)
    later.model_wanted.connect(wanted.append)
    later.add_point(0, (40, 40), object_id=9)
    while later.can_undo:
        later.undo()
    assert [one.key for one in wanted] == [model.lesson.parent_key]
    later.save(tmp_path / "two.napari-sam")
    again = read_without_image(tmp_path / "two.napari-sam")
    assert again.models.keys() == saved.models.keys()
    assert again.models[model.key].weights == model.to_bytes()


def test_session_with_damaged_weights_opens_and_fails_when_they_are_needed(tmp_path, taught):
    model = taught
    session = work(new_session(model), model)
    path = tmp_path / "one.napari-sam"
    weights = session.models[model.key].weights
    session._models._known[model.key] = replace(
        session.models[model.key], weights=weights[:-8] + bytes(8)
    )
    session.save(path)
    saved = read_session(path, session.source)
    with pytest.raises(ValueError, match="of the session: expected the weights with digest"):
        load_models(saved, plain)


def test_replay_on_the_command_line_needs_nothing_but_the_parent(tmp_path, taught):
    model = taught
    tifffile.imwrite(tmp_path / "cells.tif", image())
    session = work(new_session(model), model)
    save_session(session, tmp_path / "cells.napari-sam", ImageFacts("cells.tif"))
    command = ["replay", str(tmp_path / "cells.napari-sam"), str(tmp_path / "cells.tif")]
    command += ["-o", str(tmp_path / "again.tif"), "--device", "cpu", "--no-cache"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    assert "bit for bit the saved labels" in result.stdout
    parent_path(tmp_path).unlink()
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 2
    assert "put a copy of parent.safetensors there" in " ".join(result.stderr.split())


def test_model_that_is_not_what_was_taught_is_refused(taught):
    model = taught
    session = new_session(model)
    session.add_point(0, (20, 25))
    with pytest.raises(ValueError, match="load the taught model"):
        session.use_model(parent_of(model), model)
    assert session.next_undo != ""
    assert list(session.models) == [model.lesson.parent_key]


def test_table_of_models_that_is_damaged_is_refused(tmp_path, taught):
    model = taught
    session = work(new_session(model), model)
    path = tmp_path / "one.napari-sam"
    session.save(path)
    file = SessionFile.open(path, writable=True)
    reported = file.about["models"]
    file.set_about({"models": {**reported, model.key: {**reported[model.key], "taught": 5}}})
    file.close()
    with pytest.raises(SessionFileError, match="expected what models the session used"):
        read_session(path, session.source)
