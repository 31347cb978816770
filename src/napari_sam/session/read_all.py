"""All planes of a stack read ahead, one by one, those near the plane on screen first."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from psygnal import Signal

from napari_sam.engine import BACKGROUND, Executor, Outcome
from napari_sam.planes import Plane
from napari_sam.segmentation.protocol import Embedding
from napari_sam.session.embeddings import Embeddings, prepare

_LATEST = 12  # planes whose time tells how long the others will take


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """How far reading all planes is.

    Parameters
    ----------
    done, count
        How many planes are read, of how many.
    seconds_left
        How long the others will take; None before the first is read.
    """

    done: int
    count: int
    seconds_left: float | None


class ReadAll:
    """Has planes embedded when nothing else is to do, with all tiles of those that have some.

    Only one is asked for at a time, so that the next is chosen by what is on screen by then.

    Parameters
    ----------
    executor, embeddings
        What does it.
    distance
        How far a plane is from what is on screen: the nearest goes first.

    Attributes
    ----------
    changed
        It began, went on, or ended.
    failed
        Tiles of a plane could not be encoded: the error. The others go on.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(
        self, executor: Executor, embeddings: Embeddings, distance: Callable[[Plane], float]
    ) -> None:
        self._executor, self._embeddings, self._distance = executor, embeddings, distance
        self._planes: Sequence[Plane] = ()
        self._left: dict[Plane, None] = {}
        self._current: Plane | None = None
        self._of: Hashable = None  # model and image that they are read with
        self._began = 0.0
        self._seconds: deque[float] = deque(maxlen=_LATEST)
        embeddings.arrived.connect(self._arrived)
        embeddings.failed.connect(self._not_read)

    @property
    def progress(self) -> ReadProgress | None:
        """How far it is; None while nothing is to be read."""
        if not self._left:
            return None
        each = sum(self._seconds) / len(self._seconds) if self._seconds else None
        seconds = None if each is None else each * len(self._left)
        return ReadProgress(len(self._planes) - len(self._left), len(self._planes), seconds)

    @property
    def current(self) -> tuple[Plane, ...]:
        """The plane that is being read, if one is."""
        return () if self._current is None else (self._current,)

    def begin(self, planes: Sequence[Plane]) -> None:
        """Read planes, in the place of those that were asked for before."""
        self.stop()
        self._planes = tuple(dict.fromkeys(planes))
        self._begin()

    def stop(self) -> None:
        """Read no more; what is read stays."""
        self._left.clear()
        self._drop_current()
        self.changed.emit()

    def go_on(self) -> None:
        """Ask for the next plane, unless one is being read; with another model begin anew."""
        if not self._left or self._embeddings.segmenter is None:
            return
        if self._of != self._reader():
            self._begin()
        elif self._current is None or self._embeddings.state(self._current) == "none":
            self._next()  # a plane that was dropped, or had to make room before its tiles came

    def _begin(self) -> None:
        self._of = self._reader()
        self._seconds.clear()
        self._drop_current()
        self._left = dict.fromkeys(self._planes)
        self._next()

    def _reader(self) -> Hashable:
        segmenter, source = self._embeddings.segmenter, self._embeddings.source
        key = None if segmenter is None else (segmenter.encoder_key, segmenter.precision)
        return key, source.stamp, source.spanned

    def _next(self) -> None:
        """Ask for the nearest plane that isn't read."""
        self._current = None
        while self._left and self._embeddings.segmenter is not None:
            plane = min(self._left, key=self._distance)
            embedding = self._embeddings.get(plane)
            if embedding is None or not embedding.features:
                self._current, self._began = plane, time.monotonic()
                self._ask_for(plane, embedding)
                break
            del self._left[plane]
        self.changed.emit()

    def _ask_for(self, plane: Plane, embedding: Embedding | None) -> None:
        segmenter = self._embeddings.segmenter
        if segmenter is None or embedding is None:
            self._embeddings.request(plane, BACKGROUND)
        else:
            work = partial(prepare, segmenter, embedding, None)
            done = partial(self._prepared, plane)
            self._executor.embed(self._tiles(plane), work, done, BACKGROUND)

    def _arrived(self, plane: Plane) -> None:
        """Take note that a plane is embedded; if it has tiles, these are still to come."""
        embedding = self._embeddings.get(plane)
        if plane not in self._left or embedding is None:
            return
        if embedding.features:
            self._read(plane)
        elif plane == self._current:
            self._ask_for(plane, embedding)

    def _prepared(self, plane: Plane, outcome: Outcome) -> None:
        if outcome.cancelled:
            return
        if outcome.error is not None:
            self.failed.emit(outcome.error)
        self._read(plane)

    def _not_read(self, plane: Plane, error: Exception) -> None:
        """Go on behind a plane that can't be read, which has been told."""
        self._read(plane)

    def _read(self, plane: Plane) -> None:
        if plane not in self._left:
            return
        del self._left[plane]
        if plane == self._current:
            self._seconds.append(time.monotonic() - self._began)
            self._next()
        else:
            self.changed.emit()

    def _drop_current(self) -> None:
        if self._current is not None:
            self._executor.cancel(self._tiles(self._current))
        self._current = None

    def _tiles(self, plane: Plane) -> Hashable:
        return "all tiles", self, plane
