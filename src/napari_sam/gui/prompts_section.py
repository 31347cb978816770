"""Section of the dock that takes prompts from a user's own Points or Shapes layer."""

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
    """The state of the section.

    Parameters
    ----------
    layers, picked
        Lines of the menu, and the layer picked.
    each, tip
        Text and tooltip of the button that takes each point or shape as a prompt of its own
        object; empty for no button.
    one
        Whether all points can be taken as prompts of one object.
    result
        A sentence about the prompts that were taken last.
    saved
        Layers of an earlier session that can be continued from.
    """

    layers: Items = (_NOTHING,)
    picked: Points | Shapes | None = None
    each: str = ""
    tip: str = ""
    one: bool = False
    result: str = ""
    saved: SavedLayers | None = None


def prompts_state_of(
    controller: Controller,
    picked: Points | Shapes | None,
    result: str = "",
    done: Iterable[Layer] = (),
) -> PromptsState:
    """Return the section's state, with the layers that prompts can be taken from.

    Parameters
    ----------
    controller
        The controller of the viewer.
    picked
        The layer picked; ignored if it isn't in the viewer any more.
    result
        A sentence about the prompts that were taken last.
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
        return PromptsState(items, result=result, saved=saved)
    if isinstance(picked, Shapes):
        each = (
            f"{_counted(picked, 'shape')} as prompts",
            "each shape is an object: rectangles and ellipses are boxes around it, polygons are "
            "lassos around it, lines and paths are strokes along it; shapes with the same feature "
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
            "every point is a separate object",
        )
    one = not names_objects(picked)
    return PromptsState(items, picked, *each, one=one, result=result, saved=saved)


def _counted(layer: Points | Shapes, thing: str) -> str:
    count = len(layer.data)
    return f"{count} {thing}{'s' * (count != 1)}"


class PromptsSection(Section[PromptsState]):
    """Takes prompts from a Points or Shapes layer; hidden if there is none.

    Parameters
    ----------
    controller
        The controller of the viewer.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._picked: Points | Shapes | None = None
        self._result = ""
        self._done: WeakSet[Layer] = WeakSet()
        self.layer = combo("one of your own Points or Shapes layers; it is read, never changed")
        self.each = button("", "")
        self.one = button("as one object", "all points belong to one object on each plane")
        self.saved = QLabel()
        self.saved.setWordWrap(True)
        self.go_on = button(
            "Continue from these",
            "add these clicks and boxes with their objects to this session",
        )
        self.result = QLabel()
        self.result.setWordWrap(True)
        self.result.setEnabled(False)
        self.result.hide()
        head = line(QLabel("Prompts from"), self.layer)
        head.setStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.saved)
        column.addWidget(self.go_on)
        column.addLayout(head)
        column.addLayout(line(self.each, self.one))
        column.addWidget(self.result)
        self.go_on.clicked.connect(self._continue)
        self.layer.activated.connect(self._pick)
        self.each.clicked.connect(partial(self._read, "each"))
        self.one.clicked.connect(partial(self._read, "one"))

    def _state(self) -> PromptsState:
        state = prompts_state_of(self._controller, self._picked, self._result, self._done)
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
        self.result.setText(state.result)
        self.result.setVisible(bool(state.result))

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
            layer.visible = False  # the session's own layers show the same
        self._picked, self._result = None, read.summary
        self.refresh()

    def _pick(self, row: int) -> None:
        self._picked, self._result = self.layer.itemData(row), ""
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
        self._picked, self._result = None, read.summary
        self.refresh()
