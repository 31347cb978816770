"""Importing objects of a file into the background of the labels, as one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Executor, Report
from napari_sam.io.exports import ClassRecord, ObjectRecord
from napari_sam.io.imports import ImportedObjects
from napari_sam.planes import PlaneSource
from napari_sam.session.background_edit import BackgroundEdit
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.journal import Change, ObjectFacts
from napari_sam.session.object_classes import ObjectClass
from napari_sam.session.pixels import PixelChange
from napari_sam.session.state import State, Touched

ReadObjects = Callable[[Report], ImportedObjects]
"""Reads a file; it may be slow, and is called in a background thread."""

_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""For classes without a colour: the palette of Okabe and Ito, which suits colour-blind users."""


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """The objects that are written.

    Parameters
    ----------
    pixels
        The changes of pixels.
    facts
        The properties of each object that gets pixels.
    classes
        All classes of the file.
    lost
        Number of objects that get none of their pixels, and of those that get only some, because
        existing labels cover them.
    highest
        The highest number.
    notes
        Messages about differences from the file.
    """

    pixels: tuple[PixelChange, ...]
    facts: Mapping[int, ObjectFacts]
    classes: tuple[ClassRecord, ...]
    lost: tuple[int, int]
    highest: int
    notes: tuple[str, ...]


class Imports(BackgroundEdit):
    """Imports objects of files, which are read in the background.

    Parameters
    ----------
    state
        The state of the session.
    executor
        Reads the files.
    source
        Returns the image.
    highest
        Returns the highest number of an object, as far as it is known.
    written
        Called with what has changed, and the highest number.
    failed
        Called with the exception if objects can't be imported.
    """

    def __init__(
        self,
        state: State,
        executor: Executor,
        source: Callable[[], PlaneSource],
        highest: Callable[[], int],
        written: Callable[[Touched | None, int], None],
        failed: Callable[[Exception], None],
    ) -> None:
        super().__init__(state, executor, failed)
        self._source, self._highest, self._written = source, highest, written

    def begin(self, read: ReadObjects, name: str) -> None:
        """Start an import; see :meth:`napari_sam.session.Session.import_objects`."""

        def task(canvas: LabelCanvas) -> Callable[[Report], Decided]:
            return partial(_decide, canvas, self._source(), read, self._highest())

        self.decide(
            ("import objects", self, object()),  # a new key, so that no file replaces another
            task,
            lambda decided: self._write(decided, name),
            f"expected labels that stay as they are while {name} is read, got changes; pause, and "
            "open it again",
        )

    def _write(self, decided: Decided, name: str) -> None:
        state = self._state
        if not decided.pixels:
            raise ValueError(
                f"expected objects on free pixels of the labels in {name}, got none; nothing has "
                "changed"
            )
        canvas = state.canvas
        assert canvas is not None, "pixels without labels"
        for change in decided.pixels:
            canvas.prepare(change.plane, decided.highest)
        known = {one.name for one in state.classes}
        new = [one for one in decided.classes if one.name not in known]
        classes = (*state.classes, *_classes(new, len(known)))
        count = len(decided.facts)
        touched = state.commit(
            "imported",
            f"imported {count} object{'s' if count > 1 else ''} from {name}",
            pixels=decided.pixels,
            facts=tuple(Change(i, state.facts(i), known) for i, known in decided.facts.items()),
            classes=Change("classes", state.classes, classes) if new else None,
        )
        self._written(touched, decided.highest)
        if decided.notes and touched is not None:
            state.noticed.emit(f"{name}: {'; '.join(decided.notes)}")
        if touched is not None and any(decided.lost):
            gone, cut = decided.lost
            state.noticed.emit(
                f"Labels that were there kept their pixels: {gone} objects of {name} were left "
                f"out, {cut} are smaller than in the file"
            )


def _decide(
    canvas: LabelCanvas, source: PlaneSource, read: ReadObjects, highest: int, report: Report
) -> Decided:
    found = read(report)
    above = max(highest, canvas.highest(report))
    pixels: list[PixelChange] = []
    wanted: dict[int, int] = {}  # pixels by number
    got: dict[int, int] = {}
    for index, labels in found.planes(report):
        plane = source.plane_of(index)
        region = slice(0, labels.shape[0]), slice(0, labels.shape[1])
        now = canvas.read(plane, region)
        where = (labels > 0) & (now == 0)
        _count(wanted, labels[labels > 0])
        if where.any():
            after = labels[where].astype(np.int64) + above
            _count(got, after - above)
            before = np.zeros(len(after), now.dtype)
            pixels.append(PixelChange.of(plane, region, where, before, _narrow(after, now.dtype)))
    facts = {i + above: _facts(found.records.get(i), above) for i in got}
    lost = len(wanted) - len(got), sum(got[i] < wanted[i] for i in got)
    highest = max(facts, default=0)
    return Decided(tuple(pixels), facts, found.classes, lost, highest, tuple(found.notes))


def _count(counts: dict[int, int], numbers: NDArray[Any]) -> None:
    found, times = np.unique(numbers, return_counts=True)
    for number, count in zip(found.tolist(), times.tolist(), strict=True):
        counts[number] = counts.get(number, 0) + count


def _narrow(numbers: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers in the labels' type, if it can hold them."""
    return numbers.astype(dtype) if numbers.max() <= np.iinfo(dtype).max else numbers


def _facts(record: ObjectRecord | None, above: int) -> ObjectFacts:
    """Return the properties of an object of a file; numbers of objects are shifted by `above`."""
    if record is None:
        return ObjectFacts(origin="imported")
    return ObjectFacts(
        locked=record.state == "locked",
        origin="imported",
        class_name=record.class_name,
        accepted=True if record.state in ("accepted", "locked") else None,
        score=record.score,
        parent=record.parent + above if record.parent else None,
    )


def _classes(new: Iterable[ClassRecord], count: int) -> list[ObjectClass]:
    return [
        ObjectClass(one.name, one.colour or _COLOURS[(count + i) % len(_COLOURS)])
        for i, one in enumerate(new)
    ]
