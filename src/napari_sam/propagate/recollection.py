"""Memories of followed objects, with a model that has a memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from napari_sam.patches import Patch
from napari_sam.segmentation.memory import Memory, Past, PlaneMemory, Recalled, memory_of
from napari_sam.segmentation.protocol import Embedding, Progress, Segmenter
from napari_sam.segmentation.traits import Traits

# Most anchors whose memories are used on one track: half a megabyte each.
_MOST_GIVEN = 8
_ON_GPU = 8  # objects found in one batch; a CPU is busy with one


class Recollection:
    """The memories of all objects on their anchors, and those made while following them.

    Parameters
    ----------
    segmenter
        The model.
    memory
        Encodes memories, and finds objects by them.
    count
        Number of planes of the stack.
    """

    def __init__(self, segmenter: Segmenter, memory: PlaneMemory, count: int) -> None:
        self.traits = segmenter.traits
        self._memory, self._count = memory, count
        self._given: dict[int, dict[int, Memory]] = {}  # object to plane
        self._at_once = 1 if segmenter.device == "cpu" else _ON_GPU

    @classmethod
    def of(cls, segmenter: Segmenter, count: int) -> Recollection | None:
        """Return the memories for a model; None for a model without a memory."""
        memory = memory_of(segmenter) if segmenter.traits.remembers else None
        return None if memory is None else cls(segmenter, memory, count)

    def remember(
        self, z: int, embedding: Embedding, masks: Mapping[int, Patch], progress: Progress | None
    ) -> Iterator[None]:
        """Encode the memories of objects on a plane from their masks, in groups.

        Empty masks are left out. Yields between two groups.
        """
        known = [i for i, mask in masks.items() if not mask.is_empty]
        for start in range(0, len(known), self._at_once):
            if start:
                yield
            group = known[start : start + self._at_once]
            found = self._memory.remember(embedding, [masks[i] for i in group], progress)
            for i, one in zip(group, found, strict=True):
                self._given.setdefault(i, {})[z] = one

    def trail(self, object_id: int, start: int, stop: int) -> Trail | None:
        """Return an object's memories at the start of a track; None if there are none."""
        given = self._given.get(object_id, {})
        if start not in given:
            return None
        return Trail({z: given[z] for z in nearest(given, start, stop)}, start, self.traits)

    def forget(self) -> None:
        """Drop the memories that no trail holds."""
        self._given.clear()

    def recall(
        self, z: int, embedding: Embedding, trails: Sequence[Trail], progress: Progress | None
    ) -> Iterator[list[Recalled]]:
        """Find objects on a plane, in groups, and add the plane to their memories."""
        for start in range(0, len(trails), self._at_once):
            group = trails[start : start + self._at_once]
            pasts = [trail.seen_from(z) for trail in group]
            found = self._memory.recall(embedding, pasts, self._count, progress)
            for trail, one in zip(group, found, strict=True):
                trail.take(z, one.memory)
            yield found


class Trail:
    """The memories of one object on its track.

    Parameters
    ----------
    given
        Those of its anchors, by plane.
    start
        Plane on which the track starts.
    traits
        Of the model: how many planes it remembers.
    """

    def __init__(self, given: Mapping[int, Memory], start: int, traits: Traits) -> None:
        self._given, self._start, self._traits = given, start, traits
        self._passed: dict[int, Memory] = {}

    def seen_from(self, z: int) -> list[Past]:
        """Return the memories that are used on a plane."""
        sign = 1 if z > self._start else -1
        known = [*sorted(self._given.items()), *self._passed.items()]
        return [Past(memory, sign * (z - at)) for at, memory in known]

    def take(self, z: int, memory: Memory) -> None:
        """Add the memory of a plane, and drop those that are too far behind it."""
        self._passed[z] = memory
        for at, one in list(self._passed.items()):
            away = abs(z - at)
            if away >= self._traits.memory_pointers and away >= self._traits.memory_planes:
                del self._passed[at]
            elif away >= self._traits.memory_planes:
                self._passed[at] = one.faded()


def nearest(given: Collection[int], start: int, stop: int) -> list[int]:
    """Return the anchors whose memories are used on a track: its ends, then the nearest.

    Parameters
    ----------
    given
        Planes of the object's anchors.
    start, stop
        Plane on which the track starts, and the first one that it doesn't reach.
    """
    low, high = min(start, stop), max(start, stop)
    away = {z: max(low - z, z - high, 0) for z in given}
    return sorted(given, key=lambda z: (z != start, z != stop, away[z], z))[:_MOST_GIVEN]


def worth_remembering(given: Sequence[int], first: int, last: int) -> set[int]:
    """Return the anchors whose memories are used on any track between or beyond them.

    Of an object that is given on hundreds of planes in a row, only few have to be encoded.
    """
    ends = [first - 1, *sorted(given), last + 1]
    wanted: set[int] = set()
    for i, z in enumerate(ends[1:-1], start=1):
        for stop in (ends[i - 1], ends[i + 1]):
            if abs(stop - z) > 1:
                wanted.update(nearest(given, z, stop))
    return wanted
