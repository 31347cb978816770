"""How doubtful objects are, on the plane where each is most so."""

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
    """An object that the queue offers.

    Parameters
    ----------
    object_id
        The object.
    plane
        Where it is most doubtful.
    box
        (row 0, column 0, row 1, column 1) around it there: its outermost pixels.
    quality
        How likely its mask is right: has an IoU of at least 0.8.
    worth
        How likely it is worth correcting: has an IoU of at least 0.5.
    reasons
        What speaks against it, in a few words each; empty if nothing does.
    """

    object_id: int
    plane: Plane
    box: tuple[int, int, int, int]
    quality: float
    worth: float
    reasons: tuple[str, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether it is likely enough to be right to be accepted unseen."""
        return self.quality >= SURE

    @property
    def is_hopeless(self) -> bool:
        """Whether it is so unlikely to be worth correcting that a click makes one sooner."""
        return self.worth < HOPELESS


class Ranking:
    """Objects as the labels showed them.

    Parameters
    ----------
    seen
        What objects look like, by plane and number.
    found_by
        Keys of the models that found objects, where that is known.
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
        """Return what an object looks like on each of its planes."""
        return self._seen[object_id]

    def is_of_another(self, object_id: int, model: str) -> bool:
        """Whether another model than that of a key is known to have found an object."""
        return self._found_by.get(object_id, model) != model

    def item(
        self, object_id: int, found: Expectation | None, now: Mapping[Plane, Expectation]
    ) -> QueueItem:
        """Judge an object where it is most doubtful.

        Parameters
        ----------
        object_id
            One that was seen.
        found
            What the model that found it expected.
        now
            What the model that answers now expects on planes that it was asked about; of the
            others it counts as expecting the least of that.
        """
        least = min(now.values(), key=lambda one: one.score, default=None)
        judged: dict[Plane, Judgement] = {
            plane: judge(one, self._usual, found, now.get(plane, least))
            for plane, one in self._seen[object_id].items()
        }
        plane = min(judged, key=lambda plane: judged[plane].quality)
        worst, box = judged[plane], self._seen[object_id][plane].box
        return QueueItem(object_id, plane, box, worst.quality, worst.worth, worst.reasons)
