"""The session of an image is found again, and never by two at once."""

from __future__ import annotations

import multiprocessing
import os
import stat
import sys

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter

from napari_sam.io.session_file import SessionFile, SessionFileError
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.image_identity import ImageContent, read_identity
from napari_sam.session.keeping import ImageFacts, Keeping
from napari_sam.session.library import Library, sessions_folder
from napari_sam.session.saved import read_session


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "library")


def pixels(seed: int = 0, planes: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (planes, 30, 40), np.uint8)


def saved_image(path, data):
    np.save(path, data)
    return ImageContent(data, layer=path.stem, path=path)


def work(library: Library, image: ImageContent, clicks: int = 1):
    """Begin a session of an image, click and close it; return its file."""
    file = library.begin(image.identity())
    session = Session(FakeSegmenter(), ArraySource(image.data))
    keeping = Keeping(session, file, ImageFacts(image.layer, image.path))
    for number in range(clicks):
        session.add_point(0, (10 + number, 20), object_id=number + 1)
    keeping.close()
    return file.path


def found(library: Library, image: ImageContent) -> list:
    return [kept.path for kept in library.find(image)]


def test_a_session_is_found_by_its_image(library, tmp_path):
    image = saved_image(tmp_path / "cells.npy", pixels())
    path = work(library, image)
    work(library, saved_image(tmp_path / "others.npy", pixels(1)))
    assert found(library, image) == [path]
    assert found(library, ImageContent(pixels())) == [path]


def test_a_kept_session_has_the_text_of_its_last_step(library):
    image = ImageContent(pixels())
    path = work(library, image, clicks=2)
    assert library.find(image)[0].last == "added a point to object 2"
    file = library.resume(path)
    session = Session(FakeSegmenter(), ArraySource(image.data))
    session.restore(read_session(path, session.source))
    keeping = Keeping(session, file)
    session.undo()
    keeping.close()
    assert library.find(image)[0].last == "added a point to object 1"


@pytest.mark.parametrize("change", ["moved", "touched", "grown", "without a file"])
def test_an_image_is_known_by_its_content(library, tmp_path, change):
    path = tmp_path / "cells.npy"
    session = work(library, saved_image(path, pixels()))
    data = pixels()
    if change == "moved":
        image = saved_image(tmp_path / "elsewhere.npy", data)
    elif change == "touched":
        os.utime(path, (1, 1))
        image = ImageContent(data, path=path)
    elif change == "grown":
        image = saved_image(path, np.concatenate([data, pixels(1, 3)]))
    else:
        image = ImageContent(data)
    assert found(library, image) == [session]


def test_an_image_that_has_grown_is_the_image_from_then_on(library, tmp_path):
    path, data = tmp_path / "cells.npy", np.concatenate([pixels(), pixels(1, 3)])
    session = work(library, saved_image(path, pixels()))
    grown = saved_image(path, data)
    library.resume(session, grown.identity()).close()
    assert found(library, grown) == [session]
    assert found(library, saved_image(path, pixels())) == []


@pytest.mark.parametrize("change", ["content", "planes", "shape", "type", "rgb"])
def test_another_image_under_the_same_name_is_not_taken_for_it(library, tmp_path, change):
    path = tmp_path / "cells.npy"
    work(library, saved_image(path, pixels()))
    data = pixels()
    if change == "content":
        data[-1] += 1
    elif change == "planes":
        data = data[:2]
    elif change == "shape":
        data = data[:, :20]
    elif change == "type":
        data = data.astype(np.uint16)
    image = saved_image(path, data)
    if change == "rgb":
        image = ImageContent(np.zeros((4, 30, 40, 3), np.uint8), True, path=path)
    assert found(library, image) == []


def test_images_without_content_are_recognised_by_their_path(library, tmp_path):
    blank = np.zeros((4, 30, 40), np.uint8)
    session = work(library, saved_image(tmp_path / "blank.npy", blank))
    assert found(library, saved_image(tmp_path / "blank.npy", blank)) == [session]
    assert found(library, saved_image(tmp_path / "other.npy", blank)) == []
    assert found(library, ImageContent(blank)) == []


def test_the_likeliest_session_comes_first(library, tmp_path):
    path = tmp_path / "cells.npy"
    first = work(library, ImageContent(pixels(), layer="cells", path=path))
    second = work(library, ImageContent(pixels(), layer="cells [1]", path=path))
    third = work(library, ImageContent(pixels(), layer="cells [1]"))
    assert found(library, ImageContent(pixels(), layer="cells", path=path))[0] == first
    one = ImageContent(pixels(), layer="cells [1]", path=path)
    assert found(library, one)[0] == second
    assert found(library, ImageContent(pixels(), layer="cells [1]"))[0] == third


def test_a_session_without_entries_is_not_offered(library):
    image = ImageContent(pixels())
    library.begin(image.identity()).close()
    assert found(library, image) == []


def test_few_planes_are_read_and_each_once():
    read: list = []

    class Slow:
        shape, dtype = (1000, 30, 40), np.dtype(np.uint8)

        def __getitem__(self, index):
            read.append(index)
            return pixels(index[0], 1)[0]

    image = ImageContent(Slow())
    identity = image.identity()
    assert image.is_image_of(identity)
    assert len(read) == len(set(read)) == 5


def test_of_a_large_plane_windows_are_read():
    large = np.zeros((5000, 5000), np.uint8)
    before = ImageContent(large).identity()
    assert before.samples[0].is_blank
    large[:200, :200] = 1
    assert not ImageContent(large).is_image_of(before)


