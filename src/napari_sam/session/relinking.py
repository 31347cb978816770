"""Linking the objects of a movie, so that each track has one number, as one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from napari_sam.engine import Executor, Report
from napari_sam.planes import PlaneSource
from napari_sam.session.background_edit import BackgroundEdit
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.changed_frames import LinkCheck, Since, frames_changed
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import UNKNOWN, Change, ObjectFacts, PlaneFacts
from napari_sam.session.linked import LinkConstraints, Linked, LinkRequest, linked_anew
from napari_sam.session.linked_around import extents_of, linked_around
from napari_sam.session.moving import facts_changes, permuted
from napari_sam.session.object_index import Extents
from napari_sam.session.state import State, Touched


class Relinking(BackgroundEdit):
    """Links the objects of labels over time, in the background.

    Parameters
    ----------
    state
        The state of the session.
    executor
        Runs the linking.
    source
        Returns the image.
    highest
        Returns the highest number of an object, as far as it is known.
    places
        Returns the extents of objects, as :meth:`ObjectTable.all_extents` does.
    written
        Called with what has changed, and the highest number.
    notify
        Called with a message for the user about the outcome.
    failed
        Called with the exception if objects can't be linked.
    """

    def __init__(
        self,
        state: State,
        executor: Executor,
        source: Callable[[], PlaneSource],
        highest: Callable[[], int],
        places: Callable[[], Extents | None],
        written: Callable[[Touched | None, int], None],
        notify: Callable[[str], None],
        failed: Callable[[Exception], None],
    ) -> None:
        super().__init__(state, executor, failed)
        self._source, self._highest, self._places = source, highest, places
        self._written, self._notify = written, notify
        self._check: LinkCheck | None = None

    def begin(self, request: LinkRequest, everything: bool) -> None:
        """Start linking; see :meth:`napari_sam.session.Session.link_objects`."""
        if self._state.canvas is None:
            raise ValueError("expected labels whose objects are linked, got none")

        def task(canvas: LabelCanvas) -> Callable[[Report], Linked]:
            since = None
            if not everything:
                since = Since.of(self._state.journal.entries, request, self._check)
            constraints, above = LinkConstraints.of(self._state), self._highest()
            if since is None:
                return partial(linked, canvas, self._source(), request, constraints, highest=above)
            places = self._places()
            return partial(
                _linked_since,
                canvas,
                self._source(),
                request,
                since,
                places,
                constraints,
                highest=above,
            )

        self.decide(
            ("link objects", self),
            task,
            self._write,
            "expected labels that stay as they are while they are linked, got changes; pause, and "
            "link them again",
        )

    def _write(self, found: Linked) -> None:
        if not found.pixels:
            asked = replace(found.request, frames=None, within=None)
            self._check = LinkCheck(asked, found.within, self._state.journal.position)
            self._notify("Every object has one number on all frames already")
            return
        touched = commit_linked(self._state, found)
        self._written(touched, found.highest)
        if touched is not None:
            where = "" if found.request.frames is None else ", around what has changed"
            self._notify(f"{found.count} objects linked over time{where}; Ctrl+Z takes it back")


def linked(
    canvas: LabelCanvas,
    source: PlaneSource,
    request: LinkRequest,
    constraints: LinkConstraints,
    report: Report,
    highest: int,
    places: Extents | None = None,
) -> Linked:
    """Link the objects of all frames, or around some, and decide which numbers they get.

    If the labels differ from the known extents, because another program has changed them, all
    frames are linked.

    Parameters
    ----------
    canvas, source
        The labels, and the image.
    request
        What is linked.
    constraints
        Locked objects, and confirmed divisions.
    report
        Called with the fraction (0-1) that is done.
    highest
        The highest number of an object, as far as it is known.
    places
        The extents of objects, if they are known; not needed to link all frames.
    """
    if request.frames is not None:
        known = extents_of(canvas, source, report) if places is None else places
        found = linked_around(canvas, source, request, constraints, known, report, highest)
        if found is not None:
            return found
        request = replace(request, frames=None, within=None)
    return linked_anew(canvas, source, request, constraints, report, highest)


def _linked_since(
    canvas: LabelCanvas,
    source: PlaneSource,
    request: LinkRequest,
    since: Since,
    places: Extents | None,
    constraints: LinkConstraints,
    report: Report,
    highest: int,
) -> Linked:
    """Link the objects around the frames that changed since they were linked."""
    known = extents_of(canvas, source, report) if places is None else places
    frames = tuple(sorted(frames_changed(since, request.axis, known, constraints.locked)))
    request = replace(request, frames=frames, within=since.within)
    return linked(canvas, source, request, constraints, report, highest, known)


def commit_linked(state: State, found: Linked) -> Touched | None:
    """Write the new numbers, and move prompts and properties of the objects with them."""
    axis, canvas = found.request.axis, state.canvas
    if canvas is not None:
        for change in found.pixels:
            canvas.prepare(change.plane, found.highest)
    keys = {*state.book.keys, *(key for key, _ in state.ownership.items())}
    moves = {
        (label, plane): found.numbers[plane[axis] or 0, label]
        for label, plane in keys
        if (plane[axis] or 0, label) in found.numbers
    }
    facts = {i: (state.facts(i), after) for i, after in _facts_after(state, found).items()}
    return state.commit(
        "linked",
        f"linked {found.count} objects over time",
        pixels=found.pixels,
        facts=facts_changes(facts),
        planes=tuple(_known_changes(state, axis, found)),
        details={**found.request.words(), "above": found.above, "within": found.within},
        **permuted(state, moves),
    )


_NEVER = 1 << 62  # after all frames: the first frame of an object without pixels


def _facts_after(state: State, found: Linked) -> dict[int, ObjectFacts]:
    """Return the properties of objects after linking; parents get the numbers of their tracks.

    An object that doesn't begin a track on its first frame loses its parent.
    """
    begins: dict[int, int] = {}
    for label, frames in found.on.items():
        for frame in frames:
            number = found.number(label, frame)
            begins[number] = min(begins.get(number, frame), frame)
    after = {new: replace(state.facts(old), parent=None) for new, old in found.origins.items()}
    after |= dict.fromkeys(found.gone, ObjectFacts())
    children = {i: facts for i, facts in state.all_facts.items() if facts.parent is not None}
    for child, facts in children.items():
        after.setdefault(child, replace(facts, parent=None))
    for child, facts in children.items():
        first = found.on.get(child, (_NEVER,))[0]
        number, parent = found.number(child, first), facts.parent
        if parent:
            frames = found.on.get(parent, ())
            last = max((t for t in frames if t < first), default=None)
            parent = parent if last is None else found.number(parent, last)
        if number != parent and begins.get(number, first) == first:
            after[number] = replace(after.get(number, state.facts(number)), parent=parent)
    return after


def _known_changes(
    state: State, axis: int, found: Linked
) -> Iterator[Change[ObjectPlane, PlaneFacts]]:
    """Yield the changes of properties on single planes, which move with the objects."""
    after: dict[ObjectPlane, PlaneFacts] = {}
    for (label, plane), facts in state.known.items():
        number = found.number(label, plane[axis] or 0)
        if number != label:
            after[number, plane] = facts
        if number != label or label in found.gone:
            after.setdefault((label, plane), UNKNOWN)
    for key, facts in after.items():
        if (before := state.known.of(key)) != facts:
            yield Change(key, before, facts)
