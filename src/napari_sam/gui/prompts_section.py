"""Prompts from a layer of the user's own: which one, and what its points are."""

from __future__ import annotations

from functools import partial
from typing import Any

from napari.layers import Points, Shapes
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, combo, fill, line
from napari_sam.gui.users_prompts import Grouping, offered, read_layer, tells_objects


class PromptsSection(QWidget):
    """Takes prompts from a Points or Shapes layer; away while there is none.

    Parameters
    ----------
    controller
        Whose image.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._picked: Points | Shapes | None = None
        self.layer = combo("a Points or Shapes layer of your own, which is read and never changed")
        self.each = button("", "")
        self.one = button("as one object", "all points belong to one object on each plane")
        self.told = QLabel()
        self.told.setWordWrap(True)
        self.told.setEnabled(False)
        self.told.hide()
        head = line(QLabel("Prompts from"), self.layer)
        head.setStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(head)
        column.addLayout(line(self.each, self.one))
        column.addWidget(self.told)
        self.layer.activated.connect(self._pick)
        self.each.clicked.connect(partial(self._read, "each"))
        self.one.clicked.connect(partial(self._read, "one"))

    def refresh(self) -> None:
        """Show which layers there are, and what can be done with the one picked."""
        annotation = self._controller.annotation
        layers: list[Points | Shapes] = []
        if annotation is not None:
            own = self._controller.own_layers()
            layers = offered(self._controller.viewer.layers, annotation.image, own)
        if not any(layer is self._picked for layer in layers):
            self._picked = None
        self.setVisible(bool(layers))
        items: list[tuple[str, Any]] = [("—", None)]
        fill(self.layer, items + [(layer.name, layer) for layer in layers], self._picked)
        picked = self._picked
        self.each.setVisible(picked is not None)
        self.one.setVisible(picked is not None and not tells_objects(picked))
        if isinstance(picked, Shapes):
            self.each.setText(f"{len(picked.data)} shapes as boxes")
            self.each.setToolTip("each rectangle is the box of an object")
        elif picked is not None and tells_objects(picked):
            self.each.setText(f"{len(picked.data)} points by object")
            self.each.setToolTip("points with the same feature 'object' belong together")
        elif picked is not None:
            self.each.setText(f"{len(picked.data)} points, each an object")
            self.each.setToolTip("every point is an object of its own")

    def _pick(self, row: int) -> None:
        self._picked = self.layer.itemData(row)
        self.told.hide()
        self.refresh()

    def _read(self, grouping: Grouping, *_: object) -> None:
        annotation, layer = self._controller.annotation, self._picked
        if annotation is None or layer is None:
            return
        session = annotation.session
        try:
            plane = annotation.plane_to_prompt()
            read = read_layer(layer, annotation.image, plane, grouping, session.highest_object)
            session.add_prompts(read.prompts)
        except ValueError as error:
            annotation.refused.emit(error)
            return
        session.new_object()
        self._picked = None
        self.told.setText(read.told)
        self.told.show()
        self.refresh()
