"""Masks of a session written to a Labels layer, each as one step of napari's own undo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from napari.layers import Image, Labels

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.geometry import Region
from napari_sam.gui.layers import grow_masks, image_of_masks, is_behind, misfit
from napari_sam.gui.placement import shape_of
from napari_sam.image import as_pixels
from napari_sam.session import Plane, Session, plane_axes
from napari_sam.session.prompt_book import ObjectPlane

_SEARCHED_AT_ONCE = 32 << 20  # bytes: a few milliseconds
_PART = 64 << 20  # bytes of labels that are searched at a time

_WRITERS: WeakKeyDictionary[Labels, WeakSet[MaskWriter]] = WeakKeyDictionary()  # of each layer


class MaskWriter:
    """Writes every mask that changes to a Labels layer, touching no more than its bounding box.

    Several images may have their masks in one layer: each numbers its new objects above those that
    the others write.

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
        self._searching = "highest", self
        self._held_back: dict[ObjectPlane, None] = {}  # masks that could not be written
        self._told = ""
        self._growing = False
        self._resting = False
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
        if layer is not None and (reason := misfit(layer, self._image)):
            raise ValueError(reason)
        self._executor.cancel(self._searching)
        if layer is not None:
            self._search(layer)
        self._release()
        self._layer, self._told = layer, ""
        self._session.forget_written()
        if layer is not None:
            _WRITERS.setdefault(layer, WeakSet()).add(self)
            layer.events.paint.connect(self._painted)
            layer.events.selected_label.connect(self._picked)
            layer.events.data.connect(self._replaced)
            self._select()
            self._write_held_back()

    def rest(self) -> None:
        """Leave the selected label alone while another image is chosen."""
        self._resting = True

    def wake(self) -> None:
        """Keep the selected label and the current object the same again."""
        self._resting = False
        self._select()

    def check(self) -> None:
        """Say so when the layer doesn't fit the image any more.

        Masks are kept back from then on, and written when it fits again or another is picked.
        """
        reason = misfit(self._layer, self._image) if self._layer is not None else ""
        if reason and reason != self._told:
            self._refused(ValueError(reason))
        self._told = reason
        if not reason:
            self._write_held_back()

    def layer_for(self, highest: int, plane: Plane | None = None) -> Labels:
        """Return the layer, made where there is none, grown where the image has.

        Parameters
        ----------
        highest
            The highest number that it should hold.
        plane
            The plane that it should have; all of the image's by default.

        Raises
        ------
        ValueError
            If it doesn't fit the image any more, or can't hold the number `highest`.
        MemoryError
            If a new one doesn't fit into memory.
        """
        if self._layer is None:
            self.layer = self._make()
        layer = self._layer
        assert layer is not None
        if reason := misfit(layer, self._image):
            raise ValueError(reason)
        own = image_of_masks(layer) is self._image and isinstance(layer.data, np.ndarray)
        wider = np.dtype(np.int32)
        if own and np.iinfo(layer.dtype).max < highest <= np.iinfo(wider).max:
            self._growing = True
            try:
                layer.data = layer.data.astype(wider)  # napari's undo holds for it too
            finally:
                self._growing = False
        largest = np.iinfo(layer.dtype).max
        if highest > largest:
            raise ValueError(
                f"expected labels that hold {highest}, got {layer.dtype} in '{layer.name}', "
                f"which ends at {largest}; convert it (right click › Convert data type) or "
                "pick a new layer"
            )
        channels = self._session.source.channel_axis is not None  # a mask holds for all of them
        if is_behind(layer, self._image) and (channels or not self._has(layer, plane)):
            self._growing = True
            try:
                grow_masks(layer, self._image)
            finally:
                self._growing = False
        return layer

    def write(self, found: np.ndarray, first: int, plane: Plane) -> None:
        """Write labels `(H, W)`, raised by `first`, where a plane has none, as one undo step.

        Raises
        ------
        ValueError, MemoryError
            As :meth:`layer_for`.
        OSError
            If the labels can't be written; they are as they were.
        """
        layer = self.layer_for(first + int(found.max(initial=0)), plane)
        whole = slice(0, found.shape[0]), slice(0, found.shape[1])
        here = self._read(plane, whole)
        rows, columns = np.nonzero(np.where(here == 0, found, 0))
        if len(rows):
            indices = self._indices((rows, columns), plane)
            numbers = found[rows, columns].astype(layer.dtype) + layer.dtype.type(first)
            self._change([(indices, np.resize(numbers, len(indices[0])))])  # for each channel

    def reserve(self, highest: int) -> None:
        """Have new objects of every image whose masks go here numbered above a label."""
        self._session.reserve(highest)
        self._reserve_for_others(highest)

    def close(self) -> None:
        """Let go of the session and the layer."""
        self._session.mask_changed.disconnect(self._write)
        self._session.object_changed.disconnect(self._select)
        self._executor.cancel(self._searching)
        self._release()

    def _release(self) -> None:
        if self._layer is not None:
            self._layer.events.paint.disconnect(self._painted)
            self._layer.events.selected_label.disconnect(self._picked)
            self._layer.events.data.disconnect(self._replaced)
            _WRITERS[self._layer].discard(self)
            self._layer = None

    def _reserve_for_others(self, highest: int) -> None:
        sharing = () if self._layer is None else _WRITERS[self._layer]
        for writer in list(sharing):
            if writer is not self:
                writer._session.reserve(highest)

    def _search(self, layer: Labels) -> None:
        """Keep new objects above those that are there; a large layer is searched meanwhile."""
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

    def _write(self, object_id: int, plane: Plane) -> None:
        if self._layer is None and not self._session.mask(object_id, plane).any():
            return
        try:
            self.layer_for(object_id, plane)
        except (MemoryError, ValueError) as error:
            self._held_back[object_id, plane] = None
            self._refused(error)
            return
        self._held_back.pop((object_id, plane), None)
        try:
            edit = self._session.merge(object_id, plane, lambda region: self._read(plane, region))
            changes = [(edit.erase, 0), (edit.paint, object_id)]
            self._change([(self._indices(at, plane), v) for at, v in changes if len(at[0])])
            if len(edit.paint[0]):
                self._reserve_for_others(object_id)
        except OSError as error:
            self._held_back[object_id, plane] = None  # for the labels that are picked instead
            self._refused(error)

    def _write_held_back(self) -> None:
        held_back, self._held_back = self._held_back, {}
        for key in held_back:
            self._write(*key)

    def _read(self, plane: Plane, region: Region) -> np.ndarray:
        assert self._layer is not None
        rows, columns = plane_axes(plane)
        at = {rows: region[0], columns: region[1]}
        try:
            return np.asarray(self._layer.data[tuple(at.get(a, i) for a, i in enumerate(plane))])
        except Exception as error:  # whatever a disk or a store does
            raise OSError(
                f"expected to read the labels in '{self._layer.name}', got "
                f"{type(error).__name__}: {error}; pick other labels under 'Masks in'"
            ) from error

    def _change(self, changes: list[tuple[tuple[np.ndarray, ...], Any]]) -> None:
        """Set labels at indices as one undo step: all of the changes, or none."""
        layer = self._layer
        if layer is None or not changes:
            return
        before = [np.array(layer.data[indices]) for indices, _ in changes]
        try:
            with layer.block_history():
                for i, (indices, values) in enumerate(changes):
                    layer.data_setitem(indices, values, refresh=i == len(changes) - 1)
        except Exception as error:
            # whatever a disk, a store or a user's own array does: as it was, and said
            getattr(layer, "_staged_history", []).clear()
            left = f"'{layer.name}' is as it was"
            try:
                for (indices, _), values in zip(changes, before, strict=True):
                    layer.data[indices] = values
            except Exception:  # noqa: BLE001 - the first error says why
                left = f"'{layer.name}' may have lost a part of this mask"
            layer.refresh()
            raise OSError(
                f"expected to write a mask into '{layer.name}', got {type(error).__name__}: "
                f"{error}; {left}. Free the disk, or pick other labels under 'Masks in'"
            ) from error

    def _indices(self, pixels: tuple[np.ndarray, np.ndarray], plane: Plane) -> tuple[Any, ...]:
        """Complete (rows, columns) with a plane's indices; all of its channels get the mask."""
        channel = self._session.source.channel_axis
        if channel is not None and plane[channel] is None:
            channel = None  # the plane spans it
        copies = shape_of(self._image)[channel] if channel is not None else 1
        count = len(pixels[0])
        rows, columns = plane_axes(plane)
        at = {rows: np.tile(pixels[0], copies), columns: np.tile(pixels[1], copies)}
        if channel is not None:
            at[channel] = np.repeat(np.arange(copies), count)
        return tuple(
            at[axis] if axis in at else np.full(count * copies, i) for axis, i in enumerate(plane)
        )

    def _replaced(self, event: Any = None) -> None:
        """Take up that somebody gave the layer other labels."""
        layer = self._layer
        if self._growing or layer is None:
            return
        self._session.forget_written()
        if not misfit(layer, self._image):
            self._search(layer)
        self.check()

    def _painted(self, event: Any = None) -> None:
        self._session.note_painting()

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

    def _has(self, layer: Labels, plane: Plane | None) -> bool:
        """Whether labels have the whole of a plane: one that was rolled may be longer by now."""
        if plane is None:
            return False
        lengths = zip(plane, layer.data.shape, shape_of(self._image), strict=True)
        return all(own == n if i is None else i < own for i, own, n in lengths)


def highest_label(data: Any, report: Report | None = None) -> int:
    """Return the highest number in labels, reading them part by part, and each chunk once.

    Parameters
    ----------
    data
        Whatever can be sliced.
    report
        Called before each part, to be stopped there; how many there are isn't said.
    """
    chunks = getattr(data, "chunks", None) or (1, 1)
    rows, columns = (n if isinstance(n, int) else 1 for n in chunks[:2])
    bytes_a_column = max(1, rows * data.dtype.itemsize * prod(data.shape[2:]))
    columns *= max(1, _PART // (bytes_a_column * columns))
    parts = (
        data[row : row + rows, column : column + columns]
        for row in range(0, data.shape[0], rows)
        for column in range(0, data.shape[1], columns)
    )
    highest = 0
    for part in parts:
        if report is not None:
            report(0.0)
        highest = max(highest, int(np.max(as_pixels(part))))
    return highest
