"""Where masks are written, and whether they may take pixels of other labels."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import combo, fill, line
from napari_sam.gui.layers import fits


class MaskSection(QWidget):
    """Where masks are written, and whether they may take pixels of other labels."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.layer = combo("the Labels layer that masks are written to")
        self.overwrite = QCheckBox("may overwrite other labels")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = line(QLabel("Masks in"), self.layer)
        row.setStretch(1, 1)
        column.addLayout(row)
        column.addWidget(self.overwrite)
        self.layer.activated.connect(self._choose)
        self.overwrite.toggled.connect(self._set_overwrite)

    def refresh(self) -> None:
        """Show what is chosen."""
        annotation = self._controller.annotation
        self.setEnabled(annotation is not None)
        if annotation is None:
            return
        items: list[tuple[str, Any]] = [("a new layer", None)]
        for layer in self._controller.viewer.layers:
            name = layer.name
            if fits(layer, annotation.image):
                items.append((name, layer))
            elif layer is annotation.labels:
                items.append((f"{name} (doesn't fit the image)", layer))
        fill(self.layer, items, annotation.labels)
        self.overwrite.blockSignals(True)
        self.overwrite.setChecked(annotation.session.overwrite)
        self.overwrite.blockSignals(False)

    def _choose(self, row: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.labels = self.layer.itemData(row)

    def _set_overwrite(self, on: bool) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.overwrite = on
