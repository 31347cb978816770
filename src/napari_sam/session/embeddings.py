"""The embeddings of a session's planes: computed in the background, kept while memory allows."""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.engine import BACKGROUND, DISPLAYED, Executor, Outcome, Report
from napari_sam.image import Limits, robust_limits
from napari_sam.lazy_plane import LazyPlane
from napari_sam.plane_input import PlaneInput
from napari_sam.planes import Plane, PlaneSource
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Embedding, Segmenter

PlaneState = Literal["none", "queued", "ready", "failed"]

T = TypeVar("T")
_Key = tuple[Plane, Hashable, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    embedding: Embedding
    seconds: float | None
    not_finite: int
    given: PlaneInput
    is_blank: bool


class Embeddings:
    """Embeddings by plane: requests missing ones from the executor and evicts the oldest.

    Parameters
    ----------
    segmenter, source
        The model, None while there is none; and the image. :meth:`use` replaces them.
    executor
        Runs the encoder.
    max_bytes
        Memory for embeddings, in bytes; the one used last is always kept.

    Attributes
    ----------
    segmenter, source
        The present model and image.
    held
        A plane whose request is not dropped by :meth:`only` and :meth:`cancel`, since a run of
        following needs it.
    fraction
        Fraction (0-1) of the running embed that is done; None if none is running.
    seconds
        Time of the last run of the encoder; None before the first.
    changed
        Signal: the state of a plane, or the fraction of the running one, changed.
    arrived
        Signal: a plane was embedded; with the plane.
    failed
        Signal: a plane could not be embedded; with the plane and the exception.
    not_finite
        Signal: a plane has NaN or infinite pixels; with the plane and their number.
    """

    changed = Signal()
    arrived = Signal(object)
    failed = Signal(object, object)
    not_finite = Signal(object, int)

    def __init__(
        self,
        segmenter: Segmenter | None,
        source: PlaneSource,
        executor: Executor,
        max_bytes: int,
    ) -> None:
        self.segmenter, self.source = segmenter, source
        self._executor = executor
        self._max_bytes = max_bytes
        self._store: OrderedDict[_Key, Embedding] = OrderedDict()
        self._given: weakref.WeakKeyDictionary[Embedding, PlaneInput] = weakref.WeakKeyDictionary()
        self._requested: dict[_Key, int] = {}  # with the serial number of the request
        self._serials = count()
        self._failed: set[_Key] = set()
        self._blank: weakref.WeakSet[Embedding] = weakref.WeakSet()
        self.held: Plane | None = None
        self.fraction: float | None = None
        self.seconds: float | None = None

    def use(self, segmenter: Segmenter | None, source: PlaneSource) -> None:
        """Replace the segmenter and the source; queued requests are dropped."""
        self.segmenter, self.source = segmenter, source
        self._drop(set(self._requested))
        self._failed.clear()
        self.changed.emit()

    def get(self, plane: Plane) -> Embedding | None:
        """Return the embedding of a plane; None if it isn't embedded, or was evicted."""
        key = self._key(plane)
        if key not in self._store:
            return None
        self._store.move_to_end(key)
        return self._store[key]

    def peek(self, plane: Plane) -> Embedding | None:
        """Return the embedding of a plane as :meth:`get` does, without delaying its eviction."""
        return self._store.get(self._key(plane))

    def input_of(self, embedding: Embedding | None) -> PlaneInput | None:
        """Return the channels and contrast of an embedding; None if it was made elsewhere."""
        return None if embedding is None else self._given.get(embedding)

    def is_blank(self, embedding: Embedding) -> bool:
        """Whether all pixels of the plane of an embedding are equal."""
        return embedding in self._blank

    def state(self, plane: Plane) -> PlaneState:
        """Return whether a plane is embedded, queued (or running), failed, or none of these."""
        key = self._key(plane)
        if key in self._store:
            return "ready"
        if key in self._requested:
            return "queued"
        return "failed" if key in self._failed else "none"

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that are embedded."""
        return tuple(key[0] for key in self._store if key == self._key(key[0]))

    def request(self, plane: Plane, priority: int = DISPLAYED) -> None:
        """Request the embedding of a plane, or raise the priority of an earlier request."""
        segmenter, source, key = self.segmenter, self.source, self._key(plane)
        if segmenter is None or key in self._store:
            return
        new = key not in self._requested
        serial = self._requested.setdefault(key, next(self._serials))
        self._failed.discard(key)
        self._executor.embed(
            self._name(key),
            partial(_embed, segmenter, source, plane),
            partial(self._done, key, serial),
            priority,
            partial(self._progress, key),
        )
        if new:
            self.changed.emit()

    def only(self, planes: Iterable[Plane]) -> None:
        """Drop the requests for all other planes."""
        keep = {self._key(plane) for plane in planes} | self._held_keys
        self._drop(self._requested.keys() - keep)

    def prefetch(self, planes: Iterable[Plane]) -> None:
        """Request embeddings of planes with the lowest priority."""
        for plane in planes:
            if self.state(plane) == "none":
                self.request(plane, BACKGROUND)

    def cancel(self) -> None:
        """Drop all requests except for the plane that is held."""
        self._drop(self._requested.keys() - self._held_keys)

    def note_seconds(self, seconds: float | None) -> None:
        """Set the time of the last run of the encoder; None if it didn't run."""
        if seconds is not None:
            self.seconds = seconds
            self.changed.emit()

    def clear(self) -> None:
        """Drop all embeddings, to free memory."""
        self.cancel()
        self._store.clear()
        self.changed.emit()

    def _drop(self, keys: set[_Key]) -> None:
        if not keys:
            return
        self.fraction = None
        for key in keys:
            del self._requested[key]
            self._executor.cancel(self._name(key))
        self.changed.emit()

    @property
    def _held_keys(self) -> set[_Key]:
        return set() if self.held is None else {self._key(self.held)}

    def _key(self, plane: Plane) -> _Key:
        # the shape is a part, since an axis of the plane may have grown
        stamp = self.source.stamp, self.source.plane_shape(plane)
        model = self.segmenter
        return plane, stamp, model.encoder_key if model else "", model.precision if model else ""

    def _name(self, key: _Key) -> Hashable:
        return "embed", self, key

    def _progress(self, key: _Key, fraction: float) -> None:
        if key in self._requested:
            self.fraction = fraction
            self.changed.emit()

    def _done(self, key: _Key, serial: int, outcome: Outcome) -> None:
        wanted = self._requested.get(key) == serial  # neither cancelled nor requested again
        plane = key[0]
        if wanted or outcome.error is None:
            self._requested.pop(key, None)
            self.fraction = None
        if outcome.error is not None:
            if wanted and not outcome.cancelled:
                self._failed.add(key)
                self.failed.emit(plane, outcome.error)
            if wanted:
                self.changed.emit()
            return
        if not wanted:
            self._executor.cancel(self._name(key))  # requested again: this is the result
        made: _Made = outcome.value
        # A GPU out of memory is replaced by the CPU, and with it the precision.
        key = (plane, key[1], made.embedding.encoder_key, made.embedding.precision)
        self._given[made.embedding] = made.given
        if made.is_blank:
            self._blank.add(made.embedding)
        self._keep(key, made.embedding)
        self.note_seconds(made.seconds)
        if made.not_finite:
            self.not_finite.emit(plane, made.not_finite)
        if key == self._key(plane):
            self.arrived.emit(plane)
            self.changed.emit()

    def _keep(self, key: _Key, embedding: Embedding) -> None:
        self._store[key] = embedding
        while len(self._store) > 1 and self._size() > self._max_bytes:
            self._store.popitem(last=False)

    def _size(self) -> int:
        return sum(embedding.nbytes for embedding in self._store.values())


def _embed(segmenter: Segmenter, source: PlaneSource, plane: Plane, report: Report) -> _Made:
    report(0.0)
    pixels, limits, given = source.read_described(plane)
    pixels, not_finite = finite(pixels, limits)
    embedding, seconds = _timed(lambda step: segmenter.embed(pixels, limits, step), report)
    shown: Any = pixels  # or a large plane, read in parts
    if isinstance(shown, LazyPlane):
        is_blank = shown.is_blank()
    else:
        is_blank = bool(pixels.size and pixels.min() == pixels.max())
    return _Made(embedding, seconds, not_finite, given, is_blank)


def prepare(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Prompts | None,
    report: Report,
    every_scale: bool = False,
) -> float | None:
    """Encode the tile that prompts need, or all; return the seconds of one, if it was encoded.

    `every_scale` is as for :meth:`Segmenter.prepare`.
    """
    seconds = _timed(lambda step: segmenter.prepare(embedding, prompts, step, every_scale), report)[
        1
    ]
    return None if prompts is None or every_scale else seconds


def _timed(work: Callable[[Report], T], report: Report) -> tuple[T, float | None]:
    """Run an encoder's work and measure its time; None if the result was only read from a cache.

    An encoder reports between its blocks, a cache at most once.
    """
    reports = 0

    def counted(fraction: float) -> None:
        nonlocal reports
        reports += 1
        report(fraction)

    start = time.perf_counter()
    result = work(counted)
    return result, time.perf_counter() - start if reports > 1 else None


def finite(pixels: NDArray[Any], limits: Limits | None) -> tuple[NDArray[Any], int]:
    """Replace NaN and infinite pixels by the low contrast limit, and count them.

    Returns
    -------
    pixels
        The pixels, all finite.
    count
        Number of pixels that were replaced.
    """
    if pixels.dtype.kind != "f":
        return pixels, 0
    bad = ~np.isfinite(pixels)
    count = int(np.count_nonzero(bad))
    if not count:
        return pixels, 0
    low = limits[0] if limits else robust_limits(pixels)[0]
    return np.where(bad, pixels.dtype.type(low), pixels), count
