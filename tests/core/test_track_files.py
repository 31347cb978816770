"""Movies in; labels by track, a table, and a folder of the Cell Tracking Challenge out."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.batch import track_files
from napari_sam.io import read_image, write_labels
from napari_sam.io.imports.ctc import read_ctc
from napari_sam.io.tracks import Track
from napari_sam.tracking import LinkSettings

SHAPE = (40, 60)
FRAMES = [
    disks(SHAPE, (20, 15, 8), (20, 45, 5)),
    disks(SHAPE, (20, 15, 8), (21, 46, 5)),
    disks(SHAPE, (20, 8, 6), (20, 22, 6), (22, 47, 5)),
]


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "cells.tif"
    write_labels(path, np.stack(FRAMES), "TYX", {"T": 60, "Y": 0.5, "X": 0.5}, "µm")
    return path


def numbered(frames=FRAMES) -> np.ndarray:
    """Labels of the frames, numbered from the right in every other one."""
    from scipy import ndimage

    labels = [ndimage.label(frame)[0] for frame in frames]
    return np.stack([np.where(one, 9 - one if t % 2 else one, 0) for t, one in enumerate(labels)])


def rows_of(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def labels_of(path) -> np.ndarray:
    return np.asarray(read_image(path).data)


def test_objects_of_a_movie_are_found_and_tracked(movie, tmp_path):
    out = tmp_path / "out"
    summary = track_files(ComponentSegmenter(dense=True), movie, out, ctc=True)
    assert summary.failed == ()
    labels = labels_of(out / "cells_labels.tif")
    assert np.array_equal(labels > 0, np.stack(FRAMES) > 0)
    mother, still = labels[0, 20, 15], labels[0, 20, 45]
    left, right = labels[2, 20, 8], labels[2, 20, 22]
    assert labels[1, 20, 15] == mother
    assert labels[2, 22, 47] == labels[1, 21, 46] == still
    assert len({mother, still, left, right}) == 4
    back, tracks = read_ctc(out / "cells_ctc")
    assert np.array_equal(back, labels)
    assert Track(left, 2, 2, mother) in tracks
    assert Track(mother, 0, 1) in tracks


def test_table_lists_each_track_on_each_frame(movie, tmp_path):
    track_files(ComponentSegmenter(dense=True), movie, tmp_path / "out")
    rows = rows_of(tmp_path / "out/cells_tracks.csv")
    assert len(rows) == 7
    last = next(row for row in rows if row["centroid_x"] == "4")
    assert (last["frame"], last["seconds"], last["unit"]) == ("2", "120", "µm")
    assert (last["centroid_y"], last["area"]) == ("10", "28.25")
    mother = next(row for row in rows if row["frame"] == "0" and row["centroid_x"] == "7.5")
    assert last["parent"] == mother["track"]
    assert mother["parent"] == ""
    assert read_image(tmp_path / "out/cells_labels.tif").pixel_size == pytest.approx(
        {"T": 60, "Y": 0.5, "X": 0.5}
    )


def test_given_labels_are_linked_without_a_model(movie, tmp_path):
    write_labels(tmp_path / "given.tif", numbered(), "TYX")
    track_files(None, movie, tmp_path / "out", tmp_path / "given.tif")
    labels = labels_of(tmp_path / "out/cells_labels.tif")
    assert labels[0, 20, 15] == labels[1, 20, 15]
    assert labels[0, 20, 45] == labels[1, 21, 46] == labels[2, 22, 47]


def test_labels_in_a_folder_are_found_by_name(movie, tmp_path):
    folder = tmp_path / "given"
    write_labels(folder / "cells_labels.tif", numbered(), "TYX")
    (tmp_path / "other.tif").write_bytes(movie.read_bytes())
    summary = track_files(None, [movie, tmp_path / "other.tif"], tmp_path / "out", folder)
    assert summary.done == (movie,)
    assert "labels of other.tif" in summary.failed[0].reason


@pytest.mark.parametrize("axes", ["TZYX", "ZTYX"])
def test_volumes_are_tracked(tmp_path, axes):
    volumes = np.zeros((2, 3, 20, 20), np.uint8)
    volumes[0, :2, 4:9, 4:9] = 7
    volumes[1, :2, 5:10, 4:9] = 3
    given = volumes if axes == "TZYX" else volumes.swapaxes(0, 1)
    write_labels(tmp_path / "a.tif", given, axes, {"Z": 2, "Y": 1, "X": 1}, "µm")
    write_labels(tmp_path / "labels.tif", given, axes)
    track_files(None, tmp_path / "a.tif", tmp_path / "out", tmp_path / "labels.tif")
    image = read_image(tmp_path / "out/a_labels.tif")
    assert np.array_equal(np.asarray(image.data), given > 0)
    rows = rows_of(tmp_path / "out/a_tracks.csv")
    assert [row["centroid_y"] for row in rows] == ["6", "7"]
    assert {row["volume"] for row in rows} == {"100"}
    assert {row["centroid_z"] for row in rows} == {"1"}


def test_what_is_done_is_not_done_again(movie, tmp_path):
    segmenter, out = ComponentSegmenter(dense=True), tmp_path / "out"
    track_files(segmenter, movie, out)
    seen = len(segmenter.embedded)
    assert track_files(segmenter, movie, out).skipped == (movie,)
    assert track_files(segmenter, movie, out, settings=LinkSettings(max_gap=0)).done == (movie,)
    assert len(segmenter.embedded) == 2 * seen


def test_folder_asked_for_later_is_made_of_the_labels_and_the_table_that_are_there(movie, tmp_path):
    segmenter, out = ComponentSegmenter(dense=True), tmp_path / "out"
    track_files(segmenter, movie, out)
    seen = len(segmenter.embedded)
    labels, table = labels_of(out / "cells_labels.tif"), out / "cells_tracks.csv"
    still = int(labels[0, 20, 45])
    labels[2][labels[2] == still] = 99  # edited: the track ends here
    write_labels(out / "cells_labels.tif", labels, "TYX")
    text = table.read_text("utf-8")
    left = int(labels[2, 20, 8])
    rows = [row for row in text.splitlines() if not row.startswith(f"{left},")]
    table.write_text("\n".join(rows), "utf-8")
    track_files(segmenter, movie, out, ctc=True)
    assert len(segmenter.embedded) == seen
    _, tracks = read_ctc(out / "cells_ctc")
    assert Track(99, 2, 2) in tracks
    assert Track(left, 2, 2) in tracks  # its parent was taken out of the table
    assert Track(int(labels[2, 20, 22]), 2, 2, int(labels[0, 20, 15])) in tracks


def test_table_that_is_missing_is_made_of_the_labels(movie, tmp_path):
    segmenter, out = ComponentSegmenter(dense=True), tmp_path / "out"
    track_files(segmenter, movie, out)
    text = (out / "cells_tracks.csv").read_text("utf-8")
    (out / "cells_tracks.csv").unlink()
    track_files(segmenter, movie, out)
    assert (out / "cells_tracks.csv").read_text("utf-8") == text


def test_labels_are_never_replaced_by_their_own_tracks(movie, tmp_path):
    write_labels(tmp_path / "cells_labels.tif", numbered(), "TYX")
    with pytest.raises(ValueError, match="would replace the labels that are linked"):
        track_files(None, movie, tmp_path, tmp_path)


def test_image_without_time_or_with_channels_fails_alone(movie, tmp_path):
    write_labels(tmp_path / "stack.tif", np.stack(FRAMES), "ZYX")
    write_labels(tmp_path / "two.tif", np.stack([FRAMES, FRAMES]), "CTYX")
    images = [tmp_path / "stack.tif", tmp_path / "two.tif", movie]
    summary = track_files(ComponentSegmenter(dense=True), images, tmp_path / "out")
    assert summary.done == (movie,)
    assert [one.image.name for one in summary.failed] == ["stack.tif", "two.tif"]
    assert "--axes TYX" in summary.failed[0].reason
    assert "--channel" in summary.failed[1].reason


def test_labels_of_another_shape_are_refused(movie, tmp_path):
    write_labels(tmp_path / "given.tif", numbered()[:2], "TYX")
    summary = track_files(None, movie, tmp_path / "out", tmp_path / "given.tif")
    assert "labels of the image's shape (3, 40, 60)" in summary.failed[0].reason


def test_without_a_model_and_labels_nothing_begins(movie, tmp_path):
    with pytest.raises(ValueError, match="a model, or labels"):
        track_files(None, movie, tmp_path / "out")


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def test_command_links_given_labels(movie, tmp_path):
    write_labels(tmp_path / "given.tif", numbered(), "TYX")
    given = ["--labels", tmp_path / "given.tif", "-o", tmp_path / "out"]
    result = run("track", movie, *given, "--ctc", "--no-divisions")
    assert result.exit_code == 0, result.output
    assert "1 done; labels and tables of tracks" in result.stdout
    _, tracks = read_ctc(tmp_path / "out/cells_ctc")
    assert not any(one.parent for one in tracks)
    assert "1 unchanged" in run("track", movie, *given, "--ctc", "--no-divisions").stdout


def test_command_refuses_a_reach_of_nothing(movie, tmp_path):
    result = run("track", movie, "--reach", "0", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "expected a reach of more than 0" in result.stderr
