"""Connects a session's masks and its current object to a Labels layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from napari.layers import Image, Labels

from napari_sam.engine import Executor, Outcome
from napari_sam.gui.label_canvas import LayerCanvas
from napari_sam.gui.layers import misfit
from napari_sam.session import Plane, Session
from napari_sam.session.canvas import highest_label
from napari_sam.session.pixels import PixelChange

_SEARCHED_AT_ONCE = 32 << 20  # bytes: a few milliseconds

_WRITERS: WeakKeyDictionary[Labels, WeakSet[MaskWriter]] = WeakKeyDictionary()  # of each layer


class MaskWriter:
    """Gives a session the Labels layer that it writes its masks to.

    Several images may share a layer: each numbers its new objects above those of the others.

    Parameters
    ----------
    session, image
        The session, and its image layer.
    executor
        Searches large labels for the highest label in the background.
    make
        Makes and adds a Labels layer when the first mask arrives and none was chosen.
    refused
        Called with the error when the layer doesn't fit the image.
    """

    def __init__(
        self,
        session: Session,
        image: Image,
        executor: Executor,
        make: Callable[[], Labels],
        refused: Callable[[Exception], None],
    ) -> None:
        self._session = session
        self._image = image
        self._executor = executor
        self._make = make
        self._refused = refused
        self._layer: Labels | None = None
        self._searching = "highest", self
        self._reported = ""
        self._resting = False
        self._canvas = self._canvas_on(None)
        session.canvas = self._canvas
        session.mask_changed.connect(self._mask_changed)
        session.run_changed.connect(self._run_changed)
        session.object_changed.connect(self._select)

    @property
    def layer(self) -> Labels | None:
        """The layer that masks are written to; None if the next mask gets a new layer."""
        return self._layer

    @layer.setter
    def layer(self, layer: Labels | None) -> None:
        if layer is self._layer:
            return
        if layer is not None and (reason := misfit(layer, self._image)):
            raise ValueError(reason)
        self._executor.cancel(self._searching)
        if layer is not None:
            self._search(layer)  # which may refuse it
        self._release()
        self._reported = ""
        self._canvas = self._canvas_on(layer)
        if layer is not None:
            self._take_up(layer)
        self._session.canvas = self._canvas

    def rest(self) -> None:
        """Stop changing the selected label while another image is chosen."""
        self._canvas.settle()
        self._resting = True

    def wake(self) -> None:
        """Keep the layer's selected label and the current object in step again."""
        self._resting = False
        self._canvas.choose()
        self._select()

    def check(self) -> None:
        """Report it if the layer doesn't fit the image any more.

        Masks are then held back, and written when the layer fits again or another is chosen.
        """
        reason = misfit(self._layer, self._image) if self._layer is not None else ""
        if reason and reason != self._reported:
            self._refused(ValueError(reason))
        self._reported = reason
        if not reason:
            self._session.retry_masks()

    def close(self) -> None:
        """Disconnect from the session and the layer."""
        self._session.mask_changed.disconnect(self._mask_changed)
        self._session.run_changed.disconnect(self._run_changed)
        self._session.object_changed.disconnect(self._select)
        self._executor.cancel(self._searching)
        self._release()

    def _canvas_on(self, layer: Labels | None) -> LayerCanvas:
        canvas = LayerCanvas(
            self._image,
            lambda: self._session.source,
            layer,
            self._made,
            self._painted,
            self._session.note_elsewhere,
            self._refused,
        )
        canvas.replaced_by_others.connect(self._replaced)
        return canvas

    def _made(self) -> Labels:
        layer = self._make()
        self._take_up(layer)
        return layer

    def _take_up(self, layer: Labels) -> None:
        self._layer = layer
        _WRITERS.setdefault(layer, WeakSet()).add(self)
        layer.events.selected_label.connect(self._picked)
        self._select()

    def _release(self) -> None:
        self._canvas.close()
        self._canvas.replaced_by_others.disconnect(self._replaced)
        if self._layer is not None:
            self._layer.events.selected_label.disconnect(self._picked)
            _WRITERS[self._layer].discard(self)
            self._layer = None

    def _reserve_for_others(self, highest: int) -> None:
        sharing = () if self._layer is None else _WRITERS[self._layer]
        for writer in list(sharing):
            if writer is not self:
                writer._session.reserve(highest)

    def _search(self, layer: Labels) -> None:
        """Reserve the layer's labels, so that new objects get higher ones; slow if it is large."""
        data = layer.data
        if isinstance(data, np.ndarray) and data.nbytes <= _SEARCHED_AT_ONCE:
            self._session.reserve(highest_label(data))
        else:
            self._executor.chore(self._searching, partial(highest_label, data), self._found)

    def _found(self, outcome: Outcome) -> None:
        if outcome.cancelled:
            return
        try:
            if outcome.error is not None:
                raise outcome.error
            self._session.reserve(outcome.value)
        except Exception as error:  # noqa: BLE001 - reading labels may fail in any way
            self._refused(error)

    def _mask_changed(self, object_id: int, plane: Plane) -> None:
        self._reserve_for_others(object_id)

    def _run_changed(self) -> None:
        if self._session.run is None:
            self._reserve_for_others(self._session.highest_object)

    def _painted(self, changes: list[PixelChange], text: str) -> None:
        if self._session.closed is None:
            self._session.paint(changes, text)
            self._reserve_for_others(max(int(change.after.max()) for change in changes))

    def _replaced(self) -> None:
        """Handle that the layer was given another array."""
        if self._layer is not None and not misfit(self._layer, self._image):
            self._search(self._layer)
        self.check()

    def _picked(self, event: Any = None) -> None:
        layer = self._layer
        if layer is not None and layer.selected_label > 0 and not self._resting:
            self._session.object_id = int(layer.selected_label)

    def _select(self, *_: object) -> None:
        layer = self._layer
        if layer is None or self._resting:
            return
        if self._session.object_id <= np.iinfo(layer.dtype).max:
            layer.selected_label = self._session.object_id
