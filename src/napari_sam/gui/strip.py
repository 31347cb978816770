"""A strip of all planes along an axis, with their state, prompts and an object's quality."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_sam.gui.palette import (
    DOUBT,
    FAILED,
    FOCUSED,
    GREEN,
    GREY,
    NONE,
    POOR,
    QUEUED,
    READY,
    SURE,
)
from napari_sam.gui.status import StripState
from napari_sam.session.spans import DOUBTFUL

_HEIGHT, _MORE = 18, 17  # height in pixels of the planes, and of the quality bars below them
_BASE, _TALLEST = 32, 14  # bottom of the bars, and height of the tallest, in pixels
_POOR = 0.5 * DOUBTFUL
_LOWEST = 0.25  # quality at which a bar has no height; it is hardly ever lower


class PlaneStrip(QWidget):
    """One cell per plane, coloured by state, with a dot if it has prompts; a click goes there.

    If the current object was followed, each of its carried masks has a bar below, whose height is
    the quality; under the dotted line it is doubtful. Diamonds mark planes where the object is
    known.

    Attributes
    ----------
    picked
        Signal: a plane was clicked; emits its index along the axis.
    shown
        The planes, as they were set.
    """

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setToolTip("planes of the stack: blue if embedded, with a green dot if prompted")
        self.shown = StripState()

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(100, _HEIGHT + (_MORE if self._has_object else 0))

    def set_planes(self, shown: StripState) -> None:
        """Show other planes."""
        if shown == self.shown:
            return
        had, self.shown = self._has_object, shown
        if had != self._has_object:
            self.updateGeometry()
        self.update()

    @property
    def _has_object(self) -> bool:
        return bool(self.shown.quality)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the cells."""
        painter = QPainter(self)
        painter.setPen(Qt.PenStyle.NoPen)
        colours = {"ready": READY, "queued": QUEUED, "failed": FAILED, "none": NONE}
        states = self.shown.states
        step = self.width() / max(1, len(states))
        gap = 1.0 if step >= 4 else 0.0
        for i, state in enumerate(states):
            painter.setBrush(QColor(colours[state]))
            painter.drawRect(QRectF(i * step, 7, max(1.0, step - gap), 7))
        painter.setBrush(QColor(GREEN))
        for i in self.shown.prompted:
            painter.drawEllipse(QRectF((i + 0.5) * step - 2 - gap / 2, 1, 4, 4))
        if self._has_object:
            self._paint_quality(painter, step, gap)
        if states:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            width = max(3.0, step - gap)
            left = (self.shown.current + 0.5) * step - width / 2
            for colour, out in (("black", 1), ("white", 0)):  # visible in dark and light themes
                painter.setPen(QColor(colour))
                painter.drawRect(QRectF(left - out, 6 - out, width + 2 * out, 9 + 2 * out))
        if self.hasFocus():
            painter.setPen(QColor(FOCUSED))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def _paint_quality(self, painter: QPainter, step: float, gap: float) -> None:
        """Draw the quality of the object's masks, and the planes where it is known."""
        shown = self.shown
        for i, quality in shown.quality.items():
            if i not in shown.anchors:
                colour = SURE if quality >= DOUBTFUL else DOUBT if quality >= _POOR else POOR
                painter.setBrush(QColor(colour))
                height = max(2.0, _height(quality))
                painter.drawRect(QRectF(i * step, _BASE - height, max(1.0, step - gap), height))
        painter.setPen(QPen(QColor(GREY), 1, Qt.PenStyle.DotLine))
        level = _BASE - _height(DOUBTFUL)
        painter.drawLine(QPointF(0, level), QPointF(self.width(), level))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor("black"), 1))
        painter.setBrush(QColor("white"))
        middle = _BASE - _TALLEST / 2
        for i in shown.anchors:
            x = (i + 0.5) * step - gap / 2
            corners = ((x, middle - 6), (x + 4, middle), (x, middle + 6), (x - 4, middle))
            painter.drawPolygon(QPolygonF([QPointF(*corner) for corner in corners]))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(Qt.PenStyle.NoPen)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the plane under the mouse."""
        if event is not None and self.shown.states:
            self.picked.emit(self._index_at(event.position().x()))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Go to the previous or next plane with arrows, to the first or last with Home and End."""
        last, current = len(self.shown.states) - 1, self.shown.current
        steps = {
            Qt.Key.Key_Left: max(0, current - 1),
            Qt.Key.Key_Right: min(last, current + 1),
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        if event is not None and self.shown.states and event.key() in steps:
            self.picked.emit(steps[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Show a tooltip for the plane under the mouse, or go there while a button is held."""
        if event is None or not self.shown.states:
            return
        index = self._index_at(event.position().x())
        if event.buttons():
            self.picked.emit(index)
        else:
            QToolTip.showText(event.globalPosition().toPoint(), self.shown.cell_text(index), self)

    def _index_at(self, x: float) -> int:
        count = len(self.shown.states)
        return min(count - 1, max(0, int(x / self.width() * count)))


def _height(quality: float) -> float:
    """Return the height of the bar for a quality, in pixels."""
    return _TALLEST * max(0.0, quality - _LOWEST) / (1 - _LOWEST)
