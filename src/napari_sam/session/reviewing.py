"""Reviewing the planes through which an object was followed: accept, end, continue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from napari_sam.patches import Patch
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import Change, Entry, PlaneFacts
from napari_sam.session.known_planes import Line
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import PixelChange
from napari_sam.session.state import State, Touched


class Reviewing:
    """Commands about single planes of an object, each one step of the journal.

    Parameters
    ----------
    state
        The state of the session.
    anchoring
        Finds the planes on which objects are known.
    """

    def __init__(self, state: State, anchoring: Anchoring) -> None:
        self._state = state
        self._anchoring = anchoring

    def accept(self, key: ObjectPlane) -> Touched | None:
        """Accept a mask; see :meth:`napari_sam.session.Session.accept_plane`."""
        facts = self._state.known.of(key)
        if facts.quality is None:
            has_mask = self._state.results.answer(key) is not None or self._has_pixels(key)
            if not has_mask:
                raise ValueError(
                    f"expected an object with a mask on this plane, got {key[0]}, which has none; "
                    "follow it, or click it first"
                )
        text = f"accepted object {key[0]} on a plane"
        return self._commit({key: replace(facts, verdict="right")}, text)

    def stop(self, key: ObjectPlane, line: Line) -> Touched | None:
        """End an object before a plane; see :meth:`napari_sam.session.Session.stop_here`."""
        object_id, plane = key
        at = line.index(plane)
        assert at is not None, "the plane lies on the line"
        known = self._anchoring.known(object_id, line)
        if known.get(at) is not None:
            raise ValueError(
                f"expected a plane that object {object_id} was carried to, got one where it is "
                "known; delete it there instead"
            )
        below = [z for z, where in known.items() if z < at and where is not None]
        above = [z for z, where in known.items() if z > at and where is not None]
        is_end = not (below and above)
        gone = {at}
        for other, facts in self._state.known.planes(object_id).items():
            index = line.index(other)
            if index is None or facts.quality is None or not is_end:
                continue
            if self._anchoring.is_carried(object_id, other, line.axis) and (
                index > at if below else index < at
            ):
                gone.add(index)
        after = {(object_id, line.at(z)): PlaneFacts() for z in gone}
        after[key] = PlaneFacts(verdict="not here")
        last = object_id, line.at(at - 1 if below else at + 1)
        facts = self._state.known.of(last)
        if is_end and facts.is_carried and not facts.verdict:  # the end is between these two planes
            after[last] = replace(facts, verdict="here")
        return self._commit(after, f"ended object {object_id}", settled=is_end)

    def go_on(self, key: ObjectPlane, line: Line, count: int) -> Touched | None:
        """Continue an object beyond its end; see :meth:`napari_sam.session.Session.go_on`."""
        object_id, plane = key
        at = line.index(plane)
        assert at is not None, "the plane lies on the line"
        there = {
            *(z for z, where in self._anchoring.known(object_id, line).items() if where),
            *(
                z
                for other, facts in self._state.known.planes(object_id).items()
                if facts.quality is not None and (z := line.index(other)) is not None
            ),
        }
        if not there:
            raise ValueError(f"expected an object with masks, got {object_id}; click it first")
        if at in there:
            ends = [z for z in (at + 1, at - 1) if z not in there and 0 <= z < count]
            if not ends:
                raise ValueError(
                    f"expected the last plane of object {object_id}, or one beyond it, got one "
                    "within; go to its end first"
                )
            forced = ends if len(there) == 1 else ends[:1]
        else:
            nearest = min(there, key=lambda z: (abs(z - at), z))
            forced = list(range(nearest + 1, at + 1)) or list(range(at, nearest))
        known = self._state.known
        after = {}
        for z in forced:
            one = object_id, line.at(z)
            after[one] = replace(known.of(one), verdict="here")
        return self._commit(after, f"followed object {object_id} beyond its end")

    def again(self, entry: Entry) -> None:
        """Apply the verdicts of an entry again, to the masks as they are now."""
        known, after = self._state.known, {}
        for change in entry.planes:
            facts = change.after
            if facts.quality is not None or facts.verdict == "right":
                facts = replace(known.of(change.key), verdict=facts.verdict)
            after[change.key] = facts
        self._commit(after, entry.text, bool(entry.details.get("settled")))

    def _has_pixels(self, key: ObjectPlane) -> bool:
        region = self._anchoring.places.region(*key)
        return region is not None and region[0].stop > region[0].start

    def _commit(
        self, after: Mapping[ObjectPlane, PlaneFacts], text: str, settled: bool = False
    ) -> Touched | None:
        """Set properties of planes; followed masks are removed where there is no quality."""
        state = self._state
        pixels: list[PixelChange] = []
        marks: dict[ObjectPlane, Marks] = {}
        for key, facts in after.items():
            if facts.quality is None and state.known.of(key).quality is not None:
                decision = state.decide(key, Patch())
                pixels += decision.pixels
                marks |= decision.marks
        planes = tuple(
            Change(key, state.known.of(key), facts)
            for key, facts in after.items()
            if state.known.of(key) != facts
        )
        if not planes:
            return Touched()
        (object_id,) = {key[0] for key in after}
        return state.commit(
            "reviewed",
            text,
            planes=planes,
            pixels=tuple(pixels),
            marks=state.marks_changes(marks),
            details={"object": object_id, "settled": settled},
        )
