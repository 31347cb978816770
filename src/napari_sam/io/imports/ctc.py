"""Labels over time as the Cell Tracking Challenge tells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import reading
from napari_sam.io.tracks import Track, parse_tracks

_NAMES = (("res_track.txt", "mask"), ("man_track.txt", "man_track"))


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
    told = {(t, one.label) for one in tracks for t in range(one.begin, one.end + 1)}
    if different := sorted(there ^ told):
        frame, label = different[0]
        where = "in the tracks only" if (frame, label) in told else "in the labels only"
        raise ValueError(f"expected labels as the tracks say, got {label} on frame {frame} {where}")
