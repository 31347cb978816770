"""A Labels layer that a session reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.engine import Report
from napari_sam.geometry import Region
from napari_sam.gui.label_edits import Atom, LayerEdits, Piece
from napari_sam.gui.layers import grow_masks, image_of_masks, is_behind, misfit
from napari_sam.gui.placement import shape_of
from napari_sam.planes import Plane, PlaneSource, plane_axes
from napari_sam.segmentation.protocol import Cancelled
from napari_sam.session.canvas import Write, highest_label
from napari_sam.session.pixels import PixelChange

# napari redraws single changed pixels in 0.15 us each, a whole plane in 0.013 us for each pixel:
# above this number, and this share of the plane, the whole plane is faster.
_LARGE, _SHARE = 1 << 16, 1 / 16
_TILE = 1024  # pixels along each side of the squares in which painted pixels are recorded
_COMPARED = 64 << 20  # bytes of labels up to which those that replace others are compared
_CLOSED = (
    "expected labels that are written to, got those of an image that is closed; choose it again"
)


class _Change(NamedTuple):
    """Pixels of a rectangle of labels that change: each array is `(h, w)`."""

    at: tuple[int | slice, ...]
    before: NDArray[Any]
    where: NDArray[np.bool_]
    after: NDArray[Any]

    def is_large_in(self, layer: Labels) -> bool:
        """Whether napari redraws the whole plane in less time than the changed pixels."""
        lengths = zip(self.at, layer.data.shape, strict=True)
        plane = prod(n for i, n in lengths if isinstance(i, slice))
        return int(np.count_nonzero(self.where)) > max(_LARGE, _SHARE * plane)

    def make(self, layer: Labels) -> None:
        """Set the pixels, and show them if they are few."""
        if self.is_large_in(layer):
            layer.data[self.at] = np.where(self.where, self.after, self.before)
            return
        places = iter(np.nonzero(self.where))
        indices = tuple(next(places) + i.start if isinstance(i, slice) else i for i in self.at)
        layer.data_setitem(
            tuple(np.broadcast_arrays(*indices)), self.after[self.where], refresh=False
        )


class LayerCanvas:
    """A Labels layer as a session's canvas, which also reports what others change in it.

    Parameters
    ----------
    image
        The image layer that the labels belong to.
    source
        Returns the image as the session reads it now.
    layer
        The layer; if None, one is made when the first plane is prepared.
    make
        Makes and adds a layer.
    painted
        Called with the pixels that a person painted, and the name of the tool.
    elsewhere
        Called with the pixels that another program or session changed; None if they are unknown.
    refused
        Called with the error when painted pixels can't be copied to the other channels.

    Attributes
    ----------
    replaced_by_others
        Signal: the layer was given another array.

    Notes
    -----
    If the positions of an axis are the model's colours, a change of labels at one position is
    made at all of them, wherever their labels agreed before: labels that only one of them has are
    never changed.
    """

    replaced_by_others = Signal()

    def __init__(
        self,
        image: Image,
        source: Callable[[], PlaneSource],
        layer: Labels | None,
        make: Callable[[], Labels],
        painted: Callable[[list[PixelChange], str], None],
        elsewhere: Callable[[list[PixelChange] | None], None],
        refused: Callable[[Exception], None],
    ) -> None:
        self._image = image
        self._source = source
        self._make = make
        self._report_painted = painted
        self._report_elsewhere = elsewhere
        self._refused = refused
        self._layer: Labels | None = None
        self._edits: LayerEdits | None = None
        self._is_closed = False
        if layer is not None:
            self._attach(layer)

    @property
    def layer(self) -> Labels | None:
        """The layer; None before one is made."""
        return self._layer

    @property
    def is_kept(self) -> bool:
        """Whether the labels are stored outside memory, such as on a disk."""
        if self._layer is None:
            return False
        data = self._layer.data
        if isinstance(data, np.ndarray):
            return isinstance(data, np.memmap) and data.mode in ("r+", "w+")
        return "Memory" not in type(getattr(data, "store", None)).__name__

    def prepare(self, plane: Plane | None, highest: int) -> None:
        """Make sure that a plane and a label fit in: create the layer, or enlarge its array.

        Labels that were made for the image get the planes that the image gained since, and a
        wider type if they need it. With None for the plane they get all planes.

        Raises
        ------
        ValueError
            If the labels don't fit the image any more, or can't hold the label `highest`.
        MemoryError
            If the labels would not fit into memory.
        """
        if self._is_closed:
            raise ValueError(_CLOSED)
        if self._layer is None:
            self._attach(self._make())
        layer, edits = self._layer, self._edits
        assert layer is not None
        assert edits is not None
        edits.settle()
        if reason := misfit(layer, self._image):
            raise ValueError(reason)
        own = image_of_masks(layer) is self._image and isinstance(layer.data, np.ndarray)
        wider = np.dtype(np.int32)
        if own and np.iinfo(layer.dtype).max < highest <= np.iinfo(wider).max:
            with edits.ours():
                layer.data = layer.data.astype(wider)
        if highest > (largest := int(np.iinfo(layer.dtype).max)):
            raise ValueError(
                f"expected labels that hold {highest}, got {layer.dtype} in '{layer.name}', "
                f"which ends at {largest}; convert it (right click › Convert data type) or "
                "pick a new layer"
            )
        channels = self._source().channel_axis is not None  # a mask is written to all of them
        has_all = plane is not None and not channels and self._has(plane)
        if is_behind(layer, self._image) and not has_all:
            with edits.ours():
                grow_masks(layer, self._image)

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return the labels `(h, w)` of a region of a plane, as a copy.

        Raises
        ------
        OSError
            If they can't be read.
        """
        if self._layer is None or not self._reaches(plane):
            return np.zeros([s.stop - s.start for s in region], np.int32)
        try:
            return np.array(self._layer.data[_at(plane, region)])
        except Exception as error:  # whatever a disk or a store does
            raise self._unreadable(error) from error

    def write(self, writes: Sequence[Write]) -> None:
        """Change pixels: all of the writes, or none.

        Raises
        ------
        OSError
            If the labels can't be written; every pixel is as it was.
        """
        layer, edits = self._layer, self._edits
        if layer is None or edits is None:
            raise OSError(_CLOSED)
        _check_range(layer, writes)
        with edits.ours():
            self._set(change for write in writes for change in self._changes_of(write))

    def planes(self) -> list[Plane]:
        """Return every plane of the layer that spans the two axes on screen."""
        source = self._source()
        within = {*source.spanned, source.channel_axis}
        shape = shape_of(self._image) if self._layer is None else self._layer.data.shape
        lengths = tuple(1 if axis in within else n for axis, n in enumerate(shape))
        places = (np.unravel_index(i, lengths) for i in range(prod(lengths)))
        return [
            tuple(None if a in source.spanned else int(i) for a, i in enumerate(place))
            for place in places
        ]

    def highest(self, report: Report | None = None) -> int:
        """Return the highest label; it may be called on another thread, since it takes long.

        Parameters
        ----------
        report
            As for :func:`~napari_sam.session.canvas.highest_label`.

        Raises
        ------
        OSError
            If the labels can't be read.
        """
        if self._layer is None:
            return 0
        try:
            return highest_label(self._layer.data, report)
        except Cancelled:
            raise
        except Exception as error:  # whatever a disk or a store does
            raise self._unreadable(error) from error

    def settle(self) -> None:
        """Report what was painted so far, including a brush stroke that is still being made."""
        if self._edits is not None:
            self._edits.settle()

    def choose(self) -> None:
        """Attribute what is painted from now on to this session, if several share the layer."""
        if self._edits is not None:
            self._edits.choose(self)

    def close(self) -> None:
        """Disconnect from the layer."""
        if self._edits is not None:
            self._edits.leave(self)
            self._edits = None
        self._is_closed = True

    def painted(self, atoms: Iterable[Atom], text: str, is_chosen: bool) -> None:
        """Report painted pixels to the session; pixels that the layer didn't take are left out."""
        if self._layer is None or len(self._layer.data.shape) != self._image.ndim:
            self._report_elsewhere(None)
            return
        changes = self._changes_by_plane(atoms, mirror=is_chosen)
        if changes and is_chosen:
            self._report_painted(changes, text)
        elif changes:
            self._report_elsewhere(changes)

    def replaced(self, before: Any, after: Any) -> None:
        """Report to the session where an array differs from the one that it replaces."""
        same = isinstance(before, np.ndarray) and isinstance(after, np.ndarray)
        same = same and before.shape == after.shape and after.ndim == self._image.ndim
        if not same or max(before.nbytes, after.nbytes) > _COMPARED:
            self._report_elsewhere(None)
        elif changes := self._differences(before, after):
            self._report_elsewhere(changes)
        self.replaced_by_others.emit()

    def _unreadable(self, error: Exception) -> OSError:
        assert self._layer is not None
        return OSError(
            f"expected to read the labels in '{self._layer.name}', got {type(error).__name__}: "
            f"{error}; pick other labels under 'Masks in'"
        )

    def _attach(self, layer: Labels) -> None:
        self._layer, self._edits = layer, LayerEdits.of(layer)
        self._edits.choose(self)

    def _reaches(self, plane: Plane) -> bool:
        """Whether the labels include a plane: the image may have grown since they were made."""
        assert self._layer is not None
        pairs = zip(plane, self._layer.data.shape, strict=True)
        return all(i is None or i < own for i, own in pairs)

    def _has(self, plane: Plane) -> bool:
        """Whether the labels include all of a plane; after axes were rolled it may be longer."""
        assert self._layer is not None
        lengths = zip(plane, self._layer.data.shape, shape_of(self._image), strict=True)
        return all(own == n if i is None else i < own for i, own, n in lengths)

    # Writing

    def _set(self, changes: Iterable[_Change]) -> None:
        """Set pixels of the layer, change by change; undo all of them if one fails."""
        layer = self._layer
        assert layer is not None
        done: list[_Change] = []
        try:
            with layer.block_history():
                for change in changes:
                    done.append(change)
                    change.make(layer)
            if any(change.is_large_in(layer) for change in done):
                layer.refresh(extent=False)
            else:
                getattr(layer, "_partial_labels_refresh", layer.refresh)()
        except Exception as error:  # whatever a disk, a store or a user's own array does
            left = f"'{layer.name}' is as it was"
            try:
                for change in reversed(done):
                    layer.data[change.at] = change.before
            except Exception:  # noqa: BLE001 - the first error has the cause
                left = f"'{layer.name}' may have lost a part of this"
            layer.refresh()
            raise OSError(
                f"expected to write into '{layer.name}', got {type(error).__name__}: {error}; "
                f"{left}. Free the disk, or pick other labels under 'Masks in'"
            ) from error

    def _changes_of(self, write: Write, before: NDArray[Any] | None = None) -> Iterator[_Change]:
        """Yield what a write changes in each plane that it is made to.

        Parameters
        ----------
        write
            The labels to write.
        before
            The earlier labels `(h, w)` of the region; by default the present ones. Pixels that
            differ from them are not changed.
        """
        after = np.zeros(write.where.shape, np.asarray(write.values).dtype)
        after[write.where] = write.values
        for plane in self._copies(write.plane):
            at = _at(plane, write.region)
            now = self._block(plane, write.region).copy()
            if before is None:
                before = now
            where = write.where & (now != after) & (now == before)
            if where.any():
                yield _Change(at, now, where, after)

    def _copies(self, plane: Plane) -> list[Plane]:
        """Return the planes that get the same labels: one for each channel, in their order."""
        channel = self._channel_of(plane)
        if channel is None or plane[channel] != 0:
            return [plane]
        count = shape_of(self._image)[channel]
        return [(*plane[:channel], i, *plane[channel + 1 :]) for i in range(count)]

    def _channel_of(self, plane: Plane) -> int | None:
        """Return the axis whose positions are the model's colours; None if there is none."""
        channel = self._source().channel_axis
        return None if channel is None or plane[channel] is None else channel

    def _block(self, plane: Plane, region: Region) -> NDArray[Any]:
        assert self._edits is not None
        return np.asarray(self._edits.data[_at(plane, region)])

    # Changes made by people and other programs

    def _changes_by_plane(self, atoms: Iterable[Atom], mirror: bool) -> list[PixelChange]:
        """Return what was painted, plane by plane; with `mirror`, paint all channels alike."""
        source = self._source()
        painted: dict[tuple[Plane, int, int], list[tuple[Plane, Piece]]] = {}
        for atom in atoms:
            for piece in atom.pieces(source.spanned):
                places = iter(piece.position)
                own = tuple(
                    None if axis in source.spanned else next(places)
                    for axis in range(self._image.ndim)
                )
                channel = self._channel_of(own)
                first = own if channel is None else (*own[:channel], 0, *own[channel + 1 :])
                for part in piece.cut(_TILE):
                    tile = first, *(s.start // _TILE for s in part.region)
                    painted.setdefault(tile, []).append((own, part))
        changes = [self._joined(tile[0], parts, mirror) for tile, parts in painted.items()]
        return [change for change in changes if change is not None]

    def _joined(
        self, plane: Plane, parts: list[tuple[Plane, Piece]], mirror: bool
    ) -> PixelChange | None:
        """Join pieces, in the order they were painted, into one change of a plane."""
        region = _union([piece.region for _, piece in parts])
        shape = tuple(s.stop - s.start for s in region)
        where = np.zeros(shape, bool)
        before, after = np.zeros((2, *shape), parts[0][1].before.dtype)
        for _, piece in parts:
            here = _within(piece.region, region)
            first = piece.where & ~where[here]
            before[here][first] = piece.before[first]
            after[here][piece.where] = np.broadcast_to(piece.after, first.shape)[piece.where]
            where[here] |= piece.where
        # a store may have refused some of it
        shown = [self._block(own, region) == after for own in dict(parts)]
        where &= (before != after) & np.logical_or.reduce(shown)
        if self._channel_of(plane) is not None and where.any():
            if mirror:
                self._mirror(Write(plane, region, where, after[where]), before)
            where &= self._block(plane, region) == after
        if not where.any():
            return None
        return PixelChange.of(plane, region, where, before[where], after[where])

    def _mirror(self, write: Write, before: NDArray[Any]) -> None:
        """Paint the same labels in the other channels."""
        assert self._edits is not None
        try:
            with self._edits.ours():
                self._set(self._changes_of(write, before))
        except OSError as error:
            self._refused(error)

    def _differences(self, before: NDArray[Any], after: NDArray[Any]) -> list[PixelChange]:
        changes = []
        for plane in self.planes():
            rows, columns = (slice(0, after.shape[axis]) for axis in plane_axes(plane))
            old, new = (x[_at(plane, (rows, columns))] for x in (before, after))
            where = old != new
            if where.any():
                changes.append(
                    PixelChange.of(plane, (rows, columns), where, old[where], new[where])
                )
        return changes


def _at(plane: Plane, region: Region) -> tuple[int | slice, ...]:
    """Return the index, into labels, of a region of a plane."""
    rows, columns = plane_axes(plane)
    at = {rows: region[0], columns: region[1]}
    return tuple(at[axis] if i is None else i for axis, i in enumerate(plane))


def _check_range(layer: Labels, writes: Sequence[Write]) -> None:
    """Raise OSError if a label doesn't fit the layer's type, which may have changed."""
    held = np.iinfo(layer.dtype)
    for write in writes:
        if len(write.values) and not held.min <= int(np.max(write.values)) <= held.max:
            raise OSError(
                f"expected labels that hold {int(np.max(write.values))}, got {layer.dtype} in "
                f"'{layer.name}', which ends at {held.max}; convert it (right click › Convert "
                "data type)"
            )


def _union(regions: Sequence[Region]) -> Region:
    return (
        slice(min(r.start for r, _ in regions), max(r.stop for r, _ in regions)),
        slice(min(c.start for _, c in regions), max(c.stop for _, c in regions)),
    )


def _within(region: Region, other: Region) -> Region:
    """Return a region as slices of another that holds it."""
    rows, columns = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(region, other, strict=True)
    )
    return rows, columns
