"""A strip of all planes along the axis that is scrolled: which are embedded, which have prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_sam.gui.palette import FAILED, FOCUSED, GREEN, NONE, QUEUED, READY

_HEIGHT = 18


class PlaneStrip(QWidget):
    """One cell per plane, coloured by state; a mark where there are prompts; a click goes there.

    Attributes
    ----------
    picked
        A plane was clicked: its index along the axis.
    """

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setToolTip("planes of the stack: blue where embedded, a green mark where prompted")
        self._states: Sequence[str] = []
        self._prompted: frozenset[int] = frozenset()
        self._current = 0
        self._name: Callable[[int], str] = str

    def sizeHint(self) -> QSize:
        """Return the size Qt should give it."""
        return QSize(100, _HEIGHT)

    def set_planes(
        self,
        states: Sequence[str],
        prompted: frozenset[int],
        current: int,
        name: Callable[[int], str] = str,
    ) -> None:
        """Show planes.

        Parameters
        ----------
        states
            Of each plane: ``ready``, ``queued``, ``failed`` or ``none``.
        prompted
            Indices of planes that have prompts.
        current
            Index of the plane on screen.
        name
            Spells an index.
        """
        if (states, prompted, current) == (self._states, self._prompted, self._current):
            return
        self._states, self._prompted, self._current = states, prompted, current
        self._name = name
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the cells."""
        painter = QPainter(self)
        painter.setPen(Qt.PenStyle.NoPen)
        colours = {"ready": READY, "queued": QUEUED, "failed": FAILED, "none": NONE}
        step = self.width() / max(1, len(self._states))
        gap = 1.0 if step >= 4 else 0.0
        for i, state in enumerate(self._states):
            painter.setBrush(QColor(colours[state]))
            painter.drawRect(QRectF(i * step, 7, max(1.0, step - gap), 7))
        painter.setBrush(QColor(GREEN))
        for i in self._prompted:
            painter.drawEllipse(QRectF((i + 0.5) * step - 2 - gap / 2, 1, 4, 4))
        if self._states:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            width = max(3.0, step - gap)
            left = (self._current + 0.5) * step - width / 2
            for colour, out in (("black", 1), ("white", 0)):  # seen on dark and on light
                painter.setPen(QColor(colour))
                painter.drawRect(QRectF(left - out, 6 - out, width + 2 * out, 9 + 2 * out))
        if self.hasFocus():
            painter.setPen(QColor(FOCUSED))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the plane under the mouse."""
        if event is not None and self._states:
            self.picked.emit(self._index_at(event.position().x()))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Go a plane back or on with the arrows, to the first or the last with Home and End."""
        last = len(self._states) - 1
        steps = {
            Qt.Key.Key_Left: max(0, self._current - 1),
            Qt.Key.Key_Right: min(last, self._current + 1),
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        if event is not None and self._states and event.key() in steps:
            self.picked.emit(steps[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Name the plane under the mouse, or go there while a button is held."""
        if event is None or not self._states:
            return
        index = self._index_at(event.position().x())
        if event.buttons():
            self.picked.emit(index)
        else:
            told = f"{self._name(index)}: {_SAYS[self._states[index]]}"
            QToolTip.showText(event.globalPosition().toPoint(), told, self)

    def _index_at(self, x: float) -> int:
        return min(len(self._states) - 1, max(0, int(x / self.width() * len(self._states))))


_SAYS = {
    "ready": "embedded",
    "queued": "being embedded",
    "failed": "could not be embedded",
    "none": "not embedded yet",
}
