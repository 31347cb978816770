"""Objects of one large plane, written part by part while the rest is searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Report
from napari_sam.patches import Patch, cut
from napari_sam.planes import Plane, PlaneSource
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import Change, Entry, ObjectFacts
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import PixelChange
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.state import State, Touched

if TYPE_CHECKING:
    from napari_sam.automask import PlanePart
    from napari_sam.image import Limits
    from napari_sam.plane_input import PlaneInput

_LEAST_LEFT = 0.5  # share of an object that must be free for it to be written


def goes_by_parts(
    segmenter: Segmenter,
    source: PlaneSource,
    planes: Sequence[Plane],
    settings: Mapping[str, Any],
    post_processing: PostProcessing,
) -> bool:
    """Whether objects are known part by part: of one plane that is larger than the model sees.

    What is done to masks afterwards needs all of them.
    """
    is_proposed = segmenter.traits.way(settings.get("proposals")) == "head"
    return (
        len(planes) == 1
        and is_proposed
        and not any(settings.get(name) for name in ("text", "boxes"))
        and post_processing.is_off
        and max(source.plane_shape(planes[0])) > segmenter.traits.input_size
    )


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """An object that nothing still to come can change.

    Parameters
    ----------
    patch
        Its pixels; no other object that was found has any of them.
    score, stability
        Predicted IoU, and agreement of its masks cut a little above and below the threshold.
    """

    patch: Patch
    score: float
    stability: float


@dataclass(frozen=True, slots=True, eq=False)
class FoundPart:
    """What is known since the part before.

    Parameters
    ----------
    objects
        The highest score first.
    done, count
        How many squares of the plane are searched, of how many.
    """

    objects: tuple[FoundObject, ...]
    done: int
    count: int


class PlaneParts:
    """Finds the objects of a plane on another thread, where :attr:`parts` grows.

    Parameters
    ----------
    segmenter, source, plane, settings
        As of :func:`~napari_sam.session.found.find_plane`.

    Attributes
    ----------
    parts
        What was found so far; a part never changes.
    """

    def __init__(
        self, segmenter: Segmenter, source: PlaneSource, plane: Plane, settings: Mapping[str, Any]
    ) -> None:
        self._segmenter, self._source = segmenter, source
        self.plane, self._settings = plane, settings
        self.parts: list[FoundPart] = []
        self._read: tuple[NDArray[Any], Limits | None, PlaneInput] | None = None

    @property
    def given(self) -> dict[str, str]:
        """What the model was given of the plane, in words; empty before it was read."""
        return {} if self._read is None else self._read[2].words()

    def find(self, report: Report) -> None:
        """Search the plane; one that was stopped begins anew and adds what is missing."""
        from napari_sam.automask import Placement, generate_masks

        report(0.0)
        if self._read is None:
            self._read = self._source.read_described(self.plane)
        pixels, limits, _ = self._read
        placement, count = Placement((pixels.shape[0], pixels.shape[1])), 0

        def take(part: PlanePart) -> None:
            nonlocal count
            objects = tuple(
                FoundObject(cut(own, one.box[:2]), *np.clip((one.score, one.stability), 0, 1))
                for one, own in placement.place(part.objects)
            )
            count += 1
            if count > len(self.parts):
                self.parts.append(FoundPart(objects, part.done, part.count))

        generate_masks(self._segmenter, pixels, limits, report, take, **self._settings)


def write_objects(
    state: State,
    plane: Plane,
    objects: Sequence[FoundObject],
    highest: int,
    details: Mapping[str, Any],
) -> tuple[Touched | None, int]:
    """Write objects where nothing is yet, and nobody has erased anything; record it.

    Parameters
    ----------
    state
        What is changed.
    plane, objects
        Where they are.
    highest
        The highest number that anything has; objects get the following ones.
    details
        Of the entry.

    Returns
    -------
    touched, highest
        None if labels refused it, or nothing was left to write; and the highest number then.

    Raises
    ------
    OSError, ValueError, MemoryError
        If labels can't be read, or don't take the numbers.
    """
    canvas, erased = state.canvas, state.ownership.erased_on(plane)
    assert canvas is not None, "objects are written into labels"
    canvas.prepare(plane, highest + len(objects))
    pixels: list[PixelChange] = []
    marks: dict[ObjectPlane, Marks] = {}
    facts: list[Change[int, ObjectFacts]] = []
    label, read = highest, state.read(plane)
    for one in objects:
        region = one.patch.region
        here = read(region)
        free = one.patch.pixels & (here == 0)
        for patch in erased:
            free &= ~patch.within(region)
        if np.count_nonzero(free) < max(1, _LEAST_LEFT * one.patch.area):
            continue
        label += 1
        before = here[free]
        fits = label <= np.iinfo(here.dtype).max  # otherwise labels get a wider type, or refuse
        after = np.full(len(before), label, here.dtype if fits else np.uint64)
        pixels.append(PixelChange.of(plane, region, free, before, after))
        marks[label, plane] = Marks(cut(free, one.patch.origin))
        known = ObjectFacts(False, "found", "", None, one.score, one.stability)
        facts.append(Change(label, state.facts(label), known))
    if not pixels:
        return None, highest
    current = state.object_id
    is_taken = highest < current <= label and current not in state.book.object_ids
    touched = state.commit(
        "found",
        told_found(len(facts)),
        pixels=tuple(pixels),
        marks=state.marks_changes(marks),
        facts=tuple(facts),
        objects=(current, label + 1 if is_taken else current),
        details=dict(details),
    )
    return touched, label


def told_found(count: int) -> str:
    """Say how many objects were found."""
    return f"found {count} object{'' if count == 1 else 's'}"


def folded_parts(entries: Sequence[Entry], number: int, details: Mapping[str, Any]) -> Entry:
    """Return parts of a run that follow each other as one entry."""
    facts = tuple(change for entry in entries for change in entry.facts)
    return replace(
        entries[0],
        number=number,
        text=told_found(len(facts)),
        pixels=tuple(change for entry in entries for change in entry.pixels),
        marks=tuple(change for entry in entries for change in entry.marks),
        planes=tuple(change for entry in entries for change in entry.planes),
        facts=facts,
        objects=(entries[0].objects[0], entries[-1].objects[1]),
        details=dict(details),
    )
