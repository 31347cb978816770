"""Divisions of objects into two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from napari_sam.io.image_file import LazyArray
from napari_sam.tracking.seen import Key, Observed, Report, Seen, observe


@dataclass(frozen=True, slots=True)
class Division:
    """The division of an object into two.

    Parameters
    ----------
    parent
        Track of the parent, or its label where labels are numbered by track.
    daughters
        Tracks or labels of the daughters. One may be that of the parent, if its number continues.
    frame
        First frame of the daughters.
    plausibility
        How well the daughters together match the parent's place and area, and how similar they
        are, 0-1. It is not a probability: every suggestion has more than 0, and two equal halves
        in the parent's place have 1.
    """

    parent: int
    daughters: tuple[int, int]
    frame: int
    plausibility: float


# What two daughters may differ from their parent, and from each other, to be suggested.
_MOST = 0.9


def suggest_divisions(
    labels: LazyArray,
    spacing: Sequence[float] | None = None,
    reach: float | None = None,
    max_gap: int = 2,
    report: Report | None = None,
) -> tuple[Division, ...]:
    """Find divisions in labels whose numbers are tracks already.

    An object divides where a track begins beside it and the two together have its place and its
    area, whether the object's own number continues in one of the two or ends.

    Parameters
    ----------
    labels
        `(T, H, W)` or `(T, Z, H, W)`, each object with the same number on all frames.
    spacing
        As of :func:`~napari_sam.tracking.link`.
    reach
        Largest distance of a daughter from its parent, in units of the spacing; by default the
        median diameter of the objects.
    max_gap
        Largest number of frames between a parent and its daughters.
    report
        Called with the finished fraction; it may raise to cancel.

    Returns
    -------
    divisions
        By frame; each object divides at most once, and has at most one parent.

    Raises
    ------
    ValueError
        As of :func:`~napari_sam.tracking.link`.
    """
    return divisions_of(observe(labels, spacing, 1, report), reach, max_gap)


def divisions_of(
    seen: Observed, reach: float | None = None, max_gap: int = 2
) -> tuple[Division, ...]:
    """Find divisions among objects that are observed; see :func:`suggest_divisions`.

    Parameters
    ----------
    seen
        The objects of all frames.
    reach, max_gap
        As in :func:`suggest_divisions`.

    Returns
    -------
    divisions
        By frame; each object divides at most once, and has at most one parent.
    """
    reach = reach or seen.diameter()
    on: dict[int, list[int]] = {}
    for t, frame in enumerate(seen.frames):
        for label in frame:
            on.setdefault(label, []).append(t)
    begins: dict[int, list[Key]] = {}
    for label, frames in on.items():
        begins.setdefault(frames[0], []).append((frames[0], label))
    going = [
        ((before, label), (after, label))
        for label, frames in on.items()
        for before, after in pairwise(frames)
    ]
    pairs = [
        ((mother, sister), start, gain)
        for mother, sister in going
        if sister[0] - mother[0] <= max_gap + 1
        for start, gain in daughters(mother, sister, begins.get(sister[0], []), seen.objects, reach)
    ]
    for label, frames in on.items():
        mother = (frames[-1], label)
        for after in range(frames[-1] + 1, frames[-1] + 2 + max_gap):
            starts = begins.get(after, [])
            pairs += [
                ((mother, sister), start, gain)
                for sister in starts
                for start, gain in daughters(mother, sister, starts, seen.objects, reach)
                if sister < start
            ]
    return tuple(sorted(_without_conflicts(pairs), key=lambda one: (one.frame, one.parent)))


def _without_conflicts(pairs: Iterable[tuple[tuple[Key, Key], Key, float]]) -> Iterator[Division]:
    """Keep the best of suggestions that have a parent or a daughter in common."""
    parents: set[int] = set()
    children: set[Key] = set()
    for (mother, sister), start, gain in sorted(pairs, key=lambda one: (-one[2], one[0], one[1])):
        if mother[1] not in parents and not {sister, start} & children:
            parents.add(mother[1])
            children |= {sister, start}
            yield Division(mother[1], (sister[1], start[1]), start[0], gain)


def daughters(
    mother: Key,
    sister: Key,
    beginning: Iterable[Key],
    objects: Mapping[Key, Seen],
    reach: float,
) -> Iterator[tuple[Key, float]]:
    """Yield which of objects that begin may be an object's daughter, and how plausible it is.

    Parameters
    ----------
    mother
        The object before it divides.
    sister
        One daughter, on the first frame behind.
    beginning
        Objects of the sister's frame that come from nowhere.
    objects
        What is seen of all.
    reach
        Farthest from the mother.
    """
    one, first = objects[mother], objects[sister]
    for start in beginning:
        second = objects[start]
        if start == sister or max(one.distance(first), one.distance(second)) > reach:
            continue
        area = first.area + second.area
        middle = np.average([first.centroid, second.centroid], 0, [first.area, second.area])
        cost = float(np.linalg.norm(middle - one.centroid)) / reach
        cost += abs(np.log(area / one.area)) + 0.5 * abs(np.log(first.area / second.area))
        if cost < _MOST:
            yield start, float(1 - cost / _MOST)
