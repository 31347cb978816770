"""Masks of a session written to a Labels layer, each as one step of napari's own undo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from napari_sam.engine import Executor, Outcome
from napari_sam.gui.layers import fits, shape_of
from napari_sam.session import Edit, Plane, Session, plane_axes
from napari_sam.session.patches import Region

_SEARCHED_AT_ONCE = 32 << 20  # bytes: a few milliseconds


class MaskWriter:
    """Writes every mask that changes to a Labels layer, touching no more than its bounding box.

    Parameters
    ----------
    session, image
        Whose masks.
    executor
        Where large labels are searched for their highest number.
    make
        Makes and adds a Labels layer when the first mask arrives and none was picked.
    refused
        Called with the error when a mask can't be written.
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
        session.mask_changed.connect(self._write)
        session.object_changed.connect(self._select)

    @property
    def layer(self) -> Labels | None:
        """Where masks go; None makes a new layer for the next mask."""
        return self._layer

    @layer.setter
    def layer(self, layer: Labels | None) -> None:
        if layer is self._layer:
            return
        if layer is not None and not fits(layer, self._image):
            raise ValueError(
                f"expected labels of shape {shape_of(self._image)} held in memory or zarr, as "
                f"'{self._image.name}' needs, got {type(layer.data).__name__} of shape "
                f"{tuple(layer.data.shape)} in '{layer.name}'; pick another layer or a new one"
            )
        self._release()
        self._layer = layer
        self._session.forget_written()
        if layer is not None:
            layer.events.paint.connect(self._painted)
            layer.events.selected_label.connect(self._picked)
            self._reserve(layer)
            self._select()

    def layer_for(self, highest: int) -> Labels:
        """Return the layer, made where there is none.

        Raises
        ------
        ValueError
            If it can't hold the number `highest`.
        MemoryError
            If a new one doesn't fit into memory.
        """
        if self._layer is None:
            self.layer = self._make()
        layer = self._layer
        assert layer is not None
        largest = np.iinfo(layer.dtype).max
        if highest > largest:
            raise ValueError(
                f"expected labels that hold {highest}, got {layer.dtype} in '{layer.name}', "
                f"which ends at {largest}; convert it (right click › Convert data type) or "
                "pick a new layer"
            )
        return layer

    def write(self, found: np.ndarray, first: int, plane: Plane) -> None:
        """Write labels `(H, W)`, raised by `first`, where a plane has none, as one undo step.

        Raises
        ------
        ValueError, MemoryError
            As :meth:`layer_for`.
        """
        layer = self.layer_for(first + int(found.max(initial=0)))
        whole = slice(0, found.shape[0]), slice(0, found.shape[1])
        here = self._read(plane, whole)
        rows, columns = np.nonzero(np.where(here == 0, found, 0))
        if len(rows):
            indices = self._indices((rows, columns), plane)
            values = np.resize(found[rows, columns] + first, len(indices[0]))  # per channel
            with layer.block_history():
                layer.data_setitem(indices, values)

    def close(self) -> None:
        """Let go of the session and the layer."""
        self._session.mask_changed.disconnect(self._write)
        self._session.object_changed.disconnect(self._select)
        self._release()

    def _release(self) -> None:
        if self._layer is not None:
            self._layer.events.paint.disconnect(self._painted)
            self._layer.events.selected_label.disconnect(self._picked)
            self._layer = None

    def _reserve(self, layer: Labels) -> None:
        """Keep new objects above those that are there; a large layer is searched meanwhile."""
        data = layer.data
        if isinstance(data, np.ndarray) and data.nbytes <= _SEARCHED_AT_ONCE:
            self._session.reserve(highest_label(data))
        else:
            self._executor.decode(("highest", self), partial(highest_label, data), self._found)

    def _found(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._refused(outcome.error)
        else:
            self._session.reserve(outcome.value)

    def _write(self, object_id: int, plane: Plane) -> None:
        if self._layer is None and not self._session.mask(object_id, plane).any():
            return
        try:
            self.layer_for(object_id)
        except (MemoryError, ValueError) as error:
            self._refused(error)
            return
        edit = self._session.merge(object_id, plane, lambda region: self._read(plane, region))
        if not edit.is_empty:
            self._apply(edit, object_id, plane)

    def _read(self, plane: Plane, region: Region) -> np.ndarray:
        assert self._layer is not None
        rows, columns = plane_axes(plane)
        at = {rows: region[0], columns: region[1]}
        return np.asarray(self._layer.data[tuple(at.get(a, i) for a, i in enumerate(plane))])

    def _apply(self, edit: Edit, object_id: int, plane: Plane) -> None:
        layer = self._layer
        assert layer is not None
        paints = len(edit.paint[0]) > 0
        with layer.block_history():
            if len(edit.erase[0]):
                layer.data_setitem(self._indices(edit.erase, plane), 0, refresh=not paints)
            if paints:
                layer.data_setitem(self._indices(edit.paint, plane), object_id)

    def _indices(self, pixels: tuple[np.ndarray, np.ndarray], plane: Plane) -> tuple[Any, ...]:
        """Complete (rows, columns) with a plane's indices; all of its channels get the mask."""
        channel = self._session.source.channel_axis
        copies = shape_of(self._image)[channel] if channel is not None else 1
        count = len(pixels[0])
        rows, columns = plane_axes(plane)
        at = {rows: np.tile(pixels[0], copies), columns: np.tile(pixels[1], copies)}
        if channel is not None:
            at[channel] = np.repeat(np.arange(copies), count)
        return tuple(
            at[axis] if axis in at else np.full(count * copies, i) for axis, i in enumerate(plane)
        )

    def _painted(self, event: Any = None) -> None:
        self._session.note_painting()

    def _picked(self, event: Any = None) -> None:
        if self._layer is not None and self._layer.selected_label > 0:
            self._session.object_id = int(self._layer.selected_label)

    def _select(self, *_: object) -> None:
        layer = self._layer
        if layer is not None and self._session.object_id <= np.iinfo(layer.dtype).max:
            layer.selected_label = self._session.object_id


def highest_label(data: Any) -> int:
    """Return the highest number in labels, reading them part by part."""
    return max((int(np.max(data[i])) for i in range(data.shape[0])), default=0)
