"""A saved session runs again without a window: the same labels, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from component_segmenter import ComponentSegmenter
from core.fake_segmenter import FakeSegmenter
from core.journal_player import Player
from typer.testing import CliRunner

from napari_sam import cli, load_segmenter
from napari_sam.batch import label_objects, replay_session, segment_files
from napari_sam.batch.replay import prompts_of_session
from napari_sam.io import read_image
from napari_sam.io.session_file import SessionFileError
from napari_sam.session import ArrayCanvas, ArraySource, Channel, Session, pixel_changes
from napari_sam.session.image_identity import ImageContent
from napari_sam.session.keeping import ImageFacts, Keeping, save_session

SHAPE = (3, 48, 64)


def squares(shape=SHAPE) -> np.ndarray:
    """Return bright squares, others on every plane."""
    pixels = np.full(shape, 20, np.uint8)
    for z, plane in enumerate(pixels.reshape(-1, *shape[-2:])):
        for row in (4, 24):
            for column in (5, 25, 45):
                plane[row : row + 10 + z, column : column + 8 + z] = 180 + z
    return pixels


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, squares(), photometric="minisblack", metadata={"axes": "ZYX"})
    return path


def session_of(pixels, segmenter, labels=None, **options) -> Session:
    labels = np.zeros(pixels.shape, np.int32) if labels is None else labels
    return Session(segmenter, ArraySource(pixels, **options), canvas=ArrayCanvas(labels))


def paint(session, plane, value, top, left, size=6):
    labels = session.canvas.array[plane]
    rows, columns = (x.ravel() for x in np.mgrid[top : top + size, left : left + size])
    before = labels[rows, columns].copy()
    labels[rows, columns] = value
    at = session.source.plane_of(plane)
    session.paint(pixel_changes(at, (rows, columns), before, labels[rows, columns]))


def work(session: Session) -> None:
    """Do a bit of everything: clicks, a box, candidates, strokes, runs, and whole objects."""
    session.add_point(0, (6, 7))
    session.choose_candidate(1, 0)
    session.set_box(0, (23, 24, 36, 36), 2)
    session.add_point(0, (40, 60), 0, 2)
    paint(session, 0, 0, 5, 6, 3)
    paint(session, 0, 9, 40, 2)
    session.add_point(1, (26, 28), object_id=3)
    session.find_all([1, 2], linked=True)
    session.delete_object(3)
    session.lock([2])
    session.add_point(2, (26, 28), object_id=5)
    session.undo()
    session.granularity = "whole"
    session.add_point(2, (26, 28), object_id=6)
    session.granularity = ""
    session.renumber(1, 30)
    session.merge_objects(30, 9)
    session.wait()


def save(session, path, image=None):
    save_session(session, path, ImageFacts("stack", image))
    return path


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def test_session_run_again_gives_the_same_labels(tmp_path, stack):
    before = np.zeros(SHAPE, np.int32)
    before[2, 40:44, 3:9] = 77
    session = session_of(squares(), ComponentSegmenter(dense=True), before)
    work(session)
    assert {entry.kind for entry in session.journal.entries} >= {
        "prompts", "mask", "painted", "found", "deleted", "locked", "renumbered", "merged"
    }  # fmt: skip
    assert len(np.unique(session.canvas.array)) > 6
    file = save(session, tmp_path / "one.napari-sam", stack)
    result = replay_session(file, None, ComponentSegmenter(dense=True))
    np.testing.assert_array_equal(result.labels, session.canvas.array)
    assert (result.different, result.notes) == (0, ())


def test_planes_of_an_array_will_do(tmp_path):
    session = session_of(squares(), ComponentSegmenter(dense=True))
    work(session)
    file = save(session, tmp_path / "one.napari-sam")
    result = replay_session(file, session.source, ComponentSegmenter(dense=True))
    np.testing.assert_array_equal(result.labels, session.canvas.array)
    assert result.different == 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_done_at_random_is_done_again(tmp_path, seed):
    player, rng = Player(), np.random.default_rng(seed)
    one, other = player.models
    other.radius = one.radius  # which of them answers makes no difference then
    for _ in range(40):
        action, a, b = rng.integers(0, (51, 1000, 10000))
        player.act(int(action), int(a), int(b))
    session = player.session
    file = save(session, tmp_path / "one.napari-sam")
    result = replay_session(file, session.source, one)
    np.testing.assert_array_equal(result.labels, player.labels)
    assert result.different == 0


def say_it_in_every_way(session: Session) -> None:
    """Give a stroke, a lasso, a mask, and clicks on what was there, some of them in one object."""
    session.add_scribble(0, [(6, 6), (6, 12)], object_id=1)
    session.add_point(0, (26, 8), object_id=1)
    session.add_lasso(0, [(22, 22), (22, 36), (37, 36), (37, 22)], object_id=2)
    session.add_scribble(0, [(30, 26), (32, 26)], 0, object_id=2)
    mask = np.zeros(SHAPE[1:], bool)
    mask[2:18, 40:56] = True
    session.add_mask(0, mask, object_id=3)
    session.add_point(0, (3, 41), 0, object_id=3)
    session.adopt(1, 9)
    session.add_point(1, (5, 12), object_id=9)
    session.add_point(2, (4, 8), 0, object_id=9)  # its first one there
    session.adopt_labels()


def spoken_to() -> Session:
    labels = np.zeros(SHAPE, np.int32)
    labels[1:, 2:10, 3:12] = 9
    session = session_of(squares(), ComponentSegmenter(), labels)
    say_it_in_every_way(session)
    assert (labels[1:] == 9).any()
    return session


def test_prompts_of_every_kind_are_replayed(tmp_path, stack):
    session = spoken_to()
    file = save(session, tmp_path / "one.napari-sam", stack)
    result = replay_session(file, None, ComponentSegmenter())
    np.testing.assert_array_equal(result.labels, session.canvas.array)
    assert result.different == 0


def test_prompts_of_every_kind_come_back_with_their_session(tmp_path):
    session = spoken_to()
    file = save(session, tmp_path / "one.napari-sam")
    again = Session.open(file, session.source, ComponentSegmenter())
    assert again.prompts.by_key() == session.prompts.by_key()
    assert again.facts(9) == session.facts(9)
    assert not again.segmenter.embedded, "what was answered is not answered again"
    np.testing.assert_array_equal(again.canvas.array, session.canvas.array)
    while again.can_undo:
        again.undo()
        session.undo()
        np.testing.assert_array_equal(again.canvas.array, session.canvas.array)
    assert not again.prompts.keys


def test_prompts_of_every_kind_are_segmented_in_batch(tmp_path, stack):
    session = spoken_to()
    file = save(session, tmp_path / "one.napari-sam", stack)
    labels = label_objects(ComponentSegmenter(), read_image(stack), prompts_of_session(file))
    for number, plane in session.prompts.keys:
        mask = session.mask(number, plane[0])
        np.testing.assert_array_equal(labels[plane[0]] == number, mask)


def test_a_session_without_labels_gets_some(tmp_path, stack):
    session = Session(ComponentSegmenter(), ArraySource(squares()))
    session.add_point(0, (6, 7))
    result = replay_session(
        save(session, tmp_path / "a.napari-sam", stack), None, session.segmenter
    )
    np.testing.assert_array_equal(result.labels[0] == 1, session.mask(1, 0))
    assert "nothing to compare with" in result.notes[0]


@pytest.mark.parametrize("with_prompts", [True, False])
def test_layer_that_was_one_channel_of_a_file_is_found_in_it(tmp_path, with_prompts):
    image = tmp_path / "channels.tif"
    first, other = squares((48, 64)), squares((48, 64))[::-1, ::-1].copy()
    pixels = np.stack([first, other])
    tifffile.imwrite(image, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    session = session_of(other, ComponentSegmenter(dense=True))
    if with_prompts:
        session.add_point((), (30, 14))
    session.find_all()
    assert len(np.unique(session.canvas.array)) == 7
    file = save(session, tmp_path / "one.napari-sam", image)
    result = replay_session(file, None, ComponentSegmenter(dense=True))
    np.testing.assert_array_equal(result.labels, session.canvas.array)
    assert (result.different, result.notes, result.image.axes) == (0, (), "YX")


def test_other_labels_in_the_middle_are_where_it_goes_on(tmp_path, stack):
    session = session_of(squares(), ComponentSegmenter())
    session.add_point(0, (6, 7))
    other = np.zeros(SHAPE, np.int32)
    other[0, 20:30, 20:30] = 50
    session.canvas = ArrayCanvas(other)
    session.add_point(0, (26, 28), object_id=2)
    session.add_point(0, (6, 9))
    file = save(session, tmp_path / "one.napari-sam", stack)
    result = replay_session(file, stack, ComponentSegmenter())
    np.testing.assert_array_equal(result.labels, session.canvas.array)
    assert result.different == 0


def test_labels_of_another_model_differ_by_so_many_pixels(tmp_path):
    pixels = np.zeros((40, 40), np.uint8)
    session = session_of(pixels, FakeSegmenter(3.0, key="small"))
    session.add_point((), (20, 20))
    file = save(session, tmp_path / "one.napari-sam")
    result = replay_session(file, session.source, FakeSegmenter(5.0, key="large"))
    assert result.different == (result.labels > 0).sum() - (session.canvas.array > 0).sum() > 0
    assert "1 mask of the session was made by another model (key small)" in result.notes[0]


def test_planes_are_read_as_the_model_was_given_them(tmp_path):
    image = tmp_path / "channels.tif"
    pixels = np.stack([squares((48, 64)), squares((48, 64))[::-1], np.zeros((48, 64), np.uint8)])
    tifffile.imwrite(image, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    channels = (Channel(pixels, 1, (10.0, 90.0)), None, Channel(pixels, 0, gamma=0.5))
    segmenter = FakeSegmenter()
    session = session_of(pixels, segmenter, channel_axis=0, channels=channels)
    session.canvas = ArrayCanvas(np.zeros(pixels.shape, np.int32), 0)
    session.add_point((), (8, 9))
    file = save(session, tmp_path / "one.napari-sam", image)
    again = FakeSegmenter()
    result = replay_session(file, None, again)
    np.testing.assert_array_equal(again.embedded[0], segmenter.embedded[0])
    np.testing.assert_array_equal(result.labels, session.canvas.array)
    assert (result.different, result.notes) == (0, ())


def test_damaged_sessions_are_refused(tmp_path, stack):
    session = session_of(squares(), FakeSegmenter())
    session.add_point(0, (6, 7))
    session.delete_object(1)
    file = save(session, tmp_path / "one.napari-sam", stack)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(SessionFileError, match="damaged"):
        replay_session(file, None, FakeSegmenter())
    result = run("replay", file, "-o", tmp_path / "labels.tif")
    assert result.exit_code == 2
    assert "error: " in result.stderr
    assert not (tmp_path / "labels.tif").exists()


def test_image_that_is_missing_is_named(tmp_path, stack):
    session = session_of(squares(), FakeSegmenter())
    session.add_point(0, (6, 7))
    file = save(session, tmp_path / "one.napari-sam", stack)
    stack.unlink()
    result = run("replay", file, "-o", tmp_path / "labels.tif")
    assert result.exit_code == 2
    assert "'stack.tif' (layer 'stack') of shape 3 x 48 x 64" in result.stderr


def test_no_file_outside_the_folder_of_the_session_is_opened(tmp_path, stack):
    inside = tmp_path / "inside"
    inside.mkdir()
    session = session_of(squares(), FakeSegmenter())
    session.add_point(0, (6, 7))
    file = inside / "one.napari-sam"
    reported = ImageFacts("stack", inside / "stack.tif")
    save_session(session, file, reported)
    (inside / "stack.tif").symlink_to(stack)
    with pytest.raises(FileNotFoundError, match=r"beside one\.napari-sam"):
        replay_session(file, None, FakeSegmenter())


def test_prompts_of_a_session_serve_in_place_of_a_table(tmp_path, stack):
    session = session_of(squares(), ComponentSegmenter())
    session.add_point(0, (6, 7))
    session.choose_candidate(1, 0)
    session.set_box(1, (23, 24, 37, 37), 2)
    session.granularity = "part"
    session.add_point(2, (5, 46), object_id=3)
    save(session, tmp_path / "stack.napari-sam", stack)
    given = prompts_of_session(tmp_path / "stack.napari-sam")
    assert (given.candidates, given.boxed) == ({((0,), 1): 1, ((2,), 3): "part"}, (2,))
    for prompts in (None, tmp_path / "stack.napari-sam"):
        summary = segment_files(
            ComponentSegmenter(), stack, tmp_path / f"{bool(prompts)}.tif", prompts
        )
        assert (len(summary.done), summary.notes, summary.failed) == (1, (), ())
        labels = read_image(tmp_path / f"{bool(prompts)}.tif").data[...]
        np.testing.assert_array_equal(labels, session.canvas.array)


def test_a_session_and_boxes_are_one_too_many(tmp_path, stack):
    session = session_of(squares(), FakeSegmenter())
    session.add_point(0, (6, 7))
    file = save(session, tmp_path / "stack.napari-sam", stack)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("index,shape-type,vertex-index,axis-0,axis-1,axis-2\n")
    summary = segment_files(FakeSegmenter(), stack, tmp_path / "x.tif", file, boxes=boxes)
    assert "leave the others out" in summary.failed[0].reason


@pytest.fixture(scope="module")
def nano_session(tmp_path_factory):
    """A session with nano on one small plane, in a file that knows its image."""
    folder = tmp_path_factory.mktemp("nano")
    image = folder / "cells.tif"
    pixels = squares((48, 64))
    tifffile.imwrite(image, pixels)
    session = session_of(pixels, load_segmenter("nano", "cpu"))
    from napari_sam.session.library import Library

    content = ImageContent(pixels, layer="cells", path=image)
    facts = ImageFacts("cells", image, ("y", "x"), (0.5, 0.5), ("um", "um"))
    file = Library(folder / "kept").begin(content.identity())
    keeping = Keeping(session, file, facts)
    session.add_point((), (8, 8))
    session.add_point((), (10, 14), 0)
    session.set_box((), (23, 24, 36, 36), 2)
    paint(session, (), 7, 38, 50)
    assert session.wait(60)
    keeping.save(folder / "cells.napari-sam")
    keeping.close()
    return folder / "cells.napari-sam", session.canvas.array.copy()


def test_nano_gives_the_same_bits_by_the_command_line(tmp_path, nano_session):
    file, labels = nano_session
    assert len(np.unique(labels)) == 4
    result = run("replay", file, "-o", tmp_path / "labels.tif", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "bit for bit the saved labels" in result.stdout
    np.testing.assert_array_equal(read_image(tmp_path / "labels.tif").data[...], labels)


def test_image_of_other_pixels_is_taken_only_when_it_is_named(tmp_path, nano_session):
    file, labels = nano_session
    moved = tmp_path / file.name
    moved.write_bytes(file.read_bytes())
    tifffile.imwrite(tmp_path / "cells.tif", squares((48, 64))[::-1])
    result = run("replay", moved, "-o", tmp_path / "labels.tif", "--device", "cpu")
    assert result.exit_code == 2
    assert "whose pixels are others" in result.stderr
    image = tmp_path / "cells.tif"
    result = run("replay", moved, image, "-o", tmp_path / "labels.tif", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "the prompts were given on other pixels" in result.stderr
    different = np.count_nonzero(read_image(tmp_path / "labels.tif").data[...] != labels)
    assert different
    assert f"{different:,} pixel" in result.stdout


def test_another_model_is_only_taken_when_asked_for(tmp_path, nano_session, monkeypatch):
    file, _ = nano_session
    other = FakeSegmenter(3.0, key="another")
    monkeypatch.setattr(cli.sessions, "load_model", lambda *_, **__: other)
    result = run("replay", file, "-o", tmp_path / "labels.tif")
    assert result.exit_code == 2
    assert "expected the model of the session, nano" in result.stderr
    result = run("replay", file, "-o", tmp_path / "labels.tif", "--with", "nano")
    assert result.exit_code == 0, result.output
    assert "differ from the saved labels (session: nano" in result.stdout
    assert "were made by another model" in result.stderr


def test_info_describes_a_session(nano_session):
    file, _ = nano_session
    result = run("info", file)
    assert result.exit_code == 0, result.output
    lines = {line[:10].strip(): line for line in result.stdout.splitlines()}
    assert "3, 1 painted by hand" in lines["objects"]
    assert "clicks: 2, boxes: 1" in lines["prompts"]
    assert "48 × 64" in lines["shape"]
    assert "0.5 um, 0.5 um" in result.stdout
    assert "nano" in lines["model"]
    assert "0 undone" in lines["entries"]
    result = run("info", file, "--methods")
    (words,) = result.stdout.splitlines()
    assert words.startswith("3 objects in cells.tif were segmented with napari-sam-live")
    assert "using the model nano (digest " in words


def test_info_refuses_what_is_no_session(tmp_path, stack):
    for arguments in ((stack,), ("--methods",)):
        result = run("info", *arguments)
        assert result.exit_code == 2
        assert "expected a session" in result.stderr


def test_entries_with_too_few_details_are_refused(tmp_path, stack):
    from dataclasses import replace

    from napari_sam.session.saved import read_without_image

    session = session_of(squares(), ComponentSegmenter(dense=True))
    work(session)
    saved = read_without_image(save(session, tmp_path / "one.napari-sam", stack))
    for kind in ("found", "deleted", "merged"):
        entries = tuple(replace(e, details={}) if e.kind == kind else e for e in saved.entries)
        with pytest.raises(SessionFileError, match="it is damaged"):
            replay_session(replace(saved, entries=entries), None, ComponentSegmenter(dense=True))
