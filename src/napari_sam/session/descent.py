"""Divisions: which object descends from which."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_sam.planes import Plane
from napari_sam.session.journal import ObjectFacts
from napari_sam.session.linked import LinkConstraints, LinkRequest
from napari_sam.session.moving import facts_changes, moves_of
from napari_sam.session.objects import Objects
from napari_sam.session.pixels import PixelChange
from napari_sam.session.relinking import commit_linked, linked


class Descent(Objects):
    """Commands about divisions, each one step of the journal."""

    def divide(
        self, parent: int, daughters: Sequence[int], axis: int, frame: int, new: int
    ) -> None:
        """Confirm a division; see :meth:`napari_sam.session.Session.confirm_division`.

        Parameters
        ----------
        parent, daughters, axis, frame
            As for that method.
        new
            The new number of a daughter that has the parent's number.
        """
        ids = list(dict.fromkeys((parent, *daughters)))
        self._state.check_unlocked(ids)
        known_facts = self._state.all_facts.items()
        children = [i for i, known in known_facts if known.parent == parent and i not in ids]

        def found(planes: Mapping[int, Sequence[Plane]]) -> None:
            later = _check(parent, daughters, frame, axis, planes)
            state = self._state
            facts: dict[int, tuple[ObjectFacts, ObjectFacts]] = {}
            for daughter in daughters:
                known = state.facts(daughter)
                if daughter != parent:
                    facts[daughter] = known, replace(known, parent=parent)
                else:
                    facts[new] = state.facts(new), replace(known, parent=parent)
                    for child in children:  # later daughters of the one that is renumbered
                        before = state.facts(child)
                        if min((p[axis] or 0 for p in planes[child]), default=-1) > frame:
                            facts[child] = before, replace(before, parent=new)
            pixels: tuple[PixelChange, ...] = ()
            details: dict[str, Any] = {
                "object": parent,
                "axis": axis,
                "frame": frame,
                "confirmed": True,
            }
            details |= {"daughters": [int(i) for i in daughters]}
            if later:
                pixels = self._relabelled(parent, new, later)
                details["into"] = new
            self._commit(
                "divided",
                f"confirmed that object {parent} divides",
                pixels=pixels,
                facts=facts_changes(facts),
                details=details,
                **moves_of(state, {(parent, plane): new for plane in later}),
            )

        self._with_planes_of([*ids, *children], found)

    def deny(self, parent: int, daughters: Collection[int]) -> None:
        """Record that objects have no parent; see ``Session.reject_division``."""
        before = {i: self._state.facts(i) for i in daughters if i != parent}
        changes = {i: (known, replace(known, parent=0)) for i, known in before.items()}
        self._commit(
            "divided",
            f"rejected a division of object {parent}",
            facts=facts_changes(changes),
            details={"object": parent, "daughters": sorted(before), "confirmed": False},
        )

    def link(self, request: LinkRequest, above: int) -> None:
        """Link objects over time again, at once; new numbers are above a known one."""
        canvas = self._state.canvas
        if canvas is None:
            return
        constraints = LinkConstraints.of(self._state)
        found = linked(canvas, self._source(), request, constraints, lambda fraction: None, above)
        if found.pixels:
            self._follow(commit_linked(self._state, found))


def _check(
    parent: int,
    daughters: Sequence[int],
    frame: int,
    axis: int,
    planes: Mapping[int, Sequence[Plane]],
) -> list[Plane]:
    """Check the frames of a division; return the planes on which a daughter is renumbered."""
    on = {i: sorted({p[axis] or 0 for p in found}) for i, found in planes.items()}
    if not on[parent] or on[parent][0] >= frame:
        raise ValueError(
            f"expected object {parent} on frames before {frame}, where it divides, got "
            f"{_frames(on[parent])}"
        )
    for daughter in daughters:
        later = [t for t in on[daughter] if t >= frame]
        if not later or (daughter != parent and later != on[daughter]):
            raise ValueError(
                f"expected daughter {daughter} from frame {frame} on, where object {parent} "
                f"divides, got it on {_frames(on[daughter])}"
            )
    if parent not in daughters and on[parent][-1] >= frame:
        raise ValueError(
            f"expected object {parent} to end before frame {frame}, where it divides, got it on "
            f"{_frames(on[parent])}; name it as a daughter where it goes on in one"
        )
    return [p for p in planes[parent] if (p[axis] or 0) >= frame]


def _frames(on: Sequence[int]) -> str:
    return f"frames {on[0]} to {on[-1]}" if on else "none"
