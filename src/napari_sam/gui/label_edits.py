"""Changes made to a Labels layer by people and programs, reported to the sessions using it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_sam.geometry import Region
from napari_sam.gui.delay import Delay

_TOOLS = {"paint": "a brush stroke", "fill": "a fill", "polygon": "a polygon"}

_EDITS: WeakValueDictionary[int, LayerEdits] = WeakValueDictionary()  # by the layer's identity


class Listener(Protocol):
    """A session's connection to a layer, which is notified of changes."""

    def painted(self, atoms: Iterable[Atom], text: str, is_chosen: bool) -> None:
        """Handle painted pixels; of several sessions that share the layer, one is chosen."""
        ...

    def replaced(self, before: Any, after: Any) -> None:
        """Handle that the layer was given another array."""
        ...


class Piece(NamedTuple):
    """Pixels of one plane that were set at once: a rectangle `(h, w)` of it."""

    position: tuple[int, ...]  # of the axes that the plane doesn't span
    region: Region
    where: NDArray[np.bool_]
    before: NDArray[Any]
    after: Any  # `(h, w)`, or one number

    def cut(self, size: int) -> Iterator[Piece]:
        """Yield parts of the piece, each within one square of a grid; `size` in pixels."""
        (r0, r1), (c0, c1) = ((s.start, s.stop) for s in self.region)
        for row in range(r0 // size, -(-r1 // size)):
            for column in range(c0 // size, -(-c1 // size)):
                rows = slice(max(r0, row * size), min(r1, (row + 1) * size))
                columns = slice(max(c0, column * size), min(c1, (column + 1) * size))
                at = (
                    slice(rows.start - r0, rows.stop - r0),
                    slice(columns.start - c0, columns.stop - c0),
                )
                if self.where[at].any():
                    after = self.after[at] if np.ndim(self.after) else self.after
                    yield Piece(
                        self.position, (rows, columns), self.where[at], self.before[at], after
                    )


class Atom:
    """One change of labels, as napari's own undo history holds it.

    Parameters
    ----------
    change
        From painting: (rectangle, mask or None for all of it, old labels, new label). From
        ``data_setitem``: (indices, old labels, new labels).
    """

    def __init__(self, change: tuple[Any, ...]) -> None:
        self._change = change

    def is_done(self, data: Any) -> bool:
        """Whether labels contain the change: napari reports some changes before it makes them."""
        if len(self._change) == 3:
            indices, _, new = self._change
            return bool(np.all(np.asarray(data[indices]) == new))
        at, mask, _, new = self._change
        shown = np.asarray(data[at]) == new
        return bool(np.all(shown if mask is None else shown[mask]))

    @property
    def highest(self) -> int:
        """The highest label that the change sets."""
        return int(np.max(self._change[-1]))

    def pieces(self, axes: tuple[int, int]) -> Iterator[Piece]:
        """Yield the changed pixels of each plane that spans the two axes."""
        return (self._listed if len(self._change) == 3 else self._masked)(axes)

    def _masked(self, axes: tuple[int, int]) -> Iterator[Piece]:
        at, mask, old, new = self._change
        region = at[axes[0]], at[axes[1]]
        if mask is None:
            before = np.asarray(old)
            mask = np.ones(before.shape, bool)
        else:
            before = np.zeros(mask.shape, np.asarray(old).dtype)
            before[mask] = old
        free = tuple(axis for axis in range(mask.ndim) if axis not in axes)
        mask, before = (np.moveaxis(x, free, range(len(free))) for x in (mask, before))
        for i in map(tuple, np.argwhere(mask.any(axis=(-2, -1))).tolist()):
            index = tuple(at[axis].start + n for axis, n in zip(free, i, strict=True))
            yield Piece(index, region, mask[i], before[i], new)

    def _listed(self, axes: tuple[int, int]) -> Iterator[Piece]:
        indices, old, new = self._change
        places = np.stack([np.ravel(x) for x in np.broadcast_arrays(*indices)])  # (ndim, n)
        old, new = (np.broadcast_to(np.ravel(x), places.shape[1:]) for x in (old, new))
        free = [axis for axis in range(len(places)) if axis not in axes]
        planes, which = np.unique(places[free], axis=1, return_inverse=True)
        which = np.ravel(which)
        for n, index in enumerate(planes.T.tolist() if free else [()]):
            mine = which == n if free else slice(None)
            rows, columns = places[axes[0]][mine], places[axes[1]][mine]
            r, c = int(rows.min()), int(columns.min())
            region = slice(r, int(rows.max()) + 1), slice(c, int(columns.max()) + 1)
            where = np.zeros([s.stop - s.start for s in region], bool)
            before, after = np.zeros(where.shape, old.dtype), np.zeros(where.shape, new.dtype)
            here = rows - r, columns - c
            where[here], before[here], after[here] = True, old[mine], new[mine]
            yield Piece(tuple(index), region, where, before, after)


class LayerEdits:
    """Watches one Labels layer for all sessions that write to it.

    Meanwhile napari's own undo history of the layer is kept empty: undo belongs to the sessions,
    so that there are never two histories that disagree.

    Parameters
    ----------
    layer
        The layer; :meth:`of` returns the one instance for it.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._listeners: list[Listener] = []  # the one chosen last at the end
        self._pending: list[tuple[list[Atom], str]] = []
        self._is_ours = False
        self._mode = str(layer.mode)  # in which the present brush stroke was begun
        self._reporting = Delay(0, self.settle)
        self.data = layer.data

    @classmethod
    def of(cls, layer: Labels) -> LayerEdits:
        """Return the instance for a layer, made when it is first needed."""
        edits = _EDITS.get(id(layer))
        if edits is None:
            edits = _EDITS[id(layer)] = cls(layer)
        return edits

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The listeners, the one chosen last first."""
        return tuple(reversed(self._listeners))

    def choose(self, listener: Listener) -> None:
        """Notify a listener from now on, before all others, and attribute painting to it."""
        if not self._listeners:
            self.data = self._layer.data
            self._layer.events.paint.connect(self._painted)
            self._layer.events.data.connect(self._replaced)
            self._layer.events.mode.connect(self._take_other_tool)
            self._mode = str(self._layer.mode)
            self._forget()
        self.settle()
        self._listeners = [x for x in self._listeners if x is not listener] + [listener]

    def leave(self, listener: Listener) -> None:
        """Stop notifying a listener."""
        if listener not in self._listeners:
            return
        self.settle()
        self._listeners.remove(listener)
        if not self._listeners:
            self._layer.events.paint.disconnect(self._painted)
            self._layer.events.data.disconnect(self._replaced)
            self._layer.events.mode.disconnect(self._take_other_tool)
            self._reporting.close()
            _EDITS.pop(id(self._layer), None)

    def settle(self) -> None:
        """Report now what was painted so far, including a stroke that is still being made."""
        staged = list(getattr(self._layer, "_staged_history", ()))
        if staged and not self._is_ours:
            self._layer._staged_history = []
            self._pending.append(([Atom(x) for x in staged], self._tool(staged)))
        self._report()

    def _report(self) -> None:
        self._reporting.stop()
        pending, self._pending = self._pending, []
        for atoms, text in pending:
            for n, listener in enumerate(self.listeners):
                listener.painted(atoms, text, n == 0)

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Change labels, or the array, without reporting it as a change made by others."""
        self.settle()
        before, self._is_ours = self._is_ours, True
        try:
            yield
        finally:
            self._is_ours = before
            self.data = self._layer.data
            self._layer._staged_history = []  # of a change that was broken off
            self._forget()

    def _painted(self, event: Any) -> None:
        atoms = list(event.value)
        self._forget()
        if self._is_ours:
            return
        self._report()  # earlier changes are made by now
        painted = [Atom(x) for x in atoms]
        self._pending.append((painted, self._tool(atoms)))
        if painted[-1].is_done(self.data):
            self._report()
        else:
            self._reporting.start()

    def _tool(self, atoms: list[Any]) -> str:
        if all(np.all(np.asarray(atom[-1]) == 0) for atom in atoms):
            return "erasing"
        return _TOOLS.get(self._mode, "painting")

    def _take_other_tool(self, event: Any) -> None:
        """Report what was painted with the previous tool: napari has already changed the mode."""
        if not self._is_ours:
            self.settle()
        self._mode = str(event.mode)

    def _replaced(self, event: Any = None) -> None:
        if self._is_ours:
            return
        self.settle()  # of what was painted in the previous array
        before, self.data = self.data, self._layer.data
        self._forget()
        if before is not self.data:
            for listener in self.listeners:
                listener.replaced(before, self.data)

    def _forget(self) -> None:
        """Empty napari's undo history; a brush stroke that is being made isn't in it yet."""
        for name in ("_undo_history", "_redo_history"):
            getattr(self._layer, name, []).clear()
