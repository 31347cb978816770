"""What a click would take before it is made, and which of the masks that it may mean."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from psygnal import Signal

from napari_sam.patches import cut
from napari_sam.planes import Plane
from napari_sam.prompts import GRANULARITIES, Candidate, Granularity
from napari_sam.session.adopting import with_adopted
from napari_sam.session.answers import Drafting
from napari_sam.session.pointing import Pointing
from napari_sam.session.preview import Preview, Previews
from napari_sam.session.prompt_book import ObjectPlane
from napari_sam.session.prompting import as_point

_AROUND = 256  # pixels to each side that are looked at for an object nothing is known of


class Choosing(Pointing, ABC):
    """The part of a session that shows what a click would take, and chooses among its masks.

    Attributes
    ----------
    preview_changed
        What a click would do: a :class:`~napari_sam.session.preview.Preview`, or None when there
        is none any more.
    granularity_changed
        :attr:`granularity` is another one.
    """

    preview_changed = Signal(object)
    granularity_changed = Signal(str)
    _previews: Previews

    def preview(
        self,
        plane: object,
        point: Sequence[float] | None,
        label: int = 1,
        continues: bool = False,
    ) -> None:
        """Show what a click would take, as far as that needs no run of the encoder.

        Nothing is recorded, and nothing waits for it: it is decoded while no other decode is
        waiting, and of several places the latest counts. :attr:`preview_changed` tells what came
        of it. A click at the same place needs no decode of its own.

        Parameters
        ----------
        plane
            Index of the plane.
        point
            (row, column) in pixels of the plane; None ends the preview.
        label, continues
            As of :meth:`click`.

        Raises
        ------
        ValueError
            If the plane doesn't exist or the point is none.
        """
        if point is None or self._closed is not None:
            self._previews.clear()
            return
        at, place = self.embeddings.source.plane_of(plane), as_point(point)
        height, width = self.embeddings.source.plane_shape(at)
        if not (-0.5 <= place[0] <= height - 0.5 and -0.5 <= place[1] <= width - 0.5):
            self._previews.clear()
            return
        try:
            meaning = self.click_meaning(at, place, label, continues)
            key = meaning.object_id, at
            if meaning.action == "go to":
                self._previews.put(self._on_another(at, place, meaning.object_id))
                return
            book = self.prompts.with_click(key, place, label, self.granularity)
            group = with_adopted(self._state, book, [key], self.embeddings.source).group(key)
        except OSError:  # labels that can't be read: the click will say so
            self._previews.clear()
            return
        segmenter, embedding = self.embeddings.segmenter, self.embeddings.get(at)
        if self.facts(key[0]).locked or segmenter is None or embedding is None:
            self._previews.clear()
            return
        self._previews.ask(
            Preview(at, place, meaning.object_id, meaning.action),
            group,
            segmenter,
            embedding,
            Drafting(embedding, group.steps, group.choice, self._results.chain(key)),
        )

    @property
    def shown_preview(self) -> Preview | None:
        """What a click would do, as it was told last."""
        return self._previews.shown

    @property
    def preview_seconds(self) -> float | None:
        """How long a preview takes to decode; None before enough have been timed with this model.

        Of the latest ones, and of the latest clicks, it is the fastest: a machine is busy at times.
        """
        return self._previews.seconds

    def _on_another(self, plane: Plane, point: tuple[float, float], object_id: int) -> Preview:
        """Return what a click on another object's mask would do, and the mask, if it is known."""
        shown = self._previews.shown
        there = plane, object_id, "go to"
        if shown is not None and (shown.plane, shown.object_id, shown.action) == there:
            return replace(shown, point=point)
        patch, canvas = self._state.ownership.of((object_id, plane)).written, self._state.canvas
        if not patch.pixels.size and canvas is not None:
            height, width = self.embeddings.source.plane_shape(plane)
            row, column = (round(x) for x in point)
            rows = slice(max(0, row - _AROUND), min(height, row + _AROUND))
            columns = slice(max(0, column - _AROUND), min(width, column + _AROUND))
            labels = canvas.read(plane, (rows, columns))
            patch = cut(labels == object_id, (rows.start, columns.start))
        return Preview(plane, point, object_id, "go to", (patch,))

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
            self._previews.choose(granularity or None)
            self.granularity_changed.emit(granularity)

    def choose_candidate(
        self,
        candidate: Candidate,
        plane: object,
        object_id: int | None = None,
        remember: bool = False,
    ) -> None:
        """Take another candidate of the first click as the mask; later clicks build on it.

        Parameters
        ----------
        candidate
            Its place, as in :meth:`scores`, or ``"whole"``, ``"part"`` or ``"sub-part"``; that is
            what later objects begin with, too.
        plane, object_id
            As of :meth:`add_point`.
        remember
            Whether later objects begin with the same also where its place is given.

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
        if isinstance(candidate, int) and remember:
            candidate = self._named(key, candidate) or candidate
        if isinstance(candidate, str):
            self.granularity = candidate
        self.prompts = self.prompts.with_candidate(key, candidate)

    def next_candidate(self, plane: object, object_id: int | None = None, step: int = 1) -> None:
        """Take the next smaller of the masks that a first click may mean, or the whole again.

        That is the click whose preview is shown, else the object's first one. Later objects begin
        with the same.

        Parameters
        ----------
        plane, object_id
            As of :meth:`add_point`.
        step
            1 for the next smaller one, -1 for the next larger one.
        """
        shown = self._previews.shown
        if object_id is None and shown is not None and shown.action == "new":
            if len(shown.candidates) > 1:
                self.granularity = _following(shown.granularity, step)
            return
        key = self._key(object_id, plane)
        if len(self.scores(*key)) > 1:
            self.choose_candidate(_following(self._granularity_of(key), step), key[1], key[0])

    def _granularity_of(self, key: ObjectPlane) -> Granularity | None:
        """Say which of its candidates an object's mask is, by area; None where it isn't known."""
        answer = self._results.answer(key)
        told = None if answer is None else self._named(key, answer.chosen)
        return told or self.prompts.group(key).granularity or None

    def _named(self, key: ObjectPlane, index: int) -> Granularity | None:
        """Say what a candidate is, by its area; None where it isn't known any more."""
        chain = self._results.chain(key)
        if chain is None or len(chain.steps) != 1:
            return None
        by_area = chain.steps[0].by_area[: len(GRANULARITIES)]
        return GRANULARITIES[by_area.index(index)] if index in by_area else None


def _following(granularity: Granularity | None, step: int) -> Granularity:
    if granularity is None:
        return GRANULARITIES[0 if step > 0 else -1]
    return GRANULARITIES[(GRANULARITIES.index(granularity) + step) % len(GRANULARITIES)]
