"""Ranking of objects by their quality on the plane where each is most doubtful."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_sam.planes import Plane
from napari_sam.session.doubt import (
    HOPELESS,
    SURE,
    Appearance,
    Expectation,
    Judgement,
    Usual,
    judge,
)


@dataclass(frozen=True, slots=True)
class QueueItem:
    """An object of the proofreading queue.

    Parameters
    ----------
    object_id
        The object.
    plane
        The plane on which it is most doubtful.
    box
        (row 0, column 0, row 1, column 1) around the object on that plane, in pixels, ends
        inclusive.
    quality
        Estimated probability (0-1) that its mask is right: that its IoU with the true mask is at
        least 0.8.
    worth
        Estimated probability (0-1) that it is worth correcting: that this IoU is at least 0.5.
    reasons
        Why it is doubtful, in a few words each; empty if nothing was noticed.
    """

    object_id: int
    plane: Plane
    box: tuple[int, int, int, int]
    quality: float
    worth: float
    reasons: tuple[str, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether it is likely enough to be right to be accepted without review."""
        return self.quality >= SURE

    @property
    def is_hopeless(self) -> bool:
        """Whether a new click is likely to be faster than correcting it."""
        return self.worth < HOPELESS


class Ranking:
    """Objects as they were in the labels, ranked by quality.

    Parameters
    ----------
    seen
        The appearance of objects, by plane and number.
    found_by
        Keys of the models that found objects, as far as they are known.
    """

    def __init__(
        self, seen: Mapping[tuple[Plane, int], Appearance], found_by: Mapping[int, str]
    ) -> None:
        self._seen: dict[int, dict[Plane, Appearance]] = {}
        for (plane, object_id), one in seen.items():
            self._seen.setdefault(object_id, {})[plane] = one
        self._found_by = found_by
        self._usual = Usual.among(seen.values())

    @property
    def object_ids(self) -> tuple[int, ...]:
        """All objects that were seen."""
        return tuple(self._seen)

    def seen(self, object_id: int) -> Mapping[Plane, Appearance]:
        """Return the appearance of an object on each of its planes."""
        return self._seen[object_id]

    def is_of_another(self, object_id: int, model: str) -> bool:
        """Whether an object is known to have been found by another model than that of a key."""
        return self._found_by.get(object_id, model) != model

    def item(
        self, object_id: int, found: Expectation | None, now: Mapping[Plane, Expectation]
    ) -> QueueItem:
        """Return the queue item of an object: its judgement where it is most doubtful.

        Parameters
        ----------
        object_id
            One of :attr:`object_ids`.
        found
            The expectation of the model that found it.
        now
            The expectations of the present model, by plane. On planes without one, the least of
            these is used.
        """
        least = min(now.values(), key=lambda one: one.score, default=None)
        judged: dict[Plane, Judgement] = {
            plane: judge(one, self._usual, found, now.get(plane, least))
            for plane, one in self._seen[object_id].items()
        }
        plane = min(judged, key=lambda plane: judged[plane].quality)
        worst, box = judged[plane], self._seen[object_id][plane].box
        return QueueItem(object_id, plane, box, worst.quality, worst.worth, worst.reasons)