def test_an_identity_is_what_it_was_when_it_is_read():
    identity = ImageContent(pixels(), layer="cells").identity()
    assert read_identity(identity.to_json(), identity.where()) == identity
    for wrong in (None, [], {}, {**identity.to_json(), "samples": [1]}, {"shape": "x"}):
        with pytest.raises(ValueError, match="expected"):
            read_identity(wrong)


# One at a time


def test_two_viewers_never_write_into_one_file(library):
    image = ImageContent(pixels())
    path = work(library, image)
    file = library.resume(path)
    assert library.resume(path) is None
    assert library.is_open(path)
    assert found(library, image) == []
    other = library.begin(image.identity())
    assert other.path != path
    file.close()
    other.close()
    assert not library.is_open(path)
    assert found(library, image) == [path]


def hold(path, taken, release) -> None:
    file = Library(path.parent).resume(path)
    taken.put(file is not None)
    release.wait(60)
    if sys.platform != "win32":
        os.kill(os.getpid(), 9)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_another_process_is_kept_out_until_it_ends_even_when_killed(library):
    path = work(library, ImageContent(pixels()))
    context = multiprocessing.get_context("spawn")
    taken, release = context.Queue(), context.Event()
    process = context.Process(target=hold, args=(path, taken, release))
    process.start()
    assert taken.get(timeout=60)
    assert library.resume(path) is None
    release.set()
    process.join(60)
    file = library.resume(path)
    assert file is not None
    file.close()


def test_what_cant_be_opened_is_free_again(library):
    path = work(library, ImageContent(pixels()))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SessionFileError):
        library.resume(path)
    assert not library.is_open(path)


# The list


def test_the_library_lists_its_sessions(library, tmp_path):
    work(library, saved_image(tmp_path / "cells.npy", pixels()), clicks=3)
    damaged = work(library, saved_image(tmp_path / "others.npy", pixels(1)))
    damaged.write_bytes(b"nothing")
    kept = {one.path == damaged: one for one in library.sessions()}
    whole = kept[False]
    assert (whole.image, whole.objects, whole.error) == ("cells", 3, "")
    assert whole.entries == 6  # clicks and their masks
    assert whole.size == whole.path.stat().st_size
    assert "expected a session file" in kept[True].error


def test_only_sessions_of_the_library_that_are_closed_are_removed(library, tmp_path):
    path = work(library, ImageContent(pixels()))
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="expected a session in"):
        library.remove(copy)
    file = library.resume(path)
    with pytest.raises(ValueError, match="not open"):
        library.remove(path)
    file.close()
    library.remove(path)
    assert library.sessions() == []
    assert list(library.folder.iterdir()) == []
    assert copy.exists()


def test_a_session_from_elsewhere_is_gone_on_with_in_a_copy(library, tmp_path):
    session = Session(FakeSegmenter(), ArraySource(pixels()))
    session.add_point(0, (10, 20))
    session.save(tmp_path / "sent.napari-sam")
    before = (tmp_path / "sent.napari-sam").read_bytes()
    image = ImageContent(pixels())
    file = library.adopt(tmp_path / "sent.napari-sam", image.identity())
    canvas = ArrayCanvas(np.zeros((4, 30, 40), int))
    again = Session.open(file.path, ArraySource(pixels()), FakeSegmenter(), canvas)
    keeping = Keeping(again, file)
    again.add_point(1, (10, 20))
    keeping.close()
    assert (tmp_path / "sent.napari-sam").read_bytes() == before
    assert found(library, image) == [file.path]
    assert len(library.sessions()[0].path.name) > len(".napari-sam")


@pytest.mark.skipif(sys.platform == "win32", reason="its users' folders are theirs alone")
def test_nobody_else_may_read_kept_sessions(library, tmp_path):
    work(library, ImageContent(pixels()))
    session = Session(FakeSegmenter(), ArraySource(pixels()))
    session.save(tmp_path / "sent.napari-sam")
    library.adopt(tmp_path / "sent.napari-sam", ImageContent(pixels()).identity()).close()
    assert stat.S_IMODE(library.folder.stat().st_mode) == 0o700
    for path in library.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_SAM_HOME", str(tmp_path))
    assert sessions_folder() == tmp_path / "sessions"
    monkeypatch.delenv("NAPARI_SAM_HOME")
    assert sessions_folder().name == "sessions"
    assert "napari-sam-live" in str(sessions_folder())


def test_an_empty_library_has_nothing(tmp_path):
    library = Library(tmp_path / "nothing")
    assert library.sessions() == []
    assert library.find(ImageContent(pixels())) == []
    assert not library.folder.exists()


def test_a_saved_copy_has_no_path_of_the_image(library, tmp_path):
    (tmp_path / "users-own").mkdir()
    image = saved_image(tmp_path / "users-own" / "cells.npy", pixels())
    file = library.begin(image.identity())
    session = Session(FakeSegmenter(), ArraySource(pixels()))
    keeping = Keeping(session, file, ImageFacts("cells", image.path))
    session.add_point(0, (10, 20))
    keeping.recorder.flush(20)
    keeping.save(tmp_path / "sent.napari-sam")
    keeping.close()
    sent = SessionFile.open(tmp_path / "sent.napari-sam")
    assert read_identity(sent.about["identity"]).path == ""
    sent.close()
    # the path below the session's folder is stored, since it names no folder above that
    assert str(tmp_path).encode() not in (tmp_path / "sent.napari-sam").read_bytes()
