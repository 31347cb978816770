"""Section of the dock with the status line, the progress and the strip of planes."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
)

from napari_sam.gui.contrast import background_of, readable
from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, reachable, thin_bar
from napari_sam.gui.palette import GREEN, GREY, RED, YELLOW
from napari_sam.gui.section import Section
from napari_sam.gui.status import Status, StripState, status_of, strip_axis, strip_of
from napari_sam.gui.strip import PlaneStrip

_LIGHTS = {"ready": GREEN, "busy": YELLOW, "idle": GREY, "failed": RED}


class StatusSection(Section[tuple[Status, StripState | None]]):
    """Shows the work in progress and the planes of a stack, and can stop the work."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.light = QLabel("●")
        self.text = QLabel()
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.button = button("", "")
        self.button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.bar = thin_bar("progress", 4)
        keep = self.bar.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(keep)
        self.strip = reachable(PlaneStrip(), "planes of the stack")
        line = QHBoxLayout()
        line.addWidget(self.light)
        line.addWidget(self.text, 1)
        line.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addLayout(line)
        column.addWidget(self.bar)
        column.addWidget(self.strip)
        self.button.clicked.connect(self._pressed)
        self.strip.picked.connect(self._go_to)

    def _state(self) -> tuple[Status, StripState | None]:
        return status_of(self._controller), strip_of(self._controller)

    def _draw(self, state: tuple[Status, StripState | None]) -> None:
        status, strip = state
        background = background_of(self._controller.viewer)
        self.light.setStyleSheet(f"color: {readable(_LIGHTS[status.light], background)}")
        self.text.setText(status.text)
        self.text.setToolTip(status.text)
        self.light.setAccessibleName(status.light)
        self.button.setText(status.action)
        self.button.setVisible(bool(status.action))
        self.bar.setVisible(status.fraction is not None)
        if status.fraction is not None:
            self.bar.setRange(0, 0 if status.fraction < 0 else 1000)
            self.bar.setValue(round(1000 * max(0.0, status.fraction)))
        self.strip.setVisible(strip is not None)
        if strip is not None:
            self.strip.set_planes(strip)

    def changeEvent(self, event: QEvent | None) -> None:
        """Draw the light again, in a colour that suits the theme, when the theme changes."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange and self._shown:
            self._draw(self._shown)

    def _go_to(self, index: int) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation is None or plane is None:
            return
        axis = strip_axis(annotation, plane)
        if axis is not None:
            annotation.show_plane((*plane[:axis], index, *plane[axis + 1 :]))

    def _pressed(self) -> None:
        controller = self._controller
        if controller.loading is not None:
            controller.cancel_loading()
        elif self.shown[0].action == "Cancel" and controller.annotation:
            controller.annotation.session.cancel()
        elif controller.segmenter is None:
            controller.load_model()
        elif controller.annotation:
            controller.annotation.show()
