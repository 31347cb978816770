"""Which of the masks that a click may mean is taken, by a user's choice."""

from __future__ import annotations

from abc import ABC
from typing import Literal

from psygnal import Signal

from napari_sam.prompts import GRANULARITIES, Candidate, Granularity
from napari_sam.session.pointing import Pointing
from napari_sam.session.prompt_book import ObjectPlane


class Choosing(Pointing, ABC):
    """The part of a session that chooses among the masks of a click.

    Attributes
    ----------
    granularity_changed
        :attr:`granularity` is another one.
    """

    granularity_changed = Signal(str)

    @property
    def granularity(self) -> Granularity | Literal[""]:
        """Which mask of an object's first click is taken, by area; empty for the model's best.

        It holds for the first clicks that are still to come: ``"whole"`` is the largest of the
        masks that a click may mean, ``"sub-part"`` the smallest.
        """
        return self._state.granularity

    @granularity.setter
    def granularity(self, granularity: Granularity | Literal[""]) -> None:
        if granularity not in ("", *GRANULARITIES):
            raise ValueError(
                f"expected {', '.join(GRANULARITIES)} or an empty text as the granularity, got "
                f"{granularity!r}"
            )
        if granularity != self._state.granularity:
            self._state.granularity = granularity
            self.granularity_changed.emit(granularity)

    def choose_candidate(
        self, candidate: Candidate, plane: object, object_id: int | None = None
    ) -> None:
        """Take another candidate of the first click as the mask; later clicks build on it.

        Parameters
        ----------
        candidate
            Its place, as in :meth:`scores`, or ``"whole"``, ``"part"`` or ``"sub-part"``; that is
            what later objects begin with, too.
        plane, object_id
            As of :meth:`add_point`.

        Raises
        ------
        ValueError
            If there is no such candidate.
        """
        key = self._key(object_id, plane)
        count = len(self.scores(*key))
        if not count:
            raise ValueError(
                f"expected an object with a mask on this plane, got object {key[0]}, which has "
                "none; click on it first"
            )
        if candidate not in (*range(count), *GRANULARITIES):
            raise ValueError(
                f"expected a candidate from 0 to {count - 1}, {', '.join(GRANULARITIES)}; got "
                f"{candidate!r}"
            )
        if isinstance(candidate, str):
            self.granularity = candidate
        self.prompts = self.prompts.with_candidate(key, candidate)

    def next_candidate(self, plane: object, object_id: int | None = None) -> None:
        """Take the next smaller of the masks that the first click may mean, or the whole again.

        Later objects begin with the same.
        """
        key = self._key(object_id, plane)
        if len(self.scores(*key)) > 1:
            self.choose_candidate(_following(self._granularity_of(key)), key[1], key[0])

    def _granularity_of(self, key: ObjectPlane) -> Granularity | None:
        """Say which of its candidates an object's mask is, by area; None where it isn't known."""
        group, chain = self.prompts.group(key), self._results.chain(key)
        if group.granularity:
            return group.granularity
        answer = self._results.answer(key)
        if chain is None or answer is None or len(chain.steps) != 1:
            return None
        by_area = chain.steps[0].by_area
        return GRANULARITIES[by_area.index(answer.chosen)] if answer.chosen in by_area else None


def _following(granularity: Granularity | None) -> Granularity:
    at = -1 if granularity is None else GRANULARITIES.index(granularity)
    return GRANULARITIES[(at + 1) % len(GRANULARITIES)]
