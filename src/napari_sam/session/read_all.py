"""Embedding all planes of a stack in idle time, starting near the plane on screen."""

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

_LATEST = 12  # planes from whose times the time left is estimated


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """The progress of embedding all planes.

    Parameters
    ----------
    done, count
        Number of planes that are embedded, and of all planes.
    seconds_left
        Estimated time for the others; None before the first is done.
    """

    done: int
    count: int
    seconds_left: float | None


class ReadAll:
    """Embeds planes in idle time, with all tiles of large planes.

    Planes are requested one after the other, so that the next is the nearest to the plane that is
    on screen by then.

    Parameters
    ----------
    executor, embeddings
        Runs the encoder, and stores the embeddings.
    distance
        Returns the distance of a plane from the one on screen: the nearest is embedded first.

    Attributes
    ----------
    changed
        Signal: it started, progressed or ended.
    failed
        Signal: tiles of a plane could not be encoded; with the exception. Other planes follow.
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
        self._of: Hashable = None  # model and image of the embeddings
        self._began = 0.0
        self._seconds: deque[float] = deque(maxlen=_LATEST)
        embeddings.arrived.connect(self._arrived)
        embeddings.failed.connect(self._not_embedded)

    @property
    def progress(self) -> ReadProgress | None:
        """The progress; None if no planes are to be embedded."""
        if not self._left:
            return None
        each = sum(self._seconds) / len(self._seconds) if self._seconds else None
        seconds = None if each is None else each * len(self._left)
        return ReadProgress(len(self._planes) - len(self._left), len(self._planes), seconds)

    @property
    def current(self) -> tuple[Plane, ...]:
        """The plane that is being embedded, if any."""
        return () if self._current is None else (self._current,)

    def begin(self, planes: Sequence[Plane]) -> None:
        """Embed planes, in the place of those that were requested before."""
        self.stop()
        self._planes = tuple(dict.fromkeys(planes))
        self._begin()

    def stop(self) -> None:
        """Stop; existing embeddings stay."""
        self._left.clear()
        self._drop_current()
        self.changed.emit()

    def go_on(self) -> None:
        """Request the next plane, unless one is in progress; start again with another model."""
        if not self._left or self._embeddings.segmenter is None:
            return
        if self._of != self._made_with():
            self._begin()
        elif self._current is None or self._embeddings.state(self._current) == "none":
            self._next()  # the plane was dropped, or evicted before its tiles were encoded

    def _begin(self) -> None:
        self._of = self._made_with()
        self._seconds.clear()
        self._drop_current()
        self._left = dict.fromkeys(self._planes)
        self._next()

    def _made_with(self) -> Hashable:
        segmenter, source = self._embeddings.segmenter, self._embeddings.source
        key = None if segmenter is None else (segmenter.encoder_key, segmenter.precision)
        return key, source.stamp, source.spanned

    def _next(self) -> None:
        """Request the nearest plane that isn't embedded."""
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
        """Continue after a plane was embedded; tiles of a large plane are encoded next."""
        embedding = self._embeddings.get(plane)
        if plane not in self._left or embedding is None:
            return
        if embedding.features:
            self._finish(plane)
        elif plane == self._current:
            self._ask_for(plane, embedding)

    def _prepared(self, plane: Plane, outcome: Outcome) -> None:
        if outcome.cancelled:
            return
        if outcome.error is not None:
            self.failed.emit(outcome.error)
        self._finish(plane)

    def _not_embedded(self, plane: Plane, error: Exception) -> None:
        """Continue after a plane that can't be embedded; its error was emitted already."""
        self._finish(plane)

    def _finish(self, plane: Plane) -> None:
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
