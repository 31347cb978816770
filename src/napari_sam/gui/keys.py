"""Binds the keys of the key table where napari leaves them free.

They are bound to the dock's own layers and its image, and to the viewer while no layer is
selected; those that change no object also while somebody else's layer is.
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
    """Binds the keys to layer instances and takes them away again.

    Parameters
    ----------
    run
        Called with the name of an action when one of its keys is pressed.
    """

    def __init__(self, run: Callable[[str], None]) -> None:
        self._run = run
        self._open: dict[Condition, Mapping[str, Command]] = {"always": {}}
        self._bound: dict[int, tuple[KeymapProvider, bool, list[KeyBinding]]] = {}

    def bind(self, layer: KeymapProvider, foreign: bool = False) -> None:
        """Bind the keys to a layer, or to the viewer, where it has none of its own.

        Parameters
        ----------
        layer
            What has a keymap.
        foreign
            Whether only those are bound that work with any layer.
        """
        self.unbind(layer)
        mine: list[KeyBinding] = []
        for key, command in self._wanted(foreign).items():
            if key not in layer.keymap:
                layer.bind_key(key, command)
                mine.append(key)
        self._bound[id(layer)] = layer, foreign, mine

    def unbind(self, layer: KeymapProvider) -> None:
        """Take the keys away from a layer, or from the viewer."""
        _, _, mine = self._bound.pop(id(layer), (layer, False, []))
        for key in mine:
            layer.bind_key(key, None)

    def open(self, condition: Condition, more: Mapping[str, Command] | None = None) -> None:
        """Bind the keys of a part of the dock that was opened, too; they win over the others.

        Parameters
        ----------
        condition
            Which part.
        more
            Keys that aren't in the table, such as those of a session's classes, and what each
            does.
        """
        wanted = dict(more or {})
        if self._open.get(condition) != wanted:
            self._open[condition] = wanted
            self._bind_anew()

    def shut(self, condition: Condition) -> None:
        """Give back the keys of a part of the dock that was closed."""
        if self._open.pop(condition, None) is not None:
            self._bind_anew()

    def is_open(self, condition: Condition) -> bool:
        """Whether the keys of a part of the dock are bound."""
        return condition in self._open

    def close(self) -> None:
        """Take the keys away from every layer."""
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
    """Do what an action does; what can't be done is told.

    Parameters
    ----------
    viewer
        Where.
    refused
        Called with the error if it can't be done.
    action_id
        Name of the action.
    """
    from napari_sam.gui import actions  # which knows the dock, and the dock its keys

    try:
        getattr(actions, action_id)(viewer)
    except (ValueError, RuntimeError, OSError) as error:
        refused(error)


def _bound_to(command: Command) -> Callable[[Any], None]:
    """Return what napari calls, with the layer that has the key; it asks for its name."""

    def press(layer: object) -> None:
        command()

    return press


def _on_this_machine(key: str) -> tuple[str, ...]:
    """Return a key, and where napari has its own on a Mac."""
    on_a_mac = sys.platform == "darwin" and "Control" in key
    return (key, key.replace("Control", "Meta")) if on_a_mac else (key,)
