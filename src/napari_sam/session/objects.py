"""Commands on whole objects: set their properties, delete, merge, split and renumber them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.geometry import Region, region_of
from napari_sam.patches import Patch
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.growing import grown
from napari_sam.session.journal import Change, JournalChange, Kind, ObjectFacts
from napari_sam.session.moving import facts_changes, facts_of_children, moves_of
from napari_sam.session.object_classes import ObjectClass, checked
from napari_sam.session.pixels import PixelChange
from napari_sam.session.prompt_words import ids_text
from napari_sam.session.splitting import cut_off
from napari_sam.session.state import State, Touched

_SEARCHED_AT_ONCE = 1 << 23  # pixels of labels: a few milliseconds


class Places(Protocol):
    """Where objects have pixels; None if that isn't known yet."""

    def region(self, object_id: int, plane: Plane) -> Region | None:
        """Return a rectangle around an object's pixels on a plane, empty if it has none."""
        ...

    def planes(self, object_id: int) -> Sequence[Plane] | None:
        """Return the planes on which an object has pixels."""
        ...


class Objects:
    """Commands on whole objects, each one step of the journal.

    Large labels are searched for objects in the background; an error is then passed to `failed`
    instead of raised.

    Parameters
    ----------
    state
        The state of the session.
    executor
        Runs the search of large labels.
    source
        Returns the image.
    follow
        Called with what has changed.
    failed
        Called with the exception of a command in the background.
    places
        Where objects have pixels, as far as it is known without a search; None if it never is.
    """

    def __init__(
        self,
        state: State,
        executor: Executor,
        source: Callable[[], PlaneSource],
        follow: Callable[[Touched | None], None],
        failed: Callable[[Exception], None],
        places: Places | None = None,
    ) -> None:
        self._state = state
        self._executor = executor
        self._source = source
        self._places = places
        self._follow = follow
        self._failed = failed
        self._is_closed = False

    def close(self) -> None:
        """Stop: commands whose search is still running change nothing."""
        self._is_closed = True

    def lock(self, object_ids: Iterable[int], locked: bool) -> None:
        """Lock objects or unlock them; see :meth:`napari_sam.session.Session.lock`."""
        self._set("locked", "locked" if locked else "unlocked", object_ids, locked=locked)

    def accept(self, object_ids: Iterable[int], accepted: bool | None) -> None:
        """Accept objects or not; see :meth:`napari_sam.session.Session.accept`."""
        done = {True: "accepted", False: "rejected", None: "cleared acceptance of"}
        self._set("accepted", done[accepted], object_ids, accepted=accepted)

    def set_class(self, object_ids: Iterable[int], name: str) -> None:
        """Give objects a class; see :meth:`napari_sam.session.Session.set_class`."""
        if name:
            self._class(name)
        done = f"gave class {name!r} to" if name else "took the class from"
        self._set("classified", done, object_ids, class_name=name)

    def _set(self, kind: Kind, done: str, object_ids: Iterable[int], **values: Any) -> None:
        """Set properties of objects."""
        before = {int(i): self._state.facts(int(i)) for i in object_ids}
        after = {i: replace(facts, **values) for i, facts in before.items()}
        if changes := facts_changes({i: (before[i], after[i]) for i in before}):
            ids = [change.key for change in changes]
            self._follow(self._state.commit(kind, f"{done} {ids_text(ids)}", facts=changes))

    def set_classes(self, classes: Iterable[ObjectClass]) -> None:
        """Replace the classes; see :meth:`napari_sam.session.Session.set_classes`."""
        after = checked(classes)
        names = {"", *(one.name for one in after)}
        gone = {one.name: "" for one in self._state.classes if one.name not in names}
        self._change_classes("changed the classes", after, gone)

    def rename_class(self, name: str, new: str) -> None:
        """Rename a class; see :meth:`napari_sam.session.Session.rename_class`."""
        renamed = replace(self._class(name), name=new)
        after = checked(renamed if one.name == name else one for one in self._state.classes)
        self._change_classes(f"renamed class {name!r} to {new!r}", after, {name: new})

    def _change_classes(
        self, text: str, after: tuple[ObjectClass, ...], names: Mapping[str, str]
    ) -> None:
        """Replace the classes; `names` maps names of classes to those that objects get."""
        if after == self._state.classes:
            return
        facts = {
            i: (known, replace(known, class_name=names[known.class_name]))
            for i, known in self._state.all_facts.items()
            if known.class_name in names
        }
        classes = Change("classes", self._state.classes, after)
        self._follow(
            self._state.commit("classes", text, facts=facts_changes(facts), classes=classes)
        )

    def _class(self, name: str) -> ObjectClass:
        for one in self._state.classes:
            if one.name == name:
                return one
        known = ", ".join(repr(one.name) for one in self._state.classes) or "none yet"
        raise ValueError(
            f"expected the name of a class ({known}), got {name!r}; add it to the classes first"
        )

    def delete(self, object_ids: Iterable[int], plane: Plane | None = None) -> None:
        """Delete objects as one step; see :meth:`napari_sam.session.Session.delete_object`."""
        ids = list(dict.fromkeys(object_ids))
        self._state.check_unlocked(ids)

        def done(found: Mapping[int, Sequence[Plane]]) -> None:
            everywhere = plane is None
            facts = {i: (self._state.facts(i), ObjectFacts()) for i in ids} if everywhere else {}
            if everywhere:
                facts = facts_of_children(self._state, ids, None) | facts
            self._commit(
                "deleted",
                f"deleted {ids_text(ids)}",
                pixels=self._without(found),
                facts=facts_changes(facts),
                details={"object": ids[0], "everywhere": everywhere}
                if len(ids) == 1
                else {"objects": ids, "everywhere": everywhere},
                **moves_of(self._state, {(i, at): None for i in ids for at in found[i]}),
            )

        if plane is None:
            self._with_planes_of(ids, done)
        else:
            done({i: [plane] for i in ids})

    def merge(self, object_id: int, other: int) -> None:
        """Merge two objects; see :meth:`napari_sam.session.Session.merge_objects`."""
        self._state.check_unlocked([object_id, other])
        if object_id == other:
            raise ValueError(f"expected two objects to merge, got {object_id} twice; pick another")
        text = f"merged object {other} into {object_id}"

        def found(planes: Mapping[int, Sequence[Plane]]) -> None:
            self._move(other, object_id, "merged", text, planes[other])

        self._with_planes_of([other, object_id], found)

    def renumber(self, object_id: int, new: int) -> None:
        """Give an object a free number; see :meth:`napari_sam.session.Session.renumber`."""
        self._state.check_unlocked([object_id, new])
        if object_id == new:
            return
        text = f"renumbered object {object_id} to {new}"

        def found(planes: Mapping[int, Sequence[Plane]]) -> None:
            if planes[new]:
                raise ValueError(
                    f"expected a number that no object has, got {new}; merge the two objects "
                    "instead"
                )
            self._move(object_id, new, "renumbered", text, planes[object_id])

        self._with_planes_of([object_id, new], found)

    def split(
        self, object_id: int, plane: Plane, path: Sequence[tuple[float, float]], new: int
    ) -> None:
        """Cut an object in two; see :meth:`napari_sam.session.Session.split_object`."""
        state, canvas = self._state, self._state.canvas
        state.check_unlocked([object_id, new])
        if canvas is None:
            raise ValueError("expected labels to split an object in, got none; pick some")
        region = self._around([object_id], plane)
        labels = canvas.read(plane, region)
        shown = region_of(labels == object_id)
        if shown is None:
            raise ValueError(f"expected an object on this plane, got {object_id}, which isn't here")
        labels = labels[shown]
        row, column = (a.start + b.start for a, b in zip(region, shown, strict=True))
        where = slice(row, row + labels.shape[0]), slice(column, column + labels.shape[1])
        off = cut_off(labels == object_id, [(r - row, c - column) for r, c in path])
        if off is None:
            raise ValueError(
                f"expected a stroke across object {object_id}, got one that leaves it in one "
                "piece; draw it from one side to the other"
            )
        canvas.prepare(plane, new)
        before = labels[off]
        pixels = PixelChange.of(plane, where, off, before, np.full_like(before, new))
        known = state.facts(object_id)
        known = replace(known, accepted=None, score=None, stability=None, parent=None)
        details = {
            "object": object_id,
            "into": new,
            "plane": list(plane),
            "path": [list(vertex) for vertex in path],
        }
        self._commit(
            "split",
            f"split object {object_id}",
            pixels=(pixels,),
            marks=state.marks_changes(state.ownership.by_hand([pixels])),
            facts=facts_changes({new: (state.facts(new), known)}),
            details=details,
        )

    def grow(self, object_ids: Iterable[int], plane: Plane, pixels: int) -> None:
        """Move outlines; see :meth:`napari_sam.session.Session.grow_objects`."""
        state, canvas, ids = self._state, self._state.canvas, tuple(dict.fromkeys(object_ids))
        state.check_unlocked(ids)
        if canvas is None:
            raise ValueError("expected labels to move outlines in, got none; pick some")
        erased = state.ownership.erased_on(plane)
        region = self._whole(plane)

        def done(outcome: Outcome) -> None:
            if outcome.cancelled or self._is_closed:
                return
            try:
                if outcome.error is not None:
                    raise outcome.error
                self._grown(ids, canvas, outcome.value, pixels)
            except (ValueError, OSError) as error:
                self._failed(error)

        task = partial(_changed_by_growing, canvas, plane, region, ids, pixels, erased)
        self._executor.chore(("grow", self, object()), task, done)

    def _grown(
        self, ids: Sequence[int], canvas: LabelCanvas, change: PixelChange | None, pixels: int
    ) -> None:
        state = self._state
        if change is None:
            return
        state.check_unlocked(ids)
        now = canvas.read(change.plane, change.slices)[change.where]
        if canvas is not state.canvas or (now != change.before).any():
            raise ValueError(
                "expected labels to stay what they are while outlines are moved, got others; "
                "nothing was changed, do it again"
            )
        details = {"objects": list(ids), "plane": list(change.plane), "pixels": pixels}
        self._commit(
            "grown",
            f"{'widened' if pixels > 0 else 'narrowed'} {ids_text(ids)} by {abs(pixels)} pixels",
            pixels=(change,),
            marks=state.marks_changes(state.ownership.given(change)),
            details=details,
        )

    def _move(
        self, object_id: int, into: int, kind: Kind, text: str, planes: Sequence[Plane]
    ) -> None:
        """Move an object to another number: merge it with that object if there is one."""
        state = self._state
        gone, kept = state.facts(object_id), state.facts(into)
        is_new = kind == "renumbered"
        after = gone if is_new else kept
        after = replace(after, parent=None) if after.parent == object_id else after
        facts = {object_id: (gone, ObjectFacts()), into: (kept, after)}
        facts = facts_of_children(state, [object_id], into) | facts
        self._commit(
            kind,
            text,
            pixels=self._relabelled(object_id, into, planes),
            facts=facts_changes(facts),
            objects=(state.object_id, into),
            details={"object": object_id, "into": into},
            **moves_of(state, {(object_id, plane): into for plane in planes}),
        )

    def _commit(self, kind: Kind, text: str, **values: Any) -> None:
        if any(values.get(name) for name in ("pixels", "facts", "prompts", "answers", "marks")):
            self._follow(self._state.commit(kind, text, **values))

    def _relabelled(
        self, object_id: int, number: int, planes: Sequence[Plane]
    ) -> tuple[PixelChange, ...]:
        canvas, changes = self._state.canvas, []
        if canvas is None:
            return ()
        for plane in planes:
            if number:
                canvas.prepare(plane, number)
            region = self._around([object_id], plane)
            labels = canvas.read(plane, region)
            where = labels == object_id
            if where.any():
                before = labels[where]
                after = np.full_like(before, number)
                changes.append(PixelChange.of(plane, region, where, before, after))
        return tuple(changes)

    def _without(self, found: Mapping[int, Sequence[Plane]]) -> tuple[PixelChange, ...]:
        """Return the changes that remove objects from their planes."""
        if len(found) == 1:
            ((object_id, planes),) = found.items()
            return self._relabelled(object_id, 0, planes)
        canvas, changes = self._state.canvas, []
        if canvas is None:
            return ()
        ids = np.array([*found])
        for plane in dict.fromkeys(plane for planes in found.values() for plane in planes):
            region = self._around(found, plane)
            labels = canvas.read(plane, region)
            where = np.isin(labels, ids)
            if where.any():
                before = labels[where]
                changes.append(PixelChange.of(plane, region, where, before, np.zeros_like(before)))
        return tuple(changes)

    def _around(self, object_ids: Iterable[int], plane: Plane) -> Region:
        """Return a rectangle of a plane that contains all pixels of some objects."""
        known: list[Region] = []
        for object_id in object_ids:
            region = None if self._places is None else self._places.region(object_id, plane)
            if region is None:
                return self._whole(plane)
            if region[0].stop > region[0].start:
                known.append(region)
        if not known:
            return slice(0, 0), slice(0, 0)
        (top, left), (bottom, right) = (
            [pick(getattr(region[axis], end) for region in known) for axis in (0, 1)]
            for pick, end in ((min, "start"), (max, "stop"))
        )
        return slice(top, bottom), slice(left, right)

    def _whole(self, plane: Plane) -> Region:
        height, width = self._source().plane_shape(plane)
        return slice(0, height), slice(0, width)

    def _with_planes_of(
        self, object_ids: Sequence[int], then: Callable[[dict[int, list[Plane]]], None]
    ) -> None:
        """Call `then` with all planes of each object, at once or after a search."""
        canvas = self._state.canvas
        planes = [] if canvas is None else list(canvas.planes())
        if canvas is None or not planes:
            then(self._known(object_ids, {}))
            return
        counted = {i: self._places.planes(i) for i in object_ids} if self._places else {}
        shown_on = {i: on for i, on in counted.items() if on is not None}
        if len(shown_on) == len({*object_ids}):
            then(self._known(object_ids, shown_on))
            return
        region = self._whole(planes[0])
        search = partial(_planes_with, object_ids, planes, region, canvas.read)
        if len(planes) * region[0].stop * region[1].stop <= _SEARCHED_AT_ONCE:
            then(self._known(object_ids, search(lambda fraction: None)))
            return
        meanwhile: dict[Plane, None] = {}
        is_stale = False

        def follow(change: JournalChange) -> None:
            nonlocal is_stale
            is_stale |= bool(change.undone or change.dropped) or any(
                entry.ends_undo for entry in change.added
            )
            for entry in (*change.added, *change.put_back):
                meanwhile.update(dict.fromkeys(pixels.plane for pixels in entry.pixels))

        def found(outcome: Outcome) -> None:
            self._state.journal.changed.disconnect(follow)
            if outcome.cancelled or self._is_closed:
                return
            try:
                if outcome.error is not None:
                    raise outcome.error
                self._state.check_unlocked(object_ids)
                if is_stale or canvas is not self._state.canvas:
                    self._with_planes_of(object_ids, then)
                    return
                shown = {i: dict.fromkeys(outcome.value[i]) for i in object_ids}
                for plane in meanwhile:
                    labels = canvas.read(plane, self._whole(plane))
                    for i, on in shown.items():
                        if (labels == i).any():
                            on[plane] = None
                then(self._known(object_ids, shown))
            except (ValueError, OSError) as error:
                self._failed(error)

        self._state.journal.changed.connect(follow)
        # A new key each time, so that no command replaces another one.
        self._executor.chore(("planes of", self, object()), search, found)

    def _known(
        self, object_ids: Sequence[int], shown: Mapping[int, Iterable[Plane]]
    ) -> dict[int, list[Plane]]:
        """Return the planes of objects: those with pixels, prompts or owned pixels."""
        planes = {i: dict.fromkeys(shown.get(i, ())) for i in object_ids}
        for number, plane in (
            *self._state.book.keys,
            *(key for key, _ in self._state.ownership.items()),
        ):
            if number in planes:
                planes[number][plane] = None
        return {i: list(on) for i, on in planes.items()}


def _planes_with(
    object_ids: Sequence[int],
    planes: Sequence[Plane],
    region: Region,
    read: Callable[[Plane, Region], NDArray[Any]],
    report: Report,
) -> dict[int, list[Plane]]:
    """Return the planes on which each object has pixels; reads all planes."""
    found: dict[int, list[Plane]] = {i: [] for i in object_ids}
    for i, plane in enumerate(planes):
        report(i / len(planes))
        labels = read(plane, region)
        for object_id, on in found.items():
            if (labels == object_id).any():
                on.append(plane)
    return found


def _changed_by_growing(
    canvas: LabelCanvas,
    plane: Plane,
    region: Region,
    object_ids: Sequence[int],
    pixels: int,
    erased: Sequence[Patch],
    report: Report,
) -> PixelChange | None:
    """Return the change by growing objects, without the pixels that users erased."""
    report(0.0)
    before = canvas.read(plane, region)
    after = grown(before, object_ids, pixels)
    where = before != after
    for patch in erased if pixels > 0 else ():
        where[patch.region] &= ~patch.pixels
    if not where.any():
        return None
    return PixelChange.of(plane, region, where, before[where], after[where])
