"""A session as its file has it: what holds, what can be made again, and what labels show."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Region
from napari_sam.io.session_file import Content, Json, SessionFile, SessionFileError
from napari_sam.planes import ArraySource, Plane, PlaneSource, extends
from napari_sam.prompts import GRANULARITIES, Granularity
from napari_sam.session.canvas import ArrayCanvas, LabelCanvas, Write
from napari_sam.session.entry_records import Reading, labels_of
from napari_sam.session.journal import Entry
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.model_use import UsedModel, used_models
from napari_sam.session.pixels import PixelChange

_LARGEST_PLANE = 2**32  # pixels, of an image that isn't at hand
_LARGEST_SCRATCH = 2**30  # labels that are put together where planes cross each other


@dataclass(frozen=True, slots=True, eq=False)
class PlaneLabels:
    """What labels show on a plane, as far as it is known.

    Parameters
    ----------
    plane, region
        Where.
    values
        `(h, w)` labels of the region.
    known
        `(h, w)`; whether a pixel's label is known.
    """

    plane: Plane
    region: Region
    values: NDArray[np.integer[Any]]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SavedSession:
    """What a session file holds, read for one image.

    Parameters
    ----------
    path
        The file.
    about
        What it tells of image, models, versions and settings.
    entries
        Those in force, in order.
    undone
        Those that can be made again, in groups that go together; the last is the next.
    labels
        What the labels show, plane by plane.
    next_prompt
        Identifier of the next prompt, above all that the entries have.
    last_number
        Number of the last entry.
    models
        The models that answered, by their keys, as far as the file tells them.
    """

    path: Path
    about: Mapping[str, Json]
    entries: tuple[Entry, ...]
    undone: tuple[tuple[Entry, ...], ...]
    labels: tuple[PlaneLabels, ...]
    next_prompt: int
    last_number: int
    models: Mapping[str, UsedModel] = field(default_factory=dict)

    @property
    def holding(self) -> tuple[Entry, ...]:
        """The entries that made the labels what they are: those after the last other labels."""
        ends = [i for i, entry in enumerate(self.entries) if entry.ends_undo]
        return self.entries[ends[-1] + 1 if ends else 0 :]

    @property
    def object_id(self) -> int:
        """The object that was current."""
        told = _settings(self.about).get("object")
        last = self.entries[-1].objects[1] if self.entries else 1
        return told if type(told) is int and 1 <= told < 2**64 else last

    @property
    def model(self) -> UsedModel | None:
        """The model that answered last; None where the file tells of none."""
        told = self.about.get("model")
        return self.models.get(told.get("key", "")) if isinstance(told, dict) else None

    @property
    def rules(self) -> MaskRules:
        """How masks were written."""
        try:
            return MaskRules.of_words(_settings(self.about))
        except (ValueError, TypeError):  # of a version that knows others
            return MaskRules()

    @property
    def granularity(self) -> Granularity | Literal[""]:
        """Which mask of an object's first click was taken: the model's best where it is empty."""
        told = _settings(self.about).get("granularity")
        return next((one for one in GRANULARITIES if one == told), "")

    @property
    def highest_label(self) -> int:
        """The highest number that labels show; 0 if none."""
        return max((int(one.values.max(initial=0)) for one in self.labels), default=0)


def read_session(path: str | Path, source: PlaneSource) -> SavedSession:
    """Read a session for an image. May be slow, and may be called on any thread.

    Parameters
    ----------
    path
        The file; it is only read.
    source
        The image that the session is of; it may have grown.

    Raises
    ------
    SessionFileError
        If the file is no session, is damaged or of a newer version, or of another image.
    OSError
        If it can't be opened.
    """
    with _no_collections():
        file = SessionFile.open(path)
        try:
            about, content = file.about, file.read()
        finally:
            file.close()
        try:
            check_image(about, source)
            return _saved(Path(path), about, content, source)
        except SessionFileError as error:
            raise SessionFileError(f"{path}: {error}") from error


@contextmanager
def _no_collections() -> Iterator[None]:
    """Collect no garbage: of many thousand new things that all stay, each search is in vain."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_without_image(path: str | Path) -> SavedSession:
    """Read a session without its image, of which the shape is told in the file.

    Raises
    ------
    SessionFileError
        If the file is no session, or is damaged or of a newer version.
    OSError
        If it can't be opened.
    """
    file = SessionFile.open(path)
    try:
        about = file.about
    finally:
        file.close()
    try:
        source = stand_in(about)
    except SessionFileError as error:
        raise SessionFileError(f"{path}: {error}") from error
    return read_session(path, source)


def check_image(about: Mapping[str, Json], source: PlaneSource) -> None:
    """Refuse an image that isn't of the shape of a session's, with more planes at most.

    Raises
    ------
    SessionFileError
        If it is another.
    """
    image = about.get("image")
    image = image if isinstance(image, dict) else {}
    shape, spanned = _lengths(image.get("shape")), _lengths(image.get("spanned"))
    if shape is None or spanned is None or len(spanned) != 2:
        raise SessionFileError(
            "expected a session that tells the shape of its image, got none; it is damaged; use "
            "another copy"
        )
    if not extends(source.shape, shape, (spanned[0], spanned[1])):
        raise SessionFileError(
            f"expected the image of the session, of shape {shape}, got one of "
            f"{source.shape}; open the session on its own image"
        )


