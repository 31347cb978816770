"""The preview of a click, and the choice among its candidate masks."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from psygnal import SignalInstance

from napari_sam.patches import cut
from napari_sam.planes import Plane
from napari_sam.prompts import GRANULARITIES, Candidate, Granularity
from napari_sam.session.adopting import with_adopted
from napari_sam.session.answers import Drafting
from napari_sam.session.pointing import Pointing
from napari_sam.session.preview import Preview, Previews
from napari_sam.session.prompt_book import ObjectPlane
from napari_sam.session.prompting import as_point

_AROUND = 256  # pixels to each side in which the mask of an unknown object is read


class Choosing(Pointing, ABC):
    """The part of a session that previews clicks and chooses among their candidate masks."""

    granularity_changed: SignalInstance
    _previews: Previews

    def preview(
        self,
        plane: object,
        point: Sequence[float] | None,
        label: int = 1,
        continues: bool = False,
    ) -> None:
        """Predict the mask that a click would give, without adding the click.

        The preview is decoded in the background when no other decode is waiting, and
        :attr:`preview_changed` is emitted with the result; a later call replaces one that is
        still waiting. It never runs the encoder: without an embedding of the plane there is no
        preview. A click at the same place reuses the decoded mask.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        point
            (row, column) in pixels of the plane; None ends the preview.
        label, continues
            As for :meth:`click`.

        Raises
        ------
        ValueError
            If the plane doesn't exist or the point is not two numbers.
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
        except OSError:  # the labels can't be read: the click itself reports that
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
            Drafting(embedding, group.steps, group.choice, self._results.history(key)),
        )

    @property
    def shown_preview(self) -> Preview | None:
        """The latest preview; None if there is none."""
        return self._previews.shown

    @property
    def preview_seconds(self) -> float | None:
        """Seconds that a preview takes to decode; None until several were timed with this model.

        This is the fastest of the latest ones, so that other work of the machine counts little.
        """
        return self._previews.seconds

    def _on_another(self, plane: Plane, point: tuple[float, float], object_id: int) -> Preview:
        """Return the preview of a click on another object, with its mask if that is known."""
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
        """The candidate mask that later objects take after their first click, by area.

        ``"whole"`` is the largest of the candidates, then ``"part"``, ``"sub-part"`` the smallest;
        empty for the one that the model scores best.
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
        """Use another candidate of the first click as the mask; later clicks refine that one.

        Parameters
        ----------
        candidate
            Its index, as in :meth:`scores`, or ``"whole"``, ``"part"`` or ``"sub-part"``. A name
            also becomes the :attr:`granularity` of later objects.
        plane, object_id
            As for :meth:`add_point`.
        remember
            Whether a candidate that is given by its index becomes the :attr:`granularity`, too.

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
        """Switch to the next smaller candidate of a first click; after the smallest, the largest.

        This changes the preview if one is shown for a new object, otherwise the object's mask.
        Later objects start with the same :attr:`granularity`.

        Parameters
        ----------
        plane, object_id
            As for :meth:`add_point`.
        step
            1 for the next smaller candidate, -1 for the next larger one.
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
        """Return the granularity of an object's mask; None if it isn't known."""
        answer = self._results.answer(key)
        named = None if answer is None else self._named(key, answer.chosen)
        return named or self.prompts.group(key).granularity or None

    def _named(self, key: ObjectPlane, index: int) -> Granularity | None:
        """Return the granularity of a candidate, by its area; None if it isn't known any more."""
        history = self._results.history(key)
        if history is None or len(history.steps) != 1:
            return None
        by_area = history.steps[0].by_area[: len(GRANULARITIES)]
        return GRANULARITIES[by_area.index(index)] if index in by_area else None


def _following(granularity: Granularity | None, step: int) -> Granularity:
    if granularity is None:
        return GRANULARITIES[0 if step > 0 else -1]
    return GRANULARITIES[(GRANULARITIES.index(granularity) + step) % len(GRANULARITIES)]
