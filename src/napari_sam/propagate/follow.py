"""Many objects followed through a stack together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.patches import Patch, cut, minus
from napari_sam.prompts import Prompts
from napari_sam.propagate.anchors import Anchor, Anchors, Ends, NotHere, simplified
from napari_sam.propagate.judge import Causes, Judge, Vector, cosine, judge_of
from napari_sam.propagate.march import (
    Carried,
    Followed,
    appearances,
    carried,
    join,
    prompts_after,
    step,
)
from napari_sam.propagate.planes import FollowPlanes
from napari_sam.propagate.recollection import Recollection, worth_remembering
from napari_sam.propagate.track import Track
from napari_sam.segmentation.memory import Recalled
from napari_sam.segmentation.protocol import Embedding, Progress, part_of
from napari_sam.segmentation.replay import replay_many

Taken = Callable[[int], NDArray[Any] | None]
"""Labels `(H, W)` of a plane whose pixels followed objects may not take, except their own."""

# A mask of which other objects have more than this share has moved onto one of them.
_MOST_TAKEN = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class FollowedPlane:
    """A plane on which all objects have been followed.

    Parameters
    ----------
    index
        Of the plane.
    objects
        Objects on the plane, by their number.
    failed
        Why the plane could not be read; empty where it could. Objects are followed on behind it.
    """

    index: int
    objects: Mapping[int, Followed]
    failed: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Upcoming:
    """The plane whose embedding is needed next.

    Parameters
    ----------
    index
        Of the plane.
    prompts
        Prompts that will be decoded there, whose tiles can be encoded ahead; none for masks.
    """

    index: int
    prompts: Sequence[Prompts]


def follow(
    planes: FollowPlanes,
    anchors: Anchors,
    taken: Taken | None = None,
    ends: Ends = Ends(),  # noqa: B008  frozen
    progress: Progress | None = None,
    judge: Judge | None = None,
    may_overlap: bool = False,
    memory: bool = True,
) -> Iterator[FollowedPlane]:
    """Follow many objects together through a stack, from the planes where they are given.

    First upwards, then downwards: on each plane all objects are decoded in one batch, each from
    its box and mask on the plane before. Where two objects overlap, the one of higher quality
    keeps the pixels. An object ends where it loses most of its pixels, or where the judge
    estimates that it is no longer there, which takes the predictions of two more planes. Between
    two anchors an object is followed from both, and the masks are averaged, weighted by their
    nearness. A plane that is blank or can't be read is skipped.

    Parameters
    ----------
    planes
        The stack.
    anchors
        For each object, its prompts or masks by plane. A mask is kept as it is.
    taken
        Returns the labels of a plane whose pixels followed objects may not take.
    ends
        How far objects are followed.
    progress
        Called with the finished fraction after each plane; it may raise
        :class:`~napari_sam.Cancelled`.
    judge
        Decides where an object ends, and estimates the quality of its masks; by default the one
        that was fitted for the model.
    may_overlap
        Whether followed objects may share pixels, so that each is followed as if it were alone.
    memory
        Whether a model with a memory (:attr:`Traits.remembers`) finds objects by its memory of
        the planes where they were given and of the planes passed, instead of by their box and
        mask on the plane before. The memory is not used on planes that are encoded in tiles.

    Yields
    ------
    plane
        Each plane that has an object or could not be read, once, when it is final. Planes with
        anchors alone come first; then, upwards from the lowest anchor, planes that no object
        reaches from above; then, downwards from the highest anchor, the others.

    Raises
    ------
    ValueError
        If an object has no anchor, or an anchor lies outside the stack or is a mask that doesn't
        fit the planes. If no plane with an anchor can be read, also what reading raises.
    """
    for one in follow_steps(planes, anchors, taken, ends, progress, judge, may_overlap, memory):
        if isinstance(one, FollowedPlane):
            yield one


def follow_steps(
    planes: FollowPlanes,
    anchors: Anchors,
    taken: Taken | None = None,
    ends: Ends = Ends(),  # noqa: B008  frozen
    progress: Progress | None = None,
    judge: Judge | None = None,
    may_overlap: bool = False,
    memory: bool = True,
) -> Iterator[FollowedPlane | Upcoming]:
    """Follow objects as :func:`follow` does, and yield before each embedding that is needed.

    The caller can have the plane embedded elsewhere before it resumes the iterator. With a model
    that has a memory, which takes time, a plane is yielded again for each group of objects.
    """
    yield from _Following(planes, taken, ends, progress, judge, may_overlap, memory).run(anchors)


class _Following:
    def __init__(
        self,
        planes: FollowPlanes,
        taken: Taken | None,
        ends: Ends,
        progress: Progress | None,
        judge: Judge | None,
        may_overlap: bool,
        memory: bool,
    ) -> None:
        self._planes, self._taken = planes, taken
        self._memory = Recollection.of(planes.segmenter, planes.count) if memory else None
        self._judge = judge or judge_of(planes.segmenter.encoder_key)
        self._progress, self._open = progress, ends.open
        self._may_overlap = may_overlap
        self._first = max(0, ends.first or 0)
        last = planes.count - 1 if ends.last is None else ends.last
        self._last = min(planes.count - 1, last)
        self._failed: dict[int, Exception] = {}
        self._known: dict[int, dict[int, Followed]] = {}  # plane to object
        self._given: set[tuple[int, int]] = set()  # (plane, object) of masks that stay
        self._denied: set[tuple[int, int]] = set()  # (plane, object) given as NotHere
        self._tracks: list[Track] = []
        self._done: set[int] = set()

    def run(self, anchors: Anchors) -> Iterator[FollowedPlane | Upcoming]:
        features = yield from self._read_anchors(anchors)
        for object_id, of_object in anchors.items():
            self._start_tracks(object_id, sorted(of_object), features)
        if self._memory is not None:
            self._memory.forget()
        tracks = self._tracks
        for z in sorted({*self._known, *self._failed}):
            if not any(t.covers(z) for t in tracks):
                yield from self._finish(z)
        up = [t for t in tracks if t.stop > t.start]
        down = [t for t in tracks if t.stop < t.start]
        sweeps = (
            (up, range(min((t.start for t in up), default=0), self._last + 1)),
            (down, range(max((t.start for t in down), default=-1), self._first - 1, -1)),
        )
        total, passed = sum(len(indexes) for _, indexes in sweeps), 0
        for going, indexes in sweeps:
            behind: list[int] = []  # planes passed that aren't done
            for z in indexes:
                passed += 1
                active = [t for t in going if t.is_on and t.covers(z)]
                if active:
                    yield Upcoming(z, [prompts_after(t.last) for t in active])
                yield from self._step(
                    z, active, part_of(self._progress, *[(passed - 1) / total] * 2)
                )
                if self._progress is not None:
                    self._progress(passed / total)
                behind.append(z)
                if z == indexes[-1]:
                    for track in going:
                        self._settle(track, 0)
                waiting = {w for t in going for w in t.waiting}
                while behind and behind[0] not in waiting:
                    at = behind.pop(0)
                    if going is down or not any(t.is_on and t.covers(at) for t in down):
                        yield from self._finish(at)

    def _embedding(self, z: int, blank: bool = False) -> Embedding | None:
        """Return a plane's embedding; None where it can't be read, whose reason is stored.

        None for a blank plane, too, unless `blank` is true.
        """
        if z in self._failed:
            return None
        try:
            if not blank and self._planes.is_blank(z):
                return None
            return self._planes.embedding(z)
        except (OSError, ValueError, RuntimeError) as error:
            self._failed[z] = error
            return None

    def _read_anchors(
        self, anchors: Anchors
    ) -> Generator[Upcoming, None, dict[tuple[int, int], Vector]]:
        """Find the masks of all anchors; return their mean features, by (plane, object)."""
        at: dict[int, dict[int, Any]] = {}
        for object_id, of_object in anchors.items():
            for z, anchor in of_object.items():
                if not 0 <= z < self._planes.count:
                    raise ValueError(
                        f"expected anchors on planes 0 to {self._planes.count - 1}, got one of "
                        f"object {object_id} on plane {z}"
                    )
                at.setdefault(z, {})[object_id] = anchor
        features: dict[tuple[int, int], Vector] = {}
        wanted = {i: self._worth_remembering(of_object) for i, of_object in anchors.items()}
        for z in sorted(at):
            yield Upcoming(z, [one for one in at[z].values() if isinstance(one, Prompts)])
            embedding = self._embedding(z, blank=True)
            if embedding is None:
                continue
            shape = embedding.frame.plane_shape
            given = {i: simplified(anchor, z, shape) for i, anchor in at[z].items()}
            self._denied |= {(z, i) for i, one in given.items() if isinstance(one, NotHere)}
            prompts = {i: one for i, one in given.items() if isinstance(one, Prompts)}
            found = {
                i: Followed(one, 1.0, 1.0) for i, one in given.items() if isinstance(one, Patch)
            }
            self._given |= {(z, i) for i in found}
            within = part_of(self._progress, 0, 0)
            predictions = replay_many(
                self._planes.segmenter, embedding, list(prompts.values()), within
            )
            for i, prediction in zip(prompts, predictions, strict=True):
                best = prediction.best_index
                score = float(np.clip(prediction.scores[best], 0, 1))
                causes = Causes(expected_iou=score)
                found[i] = Followed(prediction.patch(best), score, score, causes)
            self._known[z] = self._apart(z, found, found)
            if self._memory is not None and embedding.features:
                given_here = {i: one.patch for i, one in self._known[z].items() if z in wanted[i]}
                for _ in self._memory.remember(z, embedding, given_here, within):
                    yield Upcoming(z, [])
            seen = appearances(
                self._planes.segmenter, embedding, [one.patch for one in found.values()]
            )
            features |= {(z, i): one for i, one in zip(found, seen, strict=True)}
        if self._failed and not any(self._known.values()):
            raise next(iter(self._failed.values()))
        return features

    def _worth_remembering(self, of_object: Mapping[int, Anchor]) -> set[int]:
        """Return the planes of an object's anchors whose memories will be used."""
        there = [z for z, one in of_object.items() if not isinstance(one, NotHere)]
        return worth_remembering(there, self._first, self._last)

    def _start_tracks(
        self, object_id: int, anchored: list[int], features: Mapping[tuple[int, int], Vector]
    ) -> None:
        """Start tracks from each anchor of an object to the next anchors, or to the ends."""
        if not anchored:
            raise ValueError(
                f"expected prompts on at least one plane, got none for object {object_id}"
            )
        reference = self._reference(object_id, anchored)
        for i, z in enumerate(anchored):
            one = self._known.get(z, {}).get(object_id)
            is_inside = self._first <= z <= self._last
            if one is None or one.patch.is_empty or not is_inside:
                continue
            for to, bound in ((i - 1, self._first - 1), (i + 1, self._last + 1)):
                inside = 0 <= to < len(anchored)
                stop = anchored[to] if inside else bound
                stop = min(max(stop, self._first - 1), self._last + 1)
                if abs(stop - z) <= 1 or (stop < z) != (to < i):
                    continue
                there = self._known.get(anchored[to], {}).get(object_id) if inside else None
                # What is predicted from prompts is as good as a user left it.
                start = replace(one, quality=1.0)
                appearance = features.get((reference, object_id))
                is_denied = inside and (stop, object_id) in self._denied
                track = Track(object_id, z, stop, there is not None, is_denied, start, appearance)
                if self._memory is not None:
                    track.trail = self._memory.trail(object_id, z, stop)
                for at in dict.fromkeys((reference, z)):
                    if (at, object_id) not in self._given:
                        causes = self._known[at][object_id].causes
                        here = features.get((at, object_id))
                        alike = 1.0
                        if appearance is not None and here is not None:
                            alike = cosine(appearance, here)
                        track.seen.append(replace(causes, appearance=alike))
                if (z, object_id) not in self._given:
                    track.lowest = one.score
                self._tracks.append(track)

    def _reference(self, object_id: int, anchored: list[int]) -> int:
        """Return the anchor with the largest mask, whose features stand for the object."""
        areas = {
            z: self._known[z][object_id].patch.area
            for z in anchored
            if object_id in self._known.get(z, {})
        }
        return max(areas, key=areas.__getitem__, default=anchored[0])

    def _step(self, z: int, tracks: list[Track], progress: Progress | None) -> Iterator[Upcoming]:
        """Continue tracks on a plane, and end those that have lost their object."""
        if not tracks:
            return
        embedding = self._embedding(z)
        if embedding is None:
            return  # they continue on the next plane
        if self._memory is not None and embedding.features:
            came = yield from self._recalled(z, embedding, tracks, self._memory, progress)
        else:
            last, starts = [t.last for t in tracks], [t.appearance for t in tracks]
            came = list(
                zip(tracks, step(self._planes.segmenter, embedding, last, starts), strict=True)
            )
        self._take(z, came)

    def _recalled(
        self,
        z: int,
        embedding: Embedding,
        tracks: Sequence[Track],
        memory: Recollection,
        progress: Progress | None,
    ) -> Generator[Upcoming, None, list[tuple[Track, Carried]]]:
        """Find objects by the model's memory of them.

        An object that must be there, but of which the model sees nothing, is left out: it
        continues on the next plane.
        """
        trails = [t.trail for t in tracks if t.trail is not None]
        assert len(trails) == len(tracks), "what is given is remembered"
        found: list[Recalled] = []
        for some in memory.recall(z, embedding, trails, progress):
            found += some
            if len(found) < len(trails):
                yield Upcoming(z, [])
        came = carried(
            self._planes.segmenter,
            embedding,
            [t.last for t in tracks],
            [t.appearance for t in tracks],
            [one.prediction for one in found],
            [one.presence for one in found],
        )
        return [
            (track, one)
            for track, one in zip(tracks, came, strict=True)
            if not one.found.patch.is_empty or not (track.is_between or self._must_reach(track, z))
        ]

    def _take(self, z: int, came: Sequence[tuple[Track, Carried]]) -> None:
        """Add the objects that were found on a plane to their tracks."""
        kept = {}
        for track, result in came:
            one = result.found
            is_lost = track.is_between and one.score < self._judge.least_between
            track.is_on = not one.patch.is_empty and (not is_lost or self._must_reach(track, z))
            if track.is_on:
                track.seen = track.seen or [replace(one.causes, agreement=1.0, appearance=1.0)]
                track.seen.append(one.causes if track.trail is None else _found_anywhere(one))
                track.met_stop = z == track.stop
                if not track.met_stop:
                    track.waiting.append(z)
                    kept[track.object_id] = self._judged(track, one, self._presence(track, z))
        others = {t.object_id: t.found[z].found for t in self._tracks if z in t.found}
        known = self._known.get(z, {})
        apart = self._apart(z, {**others, **kept, **known}, known)
        for track, result in came:
            mine = apart.get(track.object_id) if track.is_on else None
            if mine is not None:
                track.last = mine
                track.found[z] = replace(result, found=mine)
            elif track.is_on and not track.met_stop:
                track.is_on = False
                track.waiting.remove(z)
                track.seen.pop()
            # No plane follows behind an end, another anchor or the last plane.
            ahead = 0
            if track.is_on and not track.met_stop and track.is_denied:
                ahead = len(track.waiting)
            elif track.is_on and abs(track.stop - z) > 1:
                ahead = self._judge.ahead
            self._settle(track, ahead)

    def _must_reach(self, track: Track, z: int) -> bool:
        """Whether an object was given there (:attr:`Ends.open`), or farther from its anchor."""
        return any(
            i == track.object_id
            and track.covers(at)
            and abs(at - track.start) >= abs(z - track.start)
            for i, at in self._open
        )

    def _presence(self, track: Track, z: int) -> float:
        """Return the probability that an object is on a plane that isn't judged yet."""
        if track.is_between or self._must_reach(track, z):
            return 1.0
        planes = [*track.waiting, track.stop]
        first = len(track.seen) - len(track.waiting) - track.met_stop
        ends = [self._judge.end(track.seen, first + i) for i in range(planes.index(z) + 1)]
        return track.present * float(np.prod(np.subtract(1, ends)))

    def _judged(self, track: Track, one: Followed, present: float) -> Followed:
        """Return an object with the quality of its mask."""
        quality = self._judge.quality(present, min(track.lowest, one.score))
        return replace(one, quality=quality, causes=replace(one.causes, present=present))

    def _settle(self, track: Track, ahead: int) -> None:
        """Judge planes with at least `ahead` later ones; end a track whose object has ended."""
        # Where the object was given as NotHere it has ended before: condition on that.
        gone = self._presence(track, track.stop) if track.met_stop else 0.0
        while len(track.waiting) > ahead:
            z = track.waiting[0]
            track.present = self._presence(track, z)
            present = max(track.present - gone, 0.0) / max(1 - gone, 1e-6)
            one = self._judged(track, track.found[z].found, present)
            if present < self._judge.least_presence:
                for left in track.waiting:
                    del track.found[left]
                track.waiting.clear()
                track.is_on = False
                return
            track.found[z] = replace(track.found[z], found=one)
            track.lowest = min(track.lowest, one.score)
            del track.waiting[0]

    def _apart(
        self, z: int, objects: Mapping[int, Followed], anchored: Collection[int]
    ) -> dict[int, Followed]:
        """Give pixels that several objects share to the best of them; given masks stay as they are.

        Objects that lose most of their pixels are left out, unless they are anchors.
        """
        labels = self._taken(z) if self._taken is not None else None
        apart = {i: one for i, one in objects.items() if (z, i) in self._given}
        held = [one.patch for one in apart.values()]
        rest = [(i, one) for i, one in objects.items() if i not in apart]
        for i, one in sorted(rest, key=lambda item: (-item[1].quality, item[0])):
            patch = one.patch
            if labels is not None and not patch.is_empty:
                under = labels[patch.region]
                patch = cut(patch.pixels & ((under == 0) | (under == i)), patch.origin)
            for other in () if self._may_overlap else held:
                patch = minus(patch, other)
            if i not in anchored and patch.area < (1 - _MOST_TAKEN) * one.patch.area:
                continue
            held.append(patch)
            apart[i] = replace(one, patch=patch)
        return apart

    def _finish(self, z: int) -> Iterator[FollowedPlane]:
        """Yield a plane that no track will reach any more, with its tracks' masks joined."""
        if z in self._done:
            return
        self._done.add(z)
        objects = dict(self._known.get(z, {}))
        came: dict[int, list[Track]] = {}
        for track in self._tracks:
            if z in track.found:
                came.setdefault(track.object_id, []).append(track)
        for i, tracks in came.items():
            a = tracks[0]
            objects[i] = a.found[z].found
            if len(tracks) == 2:
                b = tracks[1]
                weight = abs(b.start - z) / abs(b.start - a.start)
                objects[i] = join(a.found[z], b.found[z], weight)
        apart = self._apart(z, objects, self._known.get(z, {}))
        for tracks in came.values():
            for track in tracks:
                del track.found[z]
        if apart or z in self._failed:
            yield FollowedPlane(z, apart, str(self._failed[z]) if z in self._failed else "")


def _found_anywhere(one: Followed) -> Causes:
    """Return the measurements of an object that was found by memory, without the agreement.

    It is found anywhere on the plane, so that having moved is no sign of its end.
    """
    return replace(one.causes, agreement=1.0)