def write_labels(saved: SavedSession, canvas: LabelCanvas, fill: bool) -> list[PixelChange]:
    """Have labels show what a session says, without touching what others put there.

    Parameters
    ----------
    saved
        The session.
    canvas
        The labels.
    fill
        Whether labels that are 0 wherever the session knows them on a plane are filled. Others
        are only compared.

    Returns
    -------
    different
        Pixels that show something else than the session says, from the one to the other.

    Raises
    ------
    OSError
        If labels can't be read or written; they are as they were.
    ValueError, MemoryError
        If they can't hold the session's numbers, or lack its planes.
    """
    writes, different = [], []
    for one in saved.labels:
        if fill:
            canvas.prepare(one.plane, int(one.values.max(initial=0)))
        now = canvas.read(one.plane, one.region)
        where = one.known & (now != one.values)
        if not where.any():
            continue
        if fill and not now[one.known].any():
            values = one.values[where].astype(now.dtype)
            writes.append(Write(one.plane, one.region, where, values))
        else:
            expected = one.values[where].astype(now.dtype)
            different.append(PixelChange.of(one.plane, one.region, where, expected, now[where]))
    if writes:
        canvas.write(writes)
    return different


def canvas_for(saved: SavedSession, source: PlaneSource) -> ArrayCanvas:
    """Return new labels, in memory, that can hold what a session's labels show."""
    types = [one.values.dtype for one in saved.labels]
    found = np.result_type(np.int32, *types)
    dtype = found if found.kind in "iu" else np.dtype(np.uint64)
    return ArrayCanvas(np.zeros(source.shape, dtype), source.channel_axis, source.spanned)


def _settings(about: Mapping[str, Json]) -> Mapping[str, Json]:
    told = about.get("settings")
    return told if isinstance(told, dict) else {}


def stand_in(about: Mapping[str, Json]) -> PlaneSource:
    """Return an image as large as a session's, whose pixels take no memory.

    Raises
    ------
    SessionFileError
        If the session doesn't tell what its image is.
    """
    image = about.get("image")
    image = image if isinstance(image, dict) else {}
    shape, spanned = _lengths(image.get("shape")), _lengths(image.get("spanned"))
    channel_axis = image.get("channel_axis")
    told = f"shape {shape}, planes along the axes {spanned}, colours along {channel_axis}"
    try:
        if shape is None or spanned is None or not 2 <= len(shape) <= 32:
            raise ValueError("it is damaged")
        first, second = spanned
        if first == second or shape[first] * shape[second] > _LARGEST_PLANE:
            raise ValueError(f"planes have up to {_LARGEST_PLANE} pixels")
        if channel_axis is not None and not 0 <= channel_axis < len(shape):
            raise ValueError("it is damaged")
        pixels = np.broadcast_to(np.zeros((), np.uint8), shape)
        return ArraySource(pixels, displayed=(first, second), channel_axis=channel_axis)
    except (ValueError, TypeError, IndexError) as error:
        raise SessionFileError(
            f"expected a session that tells what its image is, got {told}: {error}; use another "
            "copy"
        ) from error


def _lengths(value: Json) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
        return None
    return tuple(value)


def _saved(
    path: Path, about: Mapping[str, Json], content: Content, source: PlaneSource
) -> SavedSession:
    reading = Reading(lambda plane: source.plane_shape(source.plane_of(plane)))
    entries = {record.number: reading.read(record) for record in content.entries}
    in_force = tuple(entries[number] for number in content.in_force)
    groups: list[list[Entry]] = []
    for number in content.undone:
        if entries[number].is_step or not groups:
            groups.append([])
        groups[-1].append(entries[number])
    return SavedSession(
        path,
        about,
        in_force,
        tuple(map(tuple, groups)),
        _labels(about, content, entries, in_force, source),
        _next_prompt(about, entries.values()),
        max(entries, default=0),
        used_models(about, content.models),
    )


def _next_prompt(about: Mapping[str, Json], entries: Iterable[Entry]) -> int:
    told = _settings(about).get("next_prompt")
    highest = max((p.id for entry in entries for p in _prompts(entry)), default=0)
    return max(highest + 1, told if type(told) is int and told < 2**53 else 1)


def _prompts(entry: Entry) -> Iterable[Any]:
    for change in entry.prompts:
        yield from change.after.members[-2:]  # the latest ones: identifiers ascend
        yield from change.before.members[-2:]


