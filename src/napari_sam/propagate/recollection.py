"""What is remembered of objects on their way through a stack, by a model that can."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from napari_sam.patches import Patch
from napari_sam.segmentation.memory import Memory, Past, PlaneMemory, Recalled, memory_of
from napari_sam.segmentation.protocol import Embedding, Progress, Segmenter
from napari_sam.segmentation.traits import Traits

# Planes where an object is given that are remembered on one way, at most: half a megabyte each.
_MOST_GIVEN = 8
_ON_GPU = 8  # objects looked for at once; a CPU is busy with one


class Recollection:
    """The memories of all objects where they are given, and how others are made from them.

    Parameters
    ----------
    segmenter
        The model.
    memory
        What makes its memories.
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
        """Return that of a model; None for one without a memory."""
        memory = memory_of(segmenter) if segmenter.traits.remembers else None
        return None if memory is None else cls(segmenter, memory, count)

    def remember(
        self, z: int, embedding: Embedding, masks: Mapping[int, Patch], progress: Progress | None
    ) -> Iterator[None]:
        """Remember objects by their given masks on a plane, some of them at a time.

        Those without pixels there are left out.
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
        """Return what is remembered of an object at the start of a way; None if nothing is."""
        given = self._given.get(object_id, {})
        if start not in given:
            return None
        return Trail({z: given[z] for z in nearest(given, start, stop)}, start, self.traits)

    def forget(self) -> None:
        """Keep only what trails hold."""
        self._given.clear()

    def recall(
        self, z: int, embedding: Embedding, trails: Sequence[Trail], progress: Progress | None
    ) -> Iterator[list[Recalled]]:
        """Find objects on a plane, some of them at a time, and take it in."""
        for start in range(0, len(trails), self._at_once):
            group = trails[start : start + self._at_once]
            pasts = [trail.seen_from(z) for trail in group]
            found = self._memory.recall(embedding, pasts, self._count, progress)
            for trail, one in zip(group, found, strict=True):
                trail.take(z, one.memory)
            yield found


class Trail:
    """What is remembered of an object on its way from a plane in one direction.

    Parameters
    ----------
    given
        Where it was given, by plane.
    start
        Plane that it comes from.
    traits
        Of the model: how far it remembers.
    """

    def __init__(self, given: Mapping[int, Memory], start: int, traits: Traits) -> None:
        self._given, self._start, self._traits = given, start, traits
        self._passed: dict[int, Memory] = {}

    def seen_from(self, z: int) -> list[Past]:
        """Return what counts on a plane that it comes to."""
        sign = 1 if z > self._start else -1
        known = [*sorted(self._given.items()), *self._passed.items()]
        return [Past(memory, sign * (z - at)) for at, memory in known]

    def take(self, z: int, memory: Memory) -> None:
        """Remember a plane, and forget what is too far behind it."""
        self._passed[z] = memory
        for at, one in list(self._passed.items()):
            away = abs(z - at)
            if away >= self._traits.memory_pointers and away >= self._traits.memory_planes:
                del self._passed[at]
            elif away >= self._traits.memory_planes:
                self._passed[at] = one.faded()


def nearest(given: Collection[int], start: int, stop: int) -> list[int]:
    """Return the planes where an object is given that count on a way: the ends, then the nearest.

    Parameters
    ----------
    given
        Where it is given.
    start, stop
        Plane it starts from, and the first one that it doesn't reach.
    """
    low, high = min(start, stop), max(start, stop)
    away = {z: max(low - z, z - high, 0) for z in given}
    return sorted(given, key=lambda z: (z != start, z != stop, away[z], z))[:_MOST_GIVEN]


def worth_remembering(given: Sequence[int], first: int, last: int) -> set[int]:
    """Return the planes where an object is given that count on some way between or beyond them.

    So what is given on hundreds of planes in a row isn't remembered for nothing.
    """
    ends = [first - 1, *sorted(given), last + 1]
    wanted: set[int] = set()
    for i, z in enumerate(ends[1:-1], start=1):
        for stop in (ends[i - 1], ends[i + 1]):
            if abs(stop - z) > 1:
                wanted.update(nearest(given, z, stop))
    return wanted
