"""The keys of the dock, bound to its own layers and its image, where napari leaves them free."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Layer

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation

HELP = (
    ("N", "new object"),
    ("J / K", "previous / next object"),
    ("Q", "swap what left and right click say"),
    ("W", "next candidate mask"),
    ("U", "draw a box"),
    ("G", "back to clicking"),
    ("Ctrl+Z", "take back the last prompt"),
    ("Ctrl+Shift+Z", "bring it back"),
)
"""Every key and what it does."""


class Keys:
    """Binds the keys to layer instances and takes them away again.

    Parameters
    ----------
    annotation
        What the keys act on.
    """

    def __init__(self, annotation: Annotation) -> None:
        self._annotation = annotation
        self._bound: list[tuple[Layer, str]] = []

    def bind(self, layer: Layer) -> None:
        """Bind the keys to a layer; those of a prompt layer include undo."""
        actions = dict(self._actions())
        if not isinstance(layer, (Labels, Image)):
            actions |= {"Control-Z": self._undo, "Control-Shift-Z": self._redo}
        for key, action in actions.items():
            layer.bind_key(key, partial(_call, action), overwrite=True)
            self._bound.append((layer, key))

    def unbind(self, layer: Layer) -> None:
        """Take the keys away from a layer."""
        for bound, key in self._bound:
            if bound is layer:
                layer.bind_key(key, None)
        self._bound = [pair for pair in self._bound if pair[0] is not layer]

    def close(self) -> None:
        """Take the keys away from every layer."""
        for layer in {id(layer): layer for layer, _ in self._bound}.values():
            self.unbind(layer)

    def _actions(self) -> dict[str, Callable[[], None]]:
        return {
            "N": self._new,
            "J": partial(self._step, -1),
            "K": partial(self._step, 1),
            "Q": self._swap,
            "W": self._next_candidate,
            "U": self._annotation.draw_box,
            "G": self._annotation.click_here,
        }

    def _new(self) -> None:
        self._annotation.session.new_object()

    def _step(self, step: int) -> None:
        self._annotation.session.step_object(step)

    def _swap(self) -> None:
        self._annotation.sign = 1 - self._annotation.sign

    def _next_candidate(self) -> None:
        plane = self._annotation.displayed()
        if plane is not None:
            self._annotation.session.next_candidate(plane)

    def _undo(self) -> None:
        self._annotation.session.undo()

    def _redo(self) -> None:
        self._annotation.session.redo()


def _call(action: Callable[[], None], layer: Layer) -> None:
    action()
