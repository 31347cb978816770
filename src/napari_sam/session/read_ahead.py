"""Which plane is on screen, and what is encoded because somebody may click there next."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from psygnal import Signal

from napari_sam.engine import BACKGROUND, DISPLAYED, Executor, Outcome
from napari_sam.prompts import Prompts
from napari_sam.session.embeddings import Embeddings, prepare
from napari_sam.session.planes import Plane

_KEYS = ("ahead, first", "ahead, then")


class ReadAhead:
    """Has the plane on screen embedded first, then its tiles, then its neighbours.

    Parameters
    ----------
    executor, embeddings
        What does it.
    prefetch
        How many neighbours are embedded, in each direction; 0 also leaves tiles to the clicks.

    Attributes
    ----------
    failed
        Something could not be encoded: the error.
    """

    failed = Signal(object)

    def __init__(self, executor: Executor, embeddings: Embeddings, prefetch: int) -> None:
        self._executor = executor
        self._embeddings = embeddings
        self._prefetch = prefetch
        self._focus: tuple[float, float] | None = None
        self._scroll: tuple[int, int] | None = None  # axis and direction of the last step
        self.shown: Plane | None = None

    def show(
        self, plane: Plane, focus: tuple[float, float] | None, keep: Iterable[Plane] = ()
    ) -> None:
        """Start with another plane; what runs for others is dropped, except for those in `keep`.

        Parameters
        ----------
        plane
            The plane on screen.
        focus
            (row, column) in the middle of the screen, where the first click is likely.
        """
        self.cancel()
        self._scroll = _step(self.shown, plane) or self._scroll
        self.shown, self._focus = plane, focus
        self._embeddings.only([plane, *keep, *self._neighbours(plane)])
        if self._embeddings.state(plane) == "ready":
            self.go_on(plane)
        else:
            self._embeddings.request(plane, DISPLAYED)

    def go_on(self, plane: Plane) -> None:
        """Take note that a plane is embedded; if it is on screen, what comes next may start."""
        embedding, segmenter = self._embeddings.get(plane), self._embeddings.segmenter
        if plane != self.shown or segmenter is None or embedding is None:
            return
        if not embedding.features:  # a large plane, whose tiles are encoded one by one
            wanted: list[tuple[Prompts | None, int]] = []
            if self._focus is not None:
                wanted.append((Prompts([self._focus], [1]), DISPLAYED))
            if self._prefetch:
                wanted.append((None, BACKGROUND))
            for key, (prompts, priority) in zip(_KEYS, wanted, strict=False):
                work = partial(prepare, segmenter, embedding, prompts)
                self._executor.embed((key, id(self)), work, self._prepared, priority)
        self._embeddings.prefetch(self._neighbours(plane))

    def cancel(self) -> None:
        """Stop encoding tiles."""
        for key in _KEYS:
            self._executor.cancel((key, id(self)))

    def _prepared(self, outcome: Outcome) -> None:
        if outcome.error is None:
            self._embeddings.note_seconds(outcome.value)
        elif not outcome.cancelled:
            self.failed.emit(outcome.error)

    def _neighbours(self, plane: Plane) -> list[Plane]:
        """Planes to embed ahead: along the axis that was scrolled last, forward first."""
        source = self._embeddings.source
        free = [axis for axis, i in enumerate(plane) if i is not None]
        if source is None or not free:
            return []
        axis, forward = self._scroll or (free[-1], 1)
        steps = [step * sign for step in range(1, self._prefetch + 1) for sign in (1, -1)]
        at = [(plane[axis] or 0) + step * forward for step in steps]
        return [
            source.plane_of((*plane[:axis], i, *plane[axis + 1 :]))
            for i in at
            if 0 <= i < source.shape[axis]
        ]


def _step(before: Plane | None, after: Plane) -> tuple[int, int] | None:
    """Axis and sign of a scroll along one axis, or None for any other change."""
    moved = [
        (axis, 1 if b > a else -1)
        for axis, (a, b) in enumerate(zip(before or (), after, strict=False))
        if a is not None and b is not None and a != b
    ]
    return moved[0] if len(moved) == 1 else None
