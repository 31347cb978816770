"""Prompts from a layer of the user's own: which one, and what its points are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from weakref import WeakSet

from napari.layers import Layer, Points, Shapes
from qtpy.QtWidgets import QLabel, QVBoxLayout

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Items, button, combo, fill, line
from napari_sam.gui.saved_layers import SavedLayers, find_saved, read_saved
from napari_sam.gui.section import Section
from napari_sam.gui.users_prompts import Grouping, names_objects, offered, read_layer

_NOTHING = ("—", None)


@dataclass(frozen=True, slots=True)
class PromptsState:
    """Which layers prompts can be taken from, and what can be done with the one picked.

    Parameters
    ----------
    layers, picked
        Lines of the menu, and the layer picked.
    each, tip
        What the button says that takes each point or shape by itself; empty for no button.
    one
        Whether all points can be taken as one object.
    told
        What became of the prompts that were taken last.
    saved
        Layers of an earlier session that can be continued from.
    """

    layers: Items = (_NOTHING,)
    picked: Points | Shapes | None = None
    each: str = ""
    tip: str = ""
    one: bool = False
    told: str = ""
    saved: SavedLayers | None = None


def prompts_state_of(
    controller: Controller,
    picked: Points | Shapes | None,
    told: str = "",
    done: Iterable[Layer] = (),
) -> PromptsState:
    """List the layers that prompts can be taken from.

    Parameters
    ----------
    controller
        Whose image.
    picked
        The layer picked; counts for nothing when it isn't there any more.
    told
        What became of the prompts that were taken last.
    done
        Layers that have been continued from.
    """
    annotation = controller.annotation
    layers: list[Points | Shapes] = []
    saved = None
    if annotation is not None:
        there = controller.viewer.layers, annotation.image, controller.own_layers()
        layers, saved = offered(*there), find_saved(*there, done)
    items = (_NOTHING, *((layer.name, layer) for layer in layers))
    if picked is None or not any(layer is picked for layer in layers):
        return PromptsState(items, told=told, saved=saved)
    if isinstance(picked, Shapes):
        each = (
            f"{_counted(picked, 'shape')} as prompts",
            "each shape is an object: rectangles and ellipses are boxes around it, polygons "
            "regions it lies in, lines and paths strokes along it; those with the same feature "
            "'object' belong together",
        )
    elif names_objects(picked):
        each = (
            f"{_counted(picked, 'point')} by object",
            "points with the same feature 'object' belong together",
        )
    else:
        each = (
            f"{_counted(picked, 'point')}, each an object",
            "every point is an object of its own",
        )
    return PromptsState(items, picked, *each, one=not names_objects(picked), told=told, saved=saved)


def _counted(layer: Points | Shapes, thing: str) -> str:
    count = len(layer.data)
    return f"{count} {thing}{'s' * (count != 1)}"


class PromptsSection(Section[PromptsState]):
    """Takes prompts from a Points or Shapes layer; away while there is none.

    Parameters
    ----------
    controller
        Whose image.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._picked: Points | Shapes | None = None
        self._told = ""
        self._done: WeakSet[Layer] = WeakSet()
        self.layer = combo("a Points or Shapes layer of your own, which is read and never changed")
        self.each = button("", "")
        self.one = button("as one object", "all points belong to one object on each plane")
        self.saved = QLabel()
        self.saved.setWordWrap(True)
        self.go_on = button(
            "Continue from these",
            "take these clicks and boxes up with their objects, and go on with them",
        )
        self.told = QLabel()
        self.told.setWordWrap(True)
        self.told.setEnabled(False)
        self.told.hide()
        head = line(QLabel("Prompts from"), self.layer)
        head.setStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.saved)
        column.addWidget(self.go_on)
        column.addLayout(head)
        column.addLayout(line(self.each, self.one))
        column.addWidget(self.told)
        self.go_on.clicked.connect(self._continue)
        self.layer.activated.connect(self._pick)
        self.each.clicked.connect(partial(self._read, "each"))
        self.one.clicked.connect(partial(self._read, "one"))

    def _state(self) -> PromptsState:
        state = prompts_state_of(self._controller, self._picked, self._told, self._done)
        self._picked = state.picked
        return state

    def _draw(self, state: PromptsState) -> None:
        self.setVisible(len(state.layers) > 1)
        self.saved.setVisible(state.saved is not None)
        self.go_on.setVisible(state.saved is not None)
        if state.saved is not None:
            names = " and ".join(f"'{layer.name}'" for layer in state.saved.layers)
            self.saved.setText(f"Prompts of an earlier session in {names}")
        fill(self.layer, state.layers, state.picked)
        self.each.setVisible(bool(state.each))
        self.each.setText(state.each)
        self.each.setToolTip(state.tip)
        self.one.setVisible(state.one)
        self.told.setText(state.told)
        self.told.setVisible(bool(state.told))

    def _continue(self) -> None:
        annotation, saved = self._controller.annotation, self.shown.saved
        if annotation is None or saved is None:
            return
        session = annotation.session
        try:
            taken, highest = session.prompts.object_ids, session.highest_object
            read = read_saved(saved, annotation.image, taken, highest)
            session.add_prompts(read.prompts, read.candidates)
        except ValueError as error:
            annotation.refused.emit(error)
            return
        session.new_object()
        self._done.update(saved.layers)
        for layer in saved.layers:
            layer.visible = False  # ours hold the same
        self._picked, self._told = None, read.told
        self.refresh()

    def _pick(self, row: int) -> None:
        self._picked, self._told = self.layer.itemData(row), ""
        self.refresh()

    def _read(self, grouping: Grouping, *_: object) -> None:
        annotation, layer = self._controller.annotation, self._picked
        if annotation is None or layer is None:
            return
        session = annotation.session
        try:
            plane = annotation.plane_to_prompt()
            read = read_layer(layer, annotation.image, plane, grouping, session.highest_object)
            session.prompts = read.added_to(session.prompts)
        except ValueError as error:
            annotation.refused.emit(error)
            return
        session.new_object()
        self._picked, self._told = None, read.told
        self.refresh()
