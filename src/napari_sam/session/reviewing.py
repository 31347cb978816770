"""What a person says of planes that an object was followed through."""

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
        What is changed.
    anchoring
        Tells where objects are known.
    """

    def __init__(self, state: State, anchoring: Anchoring) -> None:
        self._state = state
        self._anchoring = anchoring

    def accept(self, key: ObjectPlane) -> Touched | None:
        """Let a mask stay; see :meth:`napari_sam.session.Session.accept_plane`."""
        facts = self._state.known.of(key)
        if facts.quality is None:
            has_mask = self._state.results.answer(key) is not None or self._has_pixels(key)
            if not has_mask:
                raise ValueError(
                    f"expected an object with a mask on this plane, got {key[0]}, which has none; "
                    "follow it, or click it first"
                )
        text = f"accepted object {key[0]} on a plane"
        return self._say({key: replace(facts, verdict="right")}, text)

    def stop(self, key: ObjectPlane, line: Line) -> Touched | None:
        """Let an object end; see :meth:`napari_sam.session.Session.stop_here`."""
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
        said = {(object_id, line.at(z)): PlaneFacts() for z in gone}
        said[key] = PlaneFacts(verdict="not here")
        last = object_id, line.at(at - 1 if below else at + 1)
        facts = self._state.known.of(last)
        if is_end and facts.is_carried and not facts.verdict:  # the end is between these two planes
            said[last] = replace(facts, verdict="here")
        return self._say(said, f"ended object {object_id}", settled=is_end)

    def go_on(self, key: ObjectPlane, line: Line, count: int) -> Touched | None:
        """Let an object go on; see :meth:`napari_sam.session.Session.go_on`."""
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
        said = {}
        for z in forced:
            one = object_id, line.at(z)
            said[one] = replace(known.of(one), verdict="here")
        return self._say(said, f"followed object {object_id} beyond its end")

    def again(self, entry: Entry) -> None:
        """Say again what an entry says, of masks as they are now."""
        known, said = self._state.known, {}
        for change in entry.planes:
            after = change.after
            if after.quality is not None or after.verdict == "right":
                after = replace(known.of(change.key), verdict=after.verdict)
            said[change.key] = after
        self._say(said, entry.text, bool(entry.details.get("settled")))

    def _has_pixels(self, key: ObjectPlane) -> bool:
        region = self._anchoring.places.region(*key)
        return region is not None and region[0].stop > region[0].start

    def _say(
        self, said: Mapping[ObjectPlane, PlaneFacts], text: str, settled: bool = False
    ) -> Touched | None:
        """Know something of planes; masks go where an object is not, or where nothing is known."""
        state = self._state
        pixels: list[PixelChange] = []
        marks: dict[ObjectPlane, Marks] = {}
        for key, facts in said.items():
            if facts.quality is None and state.known.of(key).quality is not None:
                decision = state.decide(key, Patch())
                pixels += decision.pixels
                marks |= decision.marks
        planes = tuple(
            Change(key, state.known.of(key), facts)
            for key, facts in said.items()
            if state.known.of(key) != facts
        )
        if not planes:
            return Touched()
        (object_id,) = {key[0] for key in said}
        return state.commit(
            "reviewed",
            text,
            planes=planes,
            pixels=tuple(pixels),
            marks=state.marks_changes(marks),
            details={"object": object_id, "settled": settled},
        )
