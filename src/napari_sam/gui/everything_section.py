"""Buttons that find everything in the plane shown or in the whole stack."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel, QProgressBar, QStackedWidget, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, line
from napari_sam.gui.planes import axis_name, channel_axis


class EverythingSection(QWidget):
    """Buttons that find everything; while that goes on, how far it is and a way to stop it."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.plane = button("this plane", "find every object of the plane shown")
        self.stack = button("", "")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.cancel = button("Cancel", "stop; what was found so far is dropped")
        self.pages = QStackedWidget()
        asking, running = QWidget(), QWidget()
        row = line(QLabel("Find all in"), self.plane, self.stack)
        row.setStretch(1, 1)
        row.setStretch(2, 1)
        asking.setLayout(row)
        row = line(QLabel("Finding all"), self.bar, self.cancel)
        row.setStretch(1, 1)
        running.setLayout(row)
        self.pages.addWidget(asking)
        self.pages.addWidget(running)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.pages)
        self.plane.clicked.connect(self._find_plane)
        self.stack.clicked.connect(self._find_stack)
        self.cancel.clicked.connect(controller.everything.cancel)

    def refresh(self) -> None:
        """Show what can be asked for, or how far it is."""
        fraction = self._controller.everything.fraction
        self.pages.setCurrentIndex(0 if fraction is None else 1)
        if fraction is not None:
            self.bar.setValue(round(1000 * fraction))
            return
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        ready = plane is not None and self._controller.segmenter is not None
        self.setEnabled(ready)
        axis = annotation.scrolled_axis(plane) if annotation else None
        length = 1 if annotation is None or axis is None else annotation.session.source.shape[axis]
        self.stack.setVisible(length > 1)
        if annotation is not None and axis is not None:
            name = axis_name(annotation.image, axis)
            along = "" if name == "plane" else f" along {name}"
            channels = axis == channel_axis(annotation.image)
            self.stack.setText(f"all {length} {'channels' if channels else 'planes'}")
            self.stack.setToolTip(
                f"find every object of each of {length} channels by itself; if they are depth or "
                "time, name the axis so (z, t) in the layer's axis labels"
                if channels
                else f"find every object of all {length} planes{along}; those that overlap from "
                "plane to plane are one"
            )

    def _find_plane(self) -> None:
        self._start(stack=False)

    def _find_stack(self) -> None:
        self._start(stack=True)

    def _start(self, stack: bool) -> None:
        annotation, segmenter = self._controller.annotation, self._controller.segmenter
        plane = annotation.displayed() if annotation else None
        if annotation is None or segmenter is None or plane is None:
            return
        axis = annotation.scrolled_axis(plane) if stack else None
        self._controller.everything.start(annotation, segmenter, plane, axis)
