"""Which image, which model, on which device."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QLabel, QSizePolicy, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import combo, fill, line
from napari_sam.gui.models import choices, device_choices

_OWN_FILE = "own checkpoint…"


class ChoiceSection(QWidget):
    """Which image, which model, on which device."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.image = combo("the image layer to annotate; follows the active layer")
        self.plane = QLabel()
        self.plane.setEnabled(False)
        self.model = combo("the model, with its size and measured time per plane")
        self.device = combo("where the model runs")
        self.device.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Image"), 0, 0)
        grid.addWidget(self.image, 0, 1)
        grid.addWidget(self.plane, 0, 2)
        grid.addWidget(QLabel("Model"), 1, 0)
        row = line(self.model, self.device)
        row.setStretch(0, 1)
        grid.addLayout(row, 1, 1, 1, 2)
        self.device.hide()
        self.image.activated.connect(self._choose_image)
        self.model.activated.connect(self._choose_model)
        self.device.activated.connect(self._choose_device)

    def refresh(self) -> None:
        """Show what is chosen."""
        controller = self._controller
        images = controller.images()
        items: list[tuple[str, Any]] = [(image.name, image) for image in images]
        if controller.image is None:
            items.insert(0, ("choose an image" if images else "no image open", None))
        fill(self.image, items, controller.image)
        seconds = {m: s for (m, d), s in controller.seconds.items() if d == controller.device}
        models = choices(seconds, controller.extra_model)
        fill(
            self.model, [*((c.text, c.model) for c in models), (_OWN_FILE, None)], controller.model
        )
        for row, choice in enumerate(models):
            self.model.setItemData(row, choice.tip, Qt.ItemDataRole.ToolTipRole)
        if controller.segmenter is not None:  # before, it would wait for torch
            devices = device_choices()
            fill(self.device, [(name, name) for name in devices], controller.device)
            self.device.setVisible(len(devices) > 1)
        self.refresh_plane()

    def refresh_plane(self) -> None:
        """Show which plane is on screen."""
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        text = annotation.plane_name(plane) if annotation and plane else ""
        self.plane.setText(text)
        self.plane.setVisible(bool(text))

    def _choose_image(self, row: int) -> None:
        image = self.image.itemData(row)
        if isinstance(image, Image):
            self._controller.choose_image(image)

    def _choose_model(self, row: int) -> None:
        model = self.model.itemData(row)
        if model is None:
            kinds = "Checkpoints (*.safetensors *.pth *.pt)"
            model, _ = QFileDialog.getOpenFileName(self, "Open a checkpoint", "", kinds)
            if not model:
                self.refresh()
                return
            self._controller.extra_model = model
        self._controller.load_model(model=model)

    def _choose_device(self, row: int) -> None:
        self._controller.load_model(device=self.device.itemData(row))
