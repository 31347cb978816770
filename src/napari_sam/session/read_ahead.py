"""Encoding ahead of clicks: the plane on screen, its tiles and its neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from psygnal import Signal

from napari_sam.engine import BACKGROUND, DISPLAYED, SOON, Executor, Outcome, Report
from napari_sam.planes import Plane
from napari_sam.prompts import Box, Prompts
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.session.embeddings import Embeddings, prepare
from napari_sam.session.read_all import ReadAll

_WARM = "first decode"
_VIEW, _FIRST, _FIRST_SCALES, _CLICKED_SCALES, _FINEST, _REST = _KEYS = (
    "what is on screen",
    "first tile",
    "other scales of the first tile",
    "other scales of the last click",
    "finest tiles on screen",
    "other tiles",
)


class ReadAhead:
    """Embeds the plane on screen first, then its tiles, then its neighbours.

    First come the coarse tiles with which any click on screen gets a draft; then the tile at the
    centre of the screen, the coarser scales at which an uncertain click may be decoded again, the
    other tiles on screen, and the rest of the plane.

    Parameters
    ----------
    executor, embeddings
        Runs the encoder, and stores the embeddings.
    prefetch
        Number of neighbouring planes to embed, in each direction. With 0, tiles and coarser scales
        are only encoded when a click needs them, too.

    Attributes
    ----------
    failed
        Signal: a tile could not be encoded; with the exception.
    changed
        Signal: :attr:`is_view_ready` or :attr:`fraction` changed, or a tile was encoded.
    shown, focus, view
        The plane on screen, the centre of the screen, and the rectangle of the plane on screen,
        as passed to :meth:`show`.
    is_view_ready
        Whether a click anywhere on screen gets a draft without encoding.
    fraction
        Fraction (0-1) of the view that is encoded; None if nothing is being encoded.
    all
        Embeds all planes in idle time.
    """

    failed = Signal(object)
    changed = Signal()

    def __init__(self, executor: Executor, embeddings: Embeddings, prefetch: int) -> None:
        self._executor = executor
        self._embeddings = embeddings
        self._prefetch = prefetch
        self.focus: tuple[float, float] | None = None
        self.view: Box | None = None
        self.is_view_ready = False
        self.fraction: float | None = None
        self._views = 0  # number of views so far: results for earlier ones are dropped
        self._warm: tuple[str, str] | None = None
        self._scroll: tuple[int, int] | None = None  # axis and direction of the last step
        self.shown: Plane | None = None
        self.all = ReadAll(executor, embeddings, self._distance)
        self.all.failed.connect(self.failed.emit)
        self.all.changed.connect(self.changed.emit)

    def show(
        self,
        plane: Plane,
        focus: tuple[float, float] | None,
        view: Box | None = None,
        keep: Iterable[Plane] = (),
    ) -> None:
        """Start with another plane; work for others is cancelled, except for those in `keep`.

        Parameters
        ----------
        plane
            The plane on screen.
        focus
            (row, column) at the centre of the screen, where the first click is likely.
        view
            The part of the plane on screen: (row 0, column 0, row 1, column 1), ends inclusive.
        keep
            Other planes whose work is not cancelled.
        """
        self.cancel()
        self._scroll = _step(self.shown, plane) or self._scroll
        self.shown, self.focus, self.view = plane, focus, view
        self._embeddings.only([plane, *keep, *self._neighbours(plane), *self.all.current])
        if self._embeddings.state(plane) == "ready":
            self.go_on(plane)
        else:
            self._embeddings.request(plane, DISPLAYED)
        self.all.go_on()

    def move_view(self, focus: tuple[float, float] | None, view: Box | None) -> None:
        """Set which part of the plane is on screen."""
        if self.shown is None or (focus, view) == (self.focus, self.view):
            return
        self.cancel()
        self.focus, self.view = focus, view
        self.go_on(self.shown)

    def go_on(self, plane: Plane) -> None:
        """Continue after a plane was embedded; if it is on screen, encode its tiles next."""
        embedding, segmenter = self._embeddings.get(plane), self._embeddings.segmenter
        if plane != self.shown or segmenter is None or embedding is None:
            return
        self.cancel()  # work for an embedding that was evicted
        view = self.view
        self.is_view_ready = view is None or segmenter.is_view_ready(embedding, view)
        if view is not None:  # also if it is ready, so that its tiles are not evicted
            self.fraction = None if self.is_view_ready else 0.0
            encode = partial(_prepare_view, segmenter, embedding, view, False)
            key = _VIEW, self
            done = partial(self._view_prepared, self._views)
            self._executor.embed(key, encode, done, DISPLAYED, self._progress)
        self.changed.emit()
        tiled = not embedding.features  # a large plane, whose tiles are encoded one by one
        if self.focus is not None:
            click = Prompts([self.focus], [1])
            if tiled:
                work = partial(prepare, segmenter, embedding, click)
                self._executor.embed((_FIRST, self), work, self._prepared, DISPLAYED)
            self._encode_scales(_FIRST_SCALES, segmenter, embedding, click)
        if tiled and self._prefetch:
            if view is not None:
                encode = partial(_prepare_view, segmenter, embedding, view, True)
                self._executor.embed((_FINEST, self), encode, self._prepared, BACKGROUND)
            work = partial(prepare, segmenter, embedding, None)
            self._executor.embed((_REST, self), work, self._prepared, BACKGROUND)
        self._embeddings.prefetch(self._neighbours(plane))

    def note_click(self, plane: Plane, prompts: Prompts) -> None:
        """Continue after an object's only click was answered: more may follow in the same tile."""
        if plane != self.shown:
            return
        embedding, segmenter = self._embeddings.get(plane), self._embeddings.segmenter
        if segmenter is not None and embedding is not None and not embedding.features:
            self._executor.cancel((_CLICKED_SCALES, self))  # of an earlier click
            self._encode_scales(_CLICKED_SCALES, segmenter, embedding, prompts)

    def _encode_scales(
        self, key: str, segmenter: Segmenter, embedding: Embedding, click: Prompts
    ) -> None:
        """Encode the other scales at which an uncertain click would be decoded again."""
        if self._prefetch and not segmenter.is_ready(embedding, click, every_scale=True):
            work = partial(prepare, segmenter, embedding, click, every_scale=True)
            self._executor.embed((key, self), work, self._prepared, SOON)

    def cancel(self) -> None:
        """Stop encoding tiles."""
        self.is_view_ready, self.fraction = False, None
        self._views += 1
        for key in _KEYS:
            self._executor.cancel((key, self))

    def _prepared(self, outcome: Outcome) -> None:
        if outcome.error is None:
            self._embeddings.note_seconds(outcome.value)
            self.changed.emit()
        elif not outcome.cancelled:
            self.failed.emit(outcome.error)

    def _progress(self, fraction: float) -> None:
        if self.fraction is not None:
            self.fraction = fraction
            self.changed.emit()

    def _view_prepared(self, view: int, outcome: Outcome) -> None:
        # a job that is cancelled at its very end finishes all the same
        came = view == self._views and not outcome.cancelled
        if came and (outcome.error is not None or not self._warm_up()):
            self._set_ready(outcome.error is None)
        self._prepared(outcome)

    def _set_ready(self, is_ready: bool) -> None:
        self.is_view_ready, self.fraction = is_ready, None
        self.changed.emit()

    def _warm_up(self) -> bool:
        """Decode once before the first click, since a network's first run takes much longer.

        Returns
        -------
        begun
            Whether a decode was started; the view is ready after it.
        """
        segmenter, plane, focus = self._embeddings.segmenter, self.shown, self.focus
        embedding = None if plane is None else self._embeddings.get(plane)
        if segmenter is None or embedding is None or focus is None:
            return False
        warm = segmenter.model_key, segmenter.device
        if warm == self._warm:
            return False
        work = partial(segmenter.draft, embedding, Prompts([focus], [1]))
        self._executor.decode((_WARM, self), work, partial(self._warmed, warm, self._views))
        return True

    def _warmed(self, warm: tuple[str, str], view: int, outcome: Outcome) -> None:
        self._warm = warm
        if view == self._views:
            self._set_ready(True)

    def _distance(self, plane: Plane) -> float:
        """Return the distance of a plane from the one on screen; backwards counts twice."""
        shown = plane if self.shown is None else self.shown
        pairs = enumerate(zip(shown, plane, strict=True))
        steps = {axis: b - a for axis, (a, b) in pairs if a is not None and b is not None}
        axis, forward = self._scroll or (-1, 1)
        return sum(abs(n) * (2 if i == axis and n * forward < 0 else 1) for i, n in steps.items())

    @property
    def reads_all(self) -> bool:
        """Whether tiles of the plane on screen are encoded before a click needs them."""
        return self._prefetch > 0

    @property
    def scrolled_axis(self) -> int | None:
        """The axis that was scrolled last; None if none was."""
        return None if self._scroll is None else self._scroll[0]

    def _neighbours(self, plane: Plane) -> list[Plane]:
        """Return the planes to embed ahead: along the axis scrolled last, forwards first.

        If planes span that axis by now, or it is the channel axis, another axis is used.
        """
        source = self._embeddings.source
        free = [a for a, i in enumerate(plane) if i is not None and a != source.channel_axis]
        if not free:
            return []
        axis, forward = (free[-1], 1)
        if self._scroll is not None and self._scroll[0] in free:
            axis, forward = self._scroll
        steps = [step * sign for step in range(1, self._prefetch + 1) for sign in (1, -1)]
        at = [(plane[axis] or 0) + step * forward for step in steps]
        return [
            source.plane_of((*plane[:axis], i, *plane[axis + 1 :]))
            for i in at
            if 0 <= i < source.shape[axis]
        ]


def _prepare_view(
    segmenter: Segmenter, embedding: Embedding, view: Box, finest: bool, report: Report
) -> None:
    segmenter.prepare_view(embedding, view, report, finest)


def _step(before: Plane | None, after: Plane) -> tuple[int, int] | None:
    """Return the axis and the sign of a scroll along one axis; None for any other change."""
    moved = [
        (axis, 1 if b > a else -1)
        for axis, (a, b) in enumerate(zip(before or (), after, strict=False))
        if a is not None and b is not None and a != b
    ]
    return moved[0] if len(moved) == 1 else None
