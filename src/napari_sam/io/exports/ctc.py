"""Objects over time in the format of the Cell Tracking Challenge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.io.exports.objects import ExportedObjects, Recoding, Report
from napari_sam.io.tracks import Track, format_tracks

TRACK_FILE = "res_track.txt"
_HIGHEST = np.iinfo(np.uint16).max


def write_ctc(
    objects: ExportedObjects,
    path: Path,
    report: Report | None = None,
    parents: Mapping[int, int] | None = None,
) -> None:
    """Write a folder as the challenge takes results: ``mask000.tif``, ..., ``res_track.txt``.

    Each frame is a 16-bit label image; along ``Z`` it is a volume. ``res_track.txt`` has a line
    ``L B E P`` for each track: label, first and last frame, parent. As the challenge has no gaps in
    tracks, an object that is missing on some frames goes on as another track whose parent is the
    part before. Labels are kept where all fit into 16 bits, otherwise tracks are numbered from 1.

    Parameters
    ----------
    objects
        The objects. Without an axis ``T`` they are those of a single frame.
    path
        The folder; an existing one is replaced.
    report
        Called with the finished fraction; it may raise an exception to cancel.
    parents
        Label of each object's parent, where it is known; by default those of the records, as far
        as the parent is exported, too, and ends before the object begins.

    Raises
    ------
    ValueError
        If there are axes other than T and Z before Y and X, or more tracks than 16 bits can
        number, or if a parent is missing or lies on a frame of its child or later.
    OSError
        If it can't be written.

    References
    ----------
    Maška et al., *Nature Methods* 20 (2023), doi:10.1038/s41592-023-01879-y.
    """
    if set(objects.plane_axes) - set("TZ"):
        raise ValueError(
            f"expected objects over time with axes T, Z, Y and X for the format ctc, got "
            f"{objects.axes}; take one channel"
        )
    seen = _frames_seen(objects, report)
    tracks, numbers = _tracks(seen, _parents(objects, seen) if parents is None else parents)
    by_frame: dict[int, dict[int, int]] = {}
    for (label, begin, end), number in numbers.items():
        for frame in range(begin, end + 1):
            by_frame.setdefault(frame, {})[label] = number
    count = _length(objects, "T")
    with replaced(path) as temporary:
        temporary.mkdir()
        for frame in range(count):
            recode = Recoding(by_frame.get(frame, {}))
            _write_frame(temporary / frame_name(frame, count), objects, frame, recode)
            if report is not None:
                report(0.5 + (frame + 1) / count / 2)
        (temporary / TRACK_FILE).write_text(format_tracks(tracks))


def _parents(objects: ExportedObjects, seen: Mapping[int, list[int]]) -> dict[int, int]:
    """Return the recorded parents of objects, as far as they end on earlier frames."""
    parents = {label: objects.record(label).parent for label in seen}
    return {
        label: parent
        for label, parent in parents.items()
        if parent in seen and seen[parent][-1] < seen[label][0]
    }


def frame_name(frame: int, count: int) -> str:
    """Return the name of a frame's file: three digits, or four of more than 1,000 frames.

    Examples
    --------
    >>> frame_name(7, 1000), frame_name(7, 1001)
    ('mask007.tif', 'mask0007.tif')
    """
    return f"mask{frame:0{max(3, len(str(count - 1)))}}.tif"


def _frames_seen(objects: ExportedObjects, report: Report | None) -> dict[int, list[int]]:
    """Return the frames that each object is on, in order; reads all labels."""
    half = None if report is None else lambda fraction: report(fraction / 2)
    seen: dict[int, set[int]] = {}
    for index, labels in objects.planes(half):
        frame = objects.place(index).get("t", 0)
        for label in np.unique(labels[labels > 0]).tolist():
            seen.setdefault(label, set()).add(frame)
    return {label: sorted(seen[label]) for label in sorted(seen)}


def _tracks(
    seen: Mapping[int, list[int]], parents: Mapping[int, int]
) -> tuple[list[Track], dict[tuple[int, int, int], int]]:
    """Return tracks without gaps, and their numbers by label, first and last frame."""
    runs = {label: list(_runs(frames)) for label, frames in seen.items()}
    count = sum(map(len, runs.values()))
    if count > _HIGHEST:
        raise ValueError(f"expected at most {_HIGHEST:,} tracks for the format ctc, got {count:,}")
    highest = max(runs, default=0)
    keep = highest + count - len(runs) <= _HIGHEST
    parts = [(label, *first) for label, (first, *_) in runs.items()]
    parts += [(label, *run) for label, (_, *later) in runs.items() for run in later]
    taken = [*runs, *range(highest + 1, highest + 1 + count - len(runs))]
    numbers = dict(zip(parts, taken if keep else range(1, count + 1), strict=True))
    tracks = []
    for label, its_runs in runs.items():
        parent = 0
        if ancestor := parents.get(label, 0):
            if ancestor not in runs or runs[ancestor][-1][1] >= its_runs[0][0]:
                raise ValueError(
                    f"expected the parent {ancestor} of object {label} on frames before "
                    f"{its_runs[0][0]} only, where the object begins"
                )
            parent = numbers[ancestor, *runs[ancestor][-1]]
        for begin, end in its_runs:
            number = numbers[label, begin, end]
            tracks.append(Track(number, begin, end, parent))
            parent = number
    return sorted(tracks, key=lambda one: one.label), numbers


def _runs(frames: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of frames that follow on each other."""
    begin = end = -2
    for frame in frames:
        if frame != end + 1:
            if end >= 0:
                yield begin, end
            begin = frame
        end = frame
    if end >= 0:
        yield begin, end


def _write_frame(path: Path, objects: ExportedObjects, frame: int, recode: Recoding) -> None:
    import tifffile

    depth = _length(objects, "Z")

    def planes() -> Iterator[NDArray[Any]]:
        for z in range(depth):
            at = {"T": frame, "Z": z}
            labels = objects.plane(tuple(at[axis] for axis in objects.plane_axes))
            yield recode(labels).astype(np.uint16)

    shape = ((depth,) if "Z" in objects.plane_axes else ()) + objects.plane_shape
    tifffile.imwrite(
        path,
        data=planes(),
        shape=shape,
        dtype=np.uint16,
        photometric="minisblack",
        compression="zlib",
        maxworkers=1,
    )


def _length(objects: ExportedObjects, axis: str) -> int:
    at = objects.plane_axes.find(axis)
    return 1 if at < 0 else objects.stack_shape[at]
