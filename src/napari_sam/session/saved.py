"""Reading a session file: its journal, what can be redone, and the labels it describes."""

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
from napari_sam.session.entry_records import EntryReader, labels_of
from napari_sam.session.journal import Entry
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.model_use import UsedModel, used_models
from napari_sam.session.pixels import PixelChange

_LARGEST_PLANE = 2**32  # pixels, of an image that isn't available
_LARGEST_SCRATCH = 2**30  # bytes of labels that are assembled if planes cross each other


@dataclass(frozen=True, slots=True, eq=False)
class PlaneLabels:
    """The labels of a plane, as far as a session file determines them.

    Parameters
    ----------
    plane
        The plane: for every axis its index, or None for the two that it spans.
    region
        (rows, columns) of a rectangle, as slices.
    values
        `(h, w)` labels of the rectangle.
    known
        `(h, w)` bool; whether the label of a pixel is known.
    """

    plane: Plane
    region: Region
    values: NDArray[np.integer[Any]]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SavedSession:
    """The contents of a session file, as :func:`read_session` returns them.

    Parameters
    ----------
    path
        The file.
    about
        The stored properties of the image, the models, the versions and the settings, as JSON.
    entries
        The journal entries in force, in order.
    undone
        The entries that can be redone, one tuple for each step; the last is redone first.
    labels
        The labels of each plane.
    next_prompt
        Identifier for the next prompt, higher than all in the entries.
    last_number
        Number of the last journal entry.
    models
        The models that were used, by model key, as far as the file describes them.
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
        """The entries in force since the labels were last replaced."""
        ends = [i for i, entry in enumerate(self.entries) if entry.ends_undo]
        return self.entries[ends[-1] + 1 if ends else 0 :]

    @property
    def object_id(self) -> int:
        """The current object when the session was saved."""
        stored = _settings(self.about).get("object")
        last = self.entries[-1].objects[1] if self.entries else 1
        return stored if type(stored) is int and 1 <= stored < 2**64 else last

    @property
    def model(self) -> UsedModel | None:
        """The model that was used last; None if the file doesn't name one."""
        stored = self.about.get("model")
        return self.models.get(stored.get("key", "")) if isinstance(stored, dict) else None

    @property
    def rules(self) -> MaskRules:
        """The rules by which masks were written: overlap and post-processing."""
        try:
            return MaskRules.of_words(_settings(self.about))
        except (ValueError, TypeError):  # of a version with other rules
            return MaskRules()

    @property
    def granularity(self) -> Granularity | Literal[""]:
        """The candidate mask that later objects take; empty for the model's best."""
        stored = _settings(self.about).get("granularity")
        return next((one for one in GRANULARITIES if one == stored), "")

    @property
    def highest_label(self) -> int:
        """The highest number in the labels; 0 if they are empty."""
        return max((int(one.values.max(initial=0)) for one in self.labels), default=0)


def read_session(path: str | Path, source: PlaneSource) -> SavedSession:
    """Read the file of a session. This may be slow, and may be called in any thread.

    Parameters
    ----------
    path
        The file; it is only read.
    source
        The image of the session; it may have more planes than when the session was saved.

    Returns
    -------
    saved
        The contents, for :meth:`Session.restore`.

    Raises
    ------
    SessionFileError
        If the file is not a session, is damaged, was written by a newer version, or belongs to
        another image.
    OSError
        If the file can't be opened.
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
    """Disable garbage collection: all of the many thousand new objects stay alive."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_without_image(path: str | Path) -> SavedSession:
    """Read the file of a session without its image, whose shape is stored in the file.

    Raises
    ------
    SessionFileError
        If the file is not a session, is damaged or was written by a newer version.
    OSError
        If the file can't be opened.
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
    """Check that an image has the shape of a session's image; it may have more planes.

    Raises
    ------
    SessionFileError
        If it has another shape.
    """
    image = about.get("image")
    image = image if isinstance(image, dict) else {}
    shape, spanned = _lengths(image.get("shape")), _lengths(image.get("spanned"))
    if shape is None or spanned is None or len(spanned) != 2:
        raise SessionFileError(
            "expected a session that states the shape of its image, got none; it is damaged; use "
            "another copy"
        )
    if not extends(source.shape, shape, (spanned[0], spanned[1])):
        raise SessionFileError(
            f"expected the image of the session, of shape {shape}, got one of "
            f"{source.shape}; open the session on its own image"
        )


def write_labels(saved: SavedSession, canvas: LabelCanvas, fill: bool) -> list[PixelChange]:
    """Write the labels of a session into empty planes of a canvas, and compare the others.

    Parameters
    ----------
    saved
        The session.
    canvas
        The labels.
    fill
        Whether to write planes whose labels are 0 at all pixels that the session knows. The other
        planes are only compared.

    Returns
    -------
    different
        The pixels whose labels differ, as changes from the session's labels to the canvas's.

    Raises
    ------
    OSError
        If labels can't be read or written; they are unchanged then.
    ValueError, MemoryError
        If the canvas can't hold the session's numbers, or lacks some of its planes.
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
    """Return new, empty labels in memory that can hold the labels of a session."""
    types = [one.values.dtype for one in saved.labels]
    found = np.result_type(np.int32, *types)
    dtype = found if found.kind in "iu" else np.dtype(np.uint64)
    return ArrayCanvas(np.zeros(source.shape, dtype), source.channel_axis, source.spanned)


def _settings(about: Mapping[str, Json]) -> Mapping[str, Json]:
    stored = about.get("settings")
    return stored if isinstance(stored, dict) else {}


def stand_in(about: Mapping[str, Json]) -> PlaneSource:
    """Return an image of the shape of a session's image, whose pixels take no memory.

    Raises
    ------
    SessionFileError
        If the session doesn't describe its image.
    """
    image = about.get("image")
    image = image if isinstance(image, dict) else {}
    shape, spanned = _lengths(image.get("shape")), _lengths(image.get("spanned"))
    channel_axis = image.get("channel_axis")
    stored = f"shape {shape}, planes along the axes {spanned}, colours along {channel_axis}"
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
            f"expected a session that states what its image is, got {stored}: {error}; use another "
            "copy"
        ) from error


def _lengths(value: Json) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
        return None
    return tuple(value)


def _saved(
    path: Path, about: Mapping[str, Json], content: Content, source: PlaneSource
) -> SavedSession:
    reader = EntryReader(lambda plane: source.plane_shape(source.plane_of(plane)))
    entries = {record.number: reader.read(record) for record in content.entries}
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
    stored = _settings(about).get("next_prompt")
    highest = max((p.id for entry in entries for p in _prompts(entry)), default=0)
    return max(highest + 1, stored if type(stored) is int and stored < 2**53 else 1)


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
    """Return the labels after the entries in force, from the stored labels before them.

    Pixels that only undone entries changed have the value before the first of these.
    """
    barriers = [i for i, entry in enumerate(in_force) if entry.ends_undo]
    holding = in_force[barriers[-1] + 1 if barriers else 0 :]
    since = in_force[barriers[-1]].number if barriers else 0
    stored = about.get("labels")
    if isinstance(stored, dict) and type(stored.get("since")) is int:
        since = max(since, stored["since"])
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


_Step = tuple[PixelChange, bool]  # a change, and whether it is applied or reverted


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