def _labels(
    about: Mapping[str, Json],
    content: Content,
    entries: Mapping[int, Entry],
    in_force: Sequence[Entry],
    source: PlaneSource,
) -> tuple[PlaneLabels, ...]:
    """Return what labels show: what was there before, and what entries in force made of it.

    Where only entries were that hold no longer, that is what the first of them found there.
    """
    barriers = [i for i, entry in enumerate(in_force) if entry.ends_undo]
    holding = in_force[barriers[-1] + 1 if barriers else 0 :]
    since = in_force[barriers[-1]].number if barriers else 0
    told = about.get("labels")
    if isinstance(told, dict) and type(told.get("since")) is int:
        since = max(since, told["since"])
    held = {entry.number for entry in holding}
    gone = [e for n, e in sorted(entries.items()) if n > since and n not in held]
    changes = [c for entry in reversed(gone) for c in reversed(entry.pixels)]
    backwards = [(c, False) for c in changes]
    forwards = [(c, True) for entry in holding for c in entry.pixels]
    before = {
        record.plane: labels_of(record, source.plane_shape(source.plane_of(record.plane)))
        for record in content.planes
        if record.entry == since
    }
    steps = [*backwards, *forwards]
    planes = {change.plane for change, _ in steps} | before.keys()
    if len({tuple(i is None for i in plane) for plane in planes}) > 1:
        return _crossing(before, steps, source)
    return tuple(
        _plane_labels(plane, before.get(plane), grouped)
        for plane, grouped in _by_plane(planes, steps).items()
    )


_Step = tuple[PixelChange, bool]  # a change, and whether it is made or taken back


def _by_plane(planes: Iterable[Plane], steps: Sequence[_Step]) -> dict[Plane, list[_Step]]:
    grouped: dict[Plane, list[_Step]] = {plane: [] for plane in planes}
    for step in steps:
        grouped[step[0].plane].append(step)
    return grouped


def _plane_labels(
    plane: Plane, before: NDArray[np.integer[Any]] | None, steps: Sequence[_Step]
) -> PlaneLabels:
    regions = [change.region for change, _ in steps]
    if before is not None:
        regions.append((0, 0, *before.shape))
    top, left = min(r[0] for r in regions), min(r[1] for r in regions)
    bottom, right = max(r[0] + r[2] for r in regions), max(r[1] + r[3] for r in regions)
    values = np.zeros((bottom - top, right - left), _dtype_of(before, steps))
    known = np.zeros(values.shape, bool)
    if before is not None:
        values[:], known[:] = before, True
    for change, is_made in steps:
        row, column, height, width = change.region
        at = slice(row - top, row - top + height), slice(column - left, column - left + width)
        where = change.where
        values[at][where] = change.after if is_made else change.before
        known[at] |= where
    return PlaneLabels(plane, (slice(top, bottom), slice(left, right)), values, known)


def _dtype_of(before: NDArray[np.integer[Any]] | None, steps: Sequence[_Step]) -> np.dtype[Any]:
    """Return a type of integers that holds every label."""
    types = {np.dtype(change.new.dtype) for change, _ in steps}
    types |= {np.dtype(change.old.dtype) for change, _ in steps}
    if before is not None:
        types.add(before.dtype)
    found = np.result_type(*types)
    return found if found.kind in "iu" else np.dtype(np.uint64)  # of int64 and uint64


def _crossing(
    before: Mapping[Plane, NDArray[np.integer[Any]]], steps: Sequence[_Step], source: PlaneSource
) -> tuple[PlaneLabels, ...]:
    """Return the labels of planes that share pixels with each other."""
    everything = _dtype_of(None, steps) if steps else np.dtype(np.int32)
    for labels in before.values():
        everything = np.result_type(everything, labels.dtype)
    dtype = everything if everything.kind in "iu" else np.dtype(np.uint64)
    shape = source.shape
    if int(np.prod(shape)) * dtype.itemsize > _LARGEST_SCRATCH:
        raise SessionFileError(
            f"expected labels that fit into memory, got a session on crossing planes of an image "
            f"of shape {source.shape}; replay it plane by plane"
        )
    values, known = np.zeros(shape, dtype), np.zeros(shape, bool)
    for plane, labels in before.items():
        at = tuple(slice(None) if i is None else i for i in plane)
        values[at], known[at] = labels, True
    for change, is_made in steps:
        spans = iter(change.slices)
        at = tuple(next(spans) if i is None else i for i in change.plane)
        where = change.where
        part = values[at]
        part[where] = change.after if is_made else change.before
        known[at] |= where
    return tuple(_sliced(values, known, source))


def _sliced(
    values: NDArray[Any], known: NDArray[np.bool_], source: PlaneSource
) -> Iterable[PlaneLabels]:
    lengths = [1 if axis in source.spanned else n for axis, n in enumerate(values.shape)]
    for index in np.ndindex(*lengths):
        plane = tuple(None if axis in source.spanned else i for axis, i in enumerate(index))
        at = tuple(slice(None) if i is None else i for i in plane)
        if known[at].any():
            height, width = values[at].shape
            region = slice(0, height), slice(0, width)
            yield PlaneLabels(plane, region, values[at], known[at])
