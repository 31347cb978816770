"""Binds the keys of the key table, except keys that napari uses itself.

They are bound to the dock's own layers and its image, and to the viewer while no layer is
selected. Keys whose actions change no object are also bound while another layer is selected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from app_model.types import KeyBinding
from napari.utils.key_bindings import KeymapProvider, coerce_keybinding

from napari_sam.gui.key_table import ACTIONS, CONDITIONS, Condition

Command = Callable[[], None]


class Keys:
    """Binds the keys to layers and to the viewer, and unbinds them.

    Parameters
    ----------
    run
        Called with the id of an action when one of its keys is pressed.
    """

    def __init__(self, run: Callable[[str], None]) -> None:
        self._run = run
        self._open: dict[Condition, Mapping[str, Command]] = {"always": {}}
        self._bound: dict[int, tuple[KeymapProvider, bool, list[KeyBinding]]] = {}

    def bind(self, layer: KeymapProvider, foreign: bool = False) -> None:
        """Bind the keys to a layer or the viewer, except keys that it has bound itself.

        Parameters
        ----------
        layer
            The layer or viewer.
        foreign
            Whether to bind only the keys that work with any layer.
        """
        self.unbind(layer)
        mine: list[KeyBinding] = []
        for key, command in self._wanted(foreign).items():
            if key not in layer.keymap:
                layer.bind_key(key, command)
                mine.append(key)
        self._bound[id(layer)] = layer, foreign, mine

    def unbind(self, layer: KeymapProvider) -> None:
        """Unbind the keys from a layer or the viewer."""
        _, _, mine = self._bound.pop(id(layer), (layer, False, []))
        for key in mine:
            layer.bind_key(key, None)

    def open(self, condition: Condition, more: Mapping[str, Command] | None = None) -> None:
        """Bind the keys of a part of the dock that was opened; they win over other keys.

        Parameters
        ----------
        condition
            The condition of that part.
        more
            Keys that aren't in the table, such as those of a session's classes, and the function
            of each.
        """
        wanted = dict(more or {})
        if self._open.get(condition) != wanted:
            self._open[condition] = wanted
            self._bind_anew()

    def shut(self, condition: Condition) -> None:
        """Unbind the keys of a part of the dock that was closed."""
        if self._open.pop(condition, None) is not None:
            self._bind_anew()

    def is_open(self, condition: Condition) -> bool:
        """Whether the keys of a part of the dock are bound."""
        return condition in self._open

    def close(self) -> None:
        """Unbind the keys from every layer and the viewer."""
        for layer, _, _ in [*self._bound.values()]:
            self.unbind(layer)

    def _bind_anew(self) -> None:
        for layer, foreign, _ in [*self._bound.values()]:
            self.bind(layer, foreign)

    def _wanted(self, foreign: bool) -> dict[KeyBinding, Callable[[Any], None]]:
        wanted: dict[KeyBinding, Callable[[Any], None]] = {}
        for condition in CONDITIONS:
            if condition not in self._open:
                continue
            for action in ACTIONS:
                if action.condition == condition and (action.anywhere or not foreign):
                    for key in (k for name in action.keys for k in _on_this_machine(name)):
                        wanted[coerce_keybinding(key)] = _bound_to(partial(self._run, action.id))
            if not foreign:
                for key, command in self._open[condition].items():
                    wanted[coerce_keybinding(key)] = _bound_to(command)
        return wanted


def run_action(viewer: Any, refused: Callable[[Exception], None], action_id: str) -> None:
    """Run an action, and report its error if it fails.

    Parameters
    ----------
    viewer
        The viewer.
    refused
        Called with the error if the action fails.
    action_id
        Id of the action.
    """
    from napari_sam.gui import actions  # here, since it imports the dock, which imports this

    try:
        getattr(actions, action_id)(viewer)
    except (ValueError, RuntimeError, OSError) as error:
        refused(error)


def _bound_to(command: Command) -> Callable[[Any], None]:
    """Return a function for napari's keymap, which passes the layer and needs its name."""

    def press(layer: object) -> None:
        command()

    return press


def _on_this_machine(key: str) -> tuple[str, ...]:
    """Return a key; on a Mac, also the one with Command that napari uses instead of Control."""
    on_a_mac = sys.platform == "darwin" and "Control" in key
    return (key, key.replace("Control", "Meta")) if on_a_mac else (key,)
