"""Objects over time leave in the Cell Tracking Challenge's format, and come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_sam.batch import export_sessions, import_session
from napari_sam.io import write_labels
from napari_sam.io.exports import (
    FORMATS,
    ExportedObjects,
    ObjectRecord,
    check_target,
    write_export,
)
from napari_sam.io.exports.ctc import frame_name, write_ctc
from napari_sam.io.image_file import UnreadableImageError
from napari_sam.io.imports import ImportTarget, holds_objects, read_objects
from napari_sam.io.imports.ctc import read_ctc
from napari_sam.io.tracks import Track, format_tracks, parse_tracks


def movie(frames: list[dict[int, int]], dtype: type = np.int32) -> np.ndarray:
    """Return labels `(T, 8, 20)` with a block at a column for each label of a frame."""
    labels = np.zeros((len(frames), 8, 20), dtype)
    for plane, frame in zip(labels, frames, strict=True):
        for label, column in frame.items():
            plane[2:6, column : column + 3] = label
    return labels


DIVIDING = [{1: 0, 5: 12}, {1: 1, 5: 12}, {2: 0, 3: 5}, {2: 0, 3: 6, 5: 12}]


def test_labels_and_parents_come_back(tmp_path):
    labels = movie(DIVIDING[:3])
    write_ctc(ExportedObjects(labels, "TYX"), tmp_path / "a", parents={2: 1, 3: 1})
    back, tracks = read_ctc(tmp_path / "a")
    np.testing.assert_array_equal(back, labels)
    assert tracks == (Track(1, 0, 1), Track(2, 2, 2, 1), Track(3, 2, 2, 1), Track(5, 0, 1))
    frames = sorted((tmp_path / "a").glob("*.tif"))
    assert [one.name for one in frames] == ["mask000.tif", "mask001.tif", "mask002.tif"]
    assert {tifffile.imread(one).dtype for one in frames} == {np.dtype(np.uint16)}


def test_an_object_goes_on_behind_a_gap_as_a_child(tmp_path):
    write_ctc(ExportedObjects(movie(DIVIDING), "TYX"), tmp_path / "a", parents={2: 1, 3: 1})
    back, tracks = read_ctc(tmp_path / "a")
    assert Track(5, 0, 1) in tracks
    assert Track(6, 3, 3, 5) in tracks
    np.testing.assert_array_equal(back[3] == 6, movie(DIVIDING)[3] == 5)


def test_children_of_an_object_with_a_gap_descend_from_its_last_part(tmp_path):
    frames = [{1: 0}, {}, {1: 0}, {2: 0, 3: 5}]
    write_ctc(ExportedObjects(movie(frames), "TYX"), tmp_path / "a", parents={2: 1, 3: 1})
    _, tracks = read_ctc(tmp_path / "a")
    assert tracks == (Track(1, 0, 0), Track(2, 3, 3, 4), Track(3, 3, 3, 4), Track(4, 2, 2, 1))


def test_numbers_beyond_16_bits_are_given_anew(tmp_path):
    labels = movie([{7: 0, 70000: 12}, {7: 0, 70000: 12}])
    write_ctc(ExportedObjects(labels, "TYX"), tmp_path / "a")
    back, tracks = read_ctc(tmp_path / "a")
    assert tracks == (Track(1, 0, 1), Track(2, 0, 1))
    np.testing.assert_array_equal(back == 2, labels == 70000)


def test_frames_sort_by_name():
    for count in (2, 1000, 1001):
        names = [frame_name(frame, count) for frame in range(count)]
        assert names == sorted(names)


@pytest.mark.parametrize("axes", ["TZYX", "ZTYX"])
def test_volumes_are_written_frame_by_frame(tmp_path, axes):
    volumes = np.zeros((3, 2, 6, 7), np.uint16)
    volumes[:, 1, 1:4, 1:4] = 9
    volumes[1:, 0, 5, 5] = 4
    given = volumes if axes == "TZYX" else volumes.swapaxes(0, 1)
    write_ctc(ExportedObjects(given, axes), tmp_path / "a")
    back, tracks = read_ctc(tmp_path / "a")
    np.testing.assert_array_equal(back, volumes)
    assert tracks == (Track(4, 1, 2), Track(9, 0, 2))


def test_only_what_leaves_is_written(tmp_path):
    objects = ExportedObjects(movie(DIVIDING), "TYX", only=frozenset({1}))
    write_export(FORMATS["ctc"], [objects], tmp_path / "a")
    assert read_ctc(tmp_path / "a")[1] == (Track(1, 0, 1),)


def test_a_folder_with_other_things_is_left(tmp_path):
    (tmp_path / "objects.csv").write_text("of cut-outs")
    with pytest.raises(FileExistsError, match="other things"):
        check_target(FORMATS["ctc"], tmp_path, overwrite=True)


def test_a_parent_that_goes_on_beside_its_child_is_refused(tmp_path):
    objects = ExportedObjects(movie(DIVIDING), "TYX")
    with pytest.raises(ValueError, match="parent 5 of object 2"):
        write_ctc(objects, tmp_path / "a", parents={2: 5})
    with pytest.raises(ValueError, match="parent 8 of object 2"):
        write_ctc(objects, tmp_path / "a", parents={2: 8})
    assert not list(tmp_path.iterdir())


def test_channels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="take one channel"):
        write_ctc(ExportedObjects(np.zeros((2, 2, 4, 4), int), "TCYX"), tmp_path / "a")


def test_tracks_are_read_as_they_are_spelled():
    tracks = (Track(1, 0, 4), Track(2, 5, 9, 1))
    assert parse_tracks(format_tracks(tracks)) == tracks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 0 4", "four whole numbers"),
        ("1 0 4 x", "four whole numbers"),
        ("1 0 4 0\n1 5 6 0", "1 again in line 2"),
        ("1 4 0 0", "to end no earlier"),
        ("1 0 4 1", "another one"),
        ("1 0 4 0\n2 4 6 1", "ends before"),
        ("2 4 6 1", "parent 1"),
    ],
)
def test_damaged_tracks_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_tracks(text)


def test_labels_without_a_track_are_refused(tmp_path):
    write_ctc(ExportedObjects(movie(DIVIDING), "TYX"), tmp_path / "a")
    (tmp_path / "a" / "res_track.txt").write_text("1 0 1 0\n")
    with pytest.raises(UnreadableImageError, match="5 on frame 0 in the labels only"):
        read_ctc(tmp_path / "a")
    (tmp_path / "a" / "mask001.tif").unlink()
    with pytest.raises(UnreadableImageError, match="some are missing"):
        read_ctc(tmp_path / "a")


def brought(path, shape, axes="TYX"):
    messages: list[str] = []
    found = read_objects(path, ImportTarget(axes, shape), messages.append)
    labels = np.zeros(shape, np.int32)
    for index, plane in found.planes(None):
        labels[index] = plane
    return labels, {i: one.parent for i, one in found.records.items()}


@pytest.mark.parametrize("name", ["a", "a/res_track.txt"])
def test_what_left_as_tracks_comes_back_with_gaps_and_parents(tmp_path, name):
    labels = movie(DIVIDING)
    write_ctc(ExportedObjects(labels, "TYX"), tmp_path / "a", parents={2: 1, 3: 1})
    assert holds_objects(tmp_path / name)
    back, parents = brought(tmp_path / name, labels.shape)
    np.testing.assert_array_equal(back, labels)
    assert parents == {2: 1, 3: 1}


def test_tracks_of_another_image_are_refused(tmp_path):
    write_ctc(ExportedObjects(movie(DIVIDING), "TYX"), tmp_path / "a")
    with pytest.raises(ValueError, match=r"labels of the image's shape \(3, 8, 20\)"):
        brought(tmp_path / "a", (3, 8, 20))
    assert not holds_objects(tmp_path)


def test_parents_of_records_leave_where_they_are_on_frames_before(tmp_path):
    records = {
        2: ObjectRecord(2, parent=1),
        3: ObjectRecord(3, parent=1),
        5: ObjectRecord(5, parent=1),
    }
    write_ctc(ExportedObjects(movie(DIVIDING[:3]), "TYX", records=records), tmp_path / "a")
    _, tracks = read_ctc(tmp_path / "a")
    assert {one.label: one.parent for one in tracks} == {1: 0, 2: 1, 3: 1, 5: 0}


def test_a_session_keeps_the_parents_of_a_file(tmp_path):
    labels = movie(DIVIDING)
    write_ctc(ExportedObjects(labels, "TYX"), tmp_path / "a", parents={2: 1, 3: 1})
    write_labels(tmp_path / "cells.tif", (labels > 0).astype(np.uint8), "TYX")
    image, session = tmp_path / "cells.tif", tmp_path / "cells.napari-sam"
    assert import_session(tmp_path / "a", image, session) == 4
    export_sessions([session], "ctc", tmp_path / "b")
    for name in ("res_track.txt", "mask003.tif"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
