"""The keys of the dock, bound where napari leaves them free.

They are bound to its own layers and its image, and to the viewer while no layer is selected.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from app_model.types import KeyBinding
from napari.layers import Layer
from napari.utils.key_bindings import KeymapProvider

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation

HELP = (
    ("N", "new object"),
    ("J / K", "previous / next object"),
    ("Q", "swap what left and right click say"),
    ("W", "next candidate mask"),
    ("U", "draw a box"),
    ("G", "back to clicking"),
    ("Shift+D", "delete the object"),
    ("Ctrl+Z", "undo whatever happened last"),
    ("Ctrl+Shift+Z", "redo it"),
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
        self._bound: list[tuple[KeymapProvider, str]] = []
        self._actions = {
            "N": self._new,
            "J": self._previous,
            "K": self._next,
            "Q": self._swap,
            "W": self._next_candidate,
            "U": self._draw_box,
            "G": self._click,
            "Shift-D": self._delete,
            "Control-Z": self._undo,
            "Control-Shift-Z": self._redo,
        }
        if sys.platform == "darwin":  # where napari's own are
            self._actions |= {"Meta-Z": self._undo, "Meta-Shift-Z": self._redo}

    def bind(self, layer: KeymapProvider) -> None:
        """Bind the keys to a layer, or to the viewer, where it has none of its own."""
        for key, action in self._actions.items():
            if KeyBinding.from_str(key) not in layer.keymap:
                layer.bind_key(key, action)
                self._bound.append((layer, key))

    def unbind(self, layer: KeymapProvider) -> None:
        """Take the keys away from a layer, or from the viewer."""
        for bound, key in self._bound:
            if bound is layer:
                layer.bind_key(key, None)
        self._bound = [pair for pair in self._bound if pair[0] is not layer]

    def close(self) -> None:
        """Take the keys away from every layer."""
        for layer in {id(layer): layer for layer, _ in self._bound}.values():
            self.unbind(layer)

    # napari calls them with the layer that has the key

    def _new(self, layer: Layer) -> None:
        self._annotation.session.new_object()

    def _previous(self, layer: Layer) -> None:
        self._annotation.session.step_object(-1)

    def _next(self, layer: Layer) -> None:
        self._annotation.session.step_object(1)

    def _swap(self, layer: Layer) -> None:
        self._annotation.sign = 1 - self._annotation.sign

    def _next_candidate(self, layer: Layer) -> None:
        plane = self._annotation.displayed()
        if plane is not None:
            self._annotation.session.next_candidate(plane)

    def _draw_box(self, layer: Layer) -> None:
        self._annotation.draw_box()

    def _click(self, layer: Layer) -> None:
        self._annotation.click_here()

    def _delete(self, layer: Layer) -> None:
        session = self._annotation.session
        try:
            session.delete_object(session.object_id)
        except ValueError as error:
            self._annotation.refused.emit(error)

    def _undo(self, layer: Layer) -> None:
        self._annotation.session.undo()

    def _redo(self, layer: Layer) -> None:
        self._annotation.session.redo()
