"""Finding the objects of one large plane, which are written while the rest is searched."""

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

_LEAST_LEFT = 0.5  # fraction of an object that must be free for it to be written


def goes_by_parts(
    segmenter: Segmenter,
    source: PlaneSource,
    planes: Sequence[Plane],
    settings: Mapping[str, Any],
    post_processing: PostProcessing,
) -> bool:
    """Whether objects can be written part by part: on one plane larger than the model's input.

    Post-processing needs all objects, and so does a search by text or boxes.
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
    """An object that later parts of the search can't change.

    Parameters
    ----------
    patch
        Its pixels, which no other object has.
    score, stability
        Predicted IoU, and IoU of its masks at a slightly higher and a slightly lower threshold.
    """

    patch: Patch
    score: float
    stability: float


@dataclass(frozen=True, slots=True, eq=False)
class FoundPart:
    """The objects that were found since the previous part.

    Parameters
    ----------
    objects
        The objects, the highest score first.
    done, count
        Number of squares of the plane that are searched, and of all.
    """

    objects: tuple[FoundObject, ...]
    done: int
    count: int


class PlaneParts:
    """Finds the objects of a plane in another thread, which appends to :attr:`parts`.

    Parameters
    ----------
    segmenter, source, plane, settings
        As for :func:`~napari_sam.session.found.find_plane`.

    Attributes
    ----------
    parts
        The parts found so far, which don't change any more.
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
        """The model's input of the plane, as words; empty before the plane was read."""
        return {} if self._read is None else self._read[2].words()

    def find(self, report: Report) -> None:
        """Search the plane; after a cancel it starts again and adds the missing parts."""
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
    """Write objects into the background where the user erased nothing, and record an entry.

    Parameters
    ----------
    state
        The state of the session.
    plane, objects
        The plane, and the objects on it.
    highest
        The highest number of any object; these objects get the following numbers.
    details
        Of the entry.

    Returns
    -------
    touched, highest
        What has changed, None if labels could not be written or there was nothing to write; and
        the highest number afterwards.

    Raises
    ------
    OSError, ValueError, MemoryError
        If labels can't be read, or can't hold the numbers.
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
        fits = label <= np.iinfo(here.dtype).max  # else the canvas gets a wider type, or fails
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
        found_text(len(facts)),
        pixels=tuple(pixels),
        marks=state.marks_changes(marks),
        facts=tuple(facts),
        objects=(current, label + 1 if is_taken else current),
        details=dict(details),
    )
    return touched, label


def found_text(count: int) -> str:
    """Return the description of an entry that found some objects."""
    return f"found {count} object{'' if count == 1 else 's'}"


def folded_parts(entries: Sequence[Entry], number: int, details: Mapping[str, Any]) -> Entry:
    """Return consecutive parts of a run as one entry."""
    facts = tuple(change for entry in entries for change in entry.facts)
    return replace(
        entries[0],
        number=number,
        text=found_text(len(facts)),
        pixels=tuple(change for entry in entries for change in entry.pixels),
        marks=tuple(change for entry in entries for change in entry.marks),
        planes=tuple(change for entry in entries for change in entry.planes),
        facts=facts,
        objects=(entries[0].objects[0], entries[-1].objects[1]),
        details=dict(details),
    )
