"""Labels over time in the format of the Cell Tracking Challenge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.exports.objects import ObjectRecord, Recoding
from napari_sam.io.image_file import ImageFile, reading
from napari_sam.io.imports.label_images import objects_of_labels
from napari_sam.io.imports.objects import ImportedObjects, ImportTarget
from napari_sam.io.tracks import Track, parse_tracks

_NAMES = (("res_track.txt", "mask"), ("man_track.txt", "man_track"))
TRACK_FILES = tuple(table for table, _ in _NAMES)
"""Names of the files with the tracks of a folder."""


def folder_of_tracks(path: Path) -> Path | None:
    """Return the folder of the challenge that a path names, itself or by its file of tracks."""
    if path.name in TRACK_FILES and path.is_file():
        return path.parent
    is_folder = path.is_dir() and any((path / name).is_file() for name in TRACK_FILES)
    return path if is_folder else None


def read_ctc_objects(folder: Path, target: ImportTarget) -> ImportedObjects:
    """Read the objects of an image from a folder of the challenge, with their parents.

    A track that goes on behind a gap is the same object, as it was when it was written.

    Parameters
    ----------
    folder
        As of :func:`read_ctc`.
    target
        The image, with time along ``T``, or along the one axis that it has.

    Raises
    ------
    UnreadableImageError, FileNotFoundError
        As of :func:`read_ctc`.
    ValueError
        If it is of another image.
    """
    labels, tracks = read_ctc(folder)
    same = _continued(tracks)
    numbers = {one.label: same.get(one.label, one.label) for one in tracks}
    objects = Recoding(numbers)(labels).astype(labels.dtype)
    records = {
        numbers[one.label]: ObjectRecord(one.label, parent=numbers[one.parent])
        for one in tracks
        if one.parent and one.label not in same
    }
    axes = "TYX" if labels.ndim == 3 else "TZYX"
    return objects_of_labels(ImageFile(objects, axes), folder, target, records)


def _continued(tracks: tuple[Track, ...]) -> dict[int, int]:
    """Return the object that each track after a gap continues, by the track's label."""
    by_label = {one.label: one for one in tracks}
    children: dict[int, list[Track]] = {}
    for one in tracks:
        if one.parent:
            children.setdefault(one.parent, []).append(one)
    same: dict[int, int] = {}
    for one in sorted(tracks, key=lambda track: track.begin):
        is_alone = one.parent and children[one.parent] == [one]
        if is_alone and one.begin > by_label[one.parent].end + 1:
            same[one.label] = same.get(one.parent, one.parent)
    return same


def read_ctc(folder: Path) -> tuple[NDArray[Any], tuple[Track, ...]]:
    """Read results (``mask*.tif``) or a reference (``man_track*.tif``) of the challenge.

    Parameters
    ----------
    folder
        With the label images and ``res_track.txt`` or ``man_track.txt``.

    Returns
    -------
    labels
        `(T, H, W)` or `(T, Z, H, W)`.
    tracks
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        If the folder has no tracks, or none of their frames.
    UnreadableImageError
        If a file is damaged, a frame is missing or of another shape, or the tracks are not those
        of the labels.
    """
    import tifffile

    there = [names for names in _NAMES if (folder / names[0]).is_file()]
    if not there:
        raise FileNotFoundError(
            f"expected res_track.txt or man_track.txt in {folder}, found neither"
        )
    table, stem = there[0]
    paths = sorted(folder.glob(f"{stem}[0-9]*.tif"), key=lambda path: _number(path, stem))
    if not paths:
        raise FileNotFoundError(f"expected frames {stem}000.tif, ... in {folder}, found none")
    with reading(folder):
        tracks = parse_tracks((folder / table).read_text())
        if [_number(path, stem) for path in paths] != list(range(len(paths))):
            raise ValueError(f"expected the frames 0 to {len(paths) - 1}, some are missing")
        labels = np.stack([tifffile.imread(path) for path in paths])
        _check(labels, tracks)
    return labels, tracks


def _number(path: Path, stem: str) -> int:
    return int(path.stem.removeprefix(stem))


def _check(labels: NDArray[Any], tracks: tuple[Track, ...]) -> None:
    there = {(t, int(i)) for t, frame in enumerate(labels) for i in np.unique(frame) if i}
    tracked = {(t, one.label) for one in tracks for t in range(one.begin, one.end + 1)}
    if different := sorted(there ^ tracked):
        frame, label = different[0]
        where = "in the tracks only" if (frame, label) in tracked else "in the labels only"
        raise ValueError(f"expected labels as the tracks say, got {label} on frame {frame} {where}")
