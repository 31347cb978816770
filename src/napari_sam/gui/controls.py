"""Small Qt controls with the style and keyboard behaviour of the dock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from qtpy.QtCore import (  # type: ignore[attr-defined]
    QObject,
    QPoint,
    QPointF,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import (
    QColor,
    QIcon,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
    QResizeEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.gui.contrast import blended, readable
from napari_sam.gui.delay import Delay
from napari_sam.gui.palette import FOCUSED

FOCUS = f"""
QPushButton:focus, QToolButton:focus {{ border: 1px solid {FOCUSED}; padding: 3px; }}
QComboBox:focus {{ border: 1px solid {FOCUSED}; padding: 2px 9px 2px 7px; }}
QCheckBox:focus {{ border: 1px solid {FOCUSED}; }}
"""
"""Style of the control with keyboard focus: a frame that is visible in dark and light themes."""

_FLAT = f"""
QPushButton {{ text-align: left; padding: 3px; background: transparent; border: none; }}
QPushButton:focus {{ padding: 2px; border: 1px solid {FOCUSED}; }}
"""

C = TypeVar("C", bound=QWidget)

_KEY_IN_TIP = re.compile(r" \([A-Z?](\+?\w)*\)$")

_CHOSEN = """
QToolButton { background: rgba(128, 128, 128, 60); border-radius: 2px; padding: 2px; }
QToolButton:hover { background: rgba(128, 128, 128, 110); }
QToolButton:checked { background: rgba(74, 110, 230, 200); color: white; }
"""
_EDGE = 2  # pixels that a style leaves free beside the text of a menu
_WAVE = ((4, 23), (9, 13), (15, 19), (20, 10), (28, 7))
_LOOP = ((7, 9), (18, 4), (28, 11), (25, 22), (13, 28), (4, 20))

Items = tuple[tuple[str, object], ...]
"""Lines of a menu: the text and the value of each."""


def reachable(control: C, name: str = "") -> C:
    """Let a control get keyboard focus with Tab; a click on it leaves the focus on the canvas.

    Parameters
    ----------
    control
        The control.
    name
        Name for screen readers, if the control has no text in words.

    Returns
    -------
    control
        The same.
    """
    control.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if name:
        control.setAccessibleName(_KEY_IN_TIP.sub("", name.partition("\n")[0]))
    return control


def combo(tip: str) -> QComboBox:
    """Make a menu that shares the width with its neighbours."""
    menu = reachable(_Menu(), tip)
    menu.setToolTip(tip)
    menu.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    menu.setMinimumContentsLength(4)
    menu.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return menu


def button(text: str, tip: str) -> QPushButton:
    """Make a button that leaves keyboard focus on the canvas when it is clicked."""
    made = reachable(QPushButton(text))
    made.setToolTip(tip)
    return made


def check(text: str, tip: str) -> QCheckBox:
    """Make a checkbox that leaves keyboard focus on the canvas when it is clicked."""
    made = reachable(QCheckBox(text))
    made.setToolTip(tip)
    return made


class _Menu(QComboBox):
    """A menu that shortens the text it shows if there is no room for all of it.

    The wheel changes it only while it has keyboard focus; else the dock scrolls.
    """

    def initStyleOption(self, option: QStyleOptionComboBox | None) -> None:
        """Fill in what is drawn, with as much of the text as there is room for."""
        super().initStyleOption(option)
        style = self.style()
        if option is None or style is None:
            return
        control = QStyle.ComplexControl.CC_ComboBox
        field = style.subControlRect(control, option, QStyle.SubControl.SC_ComboBoxEditField, self)
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, field.width() - 2 * _EDGE
        )

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the menu with its shortened text: Qt 5 would not use :meth:`initStyleOption`."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if event is not None and not self.hasFocus():
            event.ignore()
        else:
            super().wheelEvent(event)


class Scrolled(QScrollArea):
    """A column that scrolls vertically if it doesn't fit into the window.

    Parameters
    ----------
    inside
        The column.
    """

    def __init__(self, inside: QWidget) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidgetResizable(True)
        self.setWidget(inside)
        self._wanted: QWidget | None = None
        self._laid_out = Delay(0, self._scroll, self)

    def sizeHint(self) -> QSize:
        """Return the size of the whole column."""
        inside = self.widget()
        assert inside is not None
        return inside.sizeHint()

    def minimumSizeHint(self) -> QSize:
        """Return the least size: the column's width with the scroll bar, and some height."""
        inside, bar = self.widget(), self.verticalScrollBar()
        assert inside is not None
        assert bar is not None
        return QSize(inside.minimumSizeHint().width() + bar.sizeHint().width(), 120)

    def bring_up(self, part: QWidget) -> None:
        """Scroll until a part is in view, once it is laid out; if it is too high, its top is."""
        self._wanted = part
        self._laid_out.start()

    def _scroll(self) -> None:
        part, self._wanted = self._wanted, None
        inside, bar, port = self.widget(), self.verticalScrollBar(), self.viewport()
        if part is None:
            return
        assert inside is not None
        assert bar is not None
        assert port is not None
        top = part.mapTo(inside, QPoint(0, 0)).y()
        foot = top + part.height() - port.height()
        bar.setValue(min(top, max(bar.value(), foot)))


def bring_up(part: QWidget) -> None:
    """Scroll the dock until a part of it is in view."""
    around: QObject | None = part
    while around is not None and not isinstance(around, Scrolled):
        around = around.parent()
    if around is not None:
        around.bring_up(part)


class ElidedLabel(QLabel):
    """A label that leaves out the beginning of its text if there is no room for all of it.

    Parameters
    ----------
    least
        Least width in pixels.
    """

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least = least

    def minimumSizeHint(self) -> QSize:
        """Return the least size."""
        whole = super().minimumSizeHint()
        return QSize(min(self._least, whole.width()), whole.height())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Show as much of the text as there is room for."""
        room = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideLeft, room.width())
        painter = QPainter(self)
        style = self.style()
        assert style is not None
        style.drawItemText(
            painter, room, Qt.AlignmentFlag.AlignVCenter, self.palette(), self.isEnabled(), text,
            self.foregroundRole(),
        )  # fmt: skip


class ElidedButton(QPushButton):
    """A flat button that leaves out the middle of its text if there is no room for all of it.

    Its tooltip shows the whole text.
    """

    def __init__(self) -> None:
        super().__init__()
        self._prefix = self._rest = ""
        self.setFlat(True)
        reachable(self)
        self.setStyleSheet(_FLAT)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    @property
    def whole_text(self) -> str:
        """The whole text, of which the button may show a part."""
        return self._prefix + self._rest

    def set_text(self, text: str, prefix: str = "") -> None:
        """Change the text.

        Parameters
        ----------
        text
            The part that may be shortened.
        prefix
            The part before it, which is always shown.
        """
        self._prefix, self._rest = prefix, text
        self.setToolTip(self.whole_text)
        self.setAccessibleName(self.whole_text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Show as much of the text as there is room for."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.ensurePolished()  # sets the font of the style
        metrics = self.fontMetrics()
        room = self.width() - 8 - metrics.horizontalAdvance(self._prefix)
        rest = metrics.elidedText(self._rest, Qt.TextElideMode.ElideMiddle, room)
        self.setText(self._prefix + rest)


def thin_bar(name: str, height: int = 8) -> QProgressBar:
    """Return a thin progress bar from 0 to 1000; `name` is for screen readers."""
    made = QProgressBar()
    made.setAccessibleName(name)
    made.setRange(0, 1000)
    made.setTextVisible(False)
    made.setMinimumWidth(24)  # its default is too wide for a narrow dock
    made.setFixedHeight(height)
    return made


def caption(name: str) -> QLabel:
    """Return a label that takes the width there is; `name` is for screen readers."""
    made = QLabel()
    made.setAccessibleName(name)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return made


def tool(text: str, tip: str) -> QToolButton:
    """Make a small button that leaves keyboard focus on the canvas when it is clicked."""
    made = reachable(QToolButton(), tip)
    made.setText(text)
    made.setToolTip(tip)
    return made


def choice(text: str, tip: str) -> QToolButton:
    """Make a button for one of several tools, with its name below its icon."""
    made = tool(text, tip)
    made.setAccessibleName(text)
    made.setCheckable(True)
    made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
    made.setStyleSheet(_CHOSEN)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return made


def line(*widgets: QWidget) -> QHBoxLayout:
    """Put widgets side by side."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return row


@contextmanager
def quietly(*controls: QObject) -> Iterator[None]:
    """Block the signals of controls while they are set."""
    before = [control.blockSignals(True) for control in controls]
    try:
        yield
    finally:
        for control, blocked in zip(controls, before, strict=True):
            control.blockSignals(blocked)


def fill(menu: QComboBox, items: Sequence[tuple[str, object]], chosen: object) -> None:
    """Set the lines of a menu and which is chosen, without emitting signals."""
    with quietly(menu):
        if [(menu.itemText(i), menu.itemData(i)) for i in range(menu.count())] != list(items):
            menu.clear()
            for text, data in items:
                menu.addItem(text, data)
        for row, (_, data) in enumerate(items):
            if data == chosen:
                menu.setCurrentIndex(row)


class Fold(QWidget):
    """A collapsible part of the dock, collapsed at first, under a title to click.

    Parameters
    ----------
    title
        The title, which is always shown.
    inside
        The part that is shown while it is expanded.

    Attributes
    ----------
    toggled
        Signal: it was expanded (True) or collapsed (False).
    """

    toggled = Signal(bool)

    def __init__(self, title: str, inside: QWidget) -> None:
        super().__init__()
        self._title = title
        self._inside = inside
        self._quietly = False
        self.head = QPushButton()
        self.head.setCheckable(True)
        self.head.setStyleSheet(_FLAT)
        reachable(self.head)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.head)
        column.addWidget(inside)
        self.head.toggled.connect(self._show)
        self._draw(False)

    @property
    def is_expanded(self) -> bool:
        """Whether the part below the title is shown."""
        return self.head.isChecked()

    def expand(self, quietly: bool = False) -> None:
        """Show the part below the title; with `quietly`, don't scroll the dock to it."""
        self._quietly = quietly
        self.head.setChecked(True)
        self._quietly = False

    def set_title(self, title: str) -> None:
        """Change the title."""
        if title != self._title:
            self._title = title
            self._draw(self.is_expanded)

    def _show(self, expanded: bool) -> None:
        self._draw(expanded)
        if expanded and not self._quietly:
            bring_up(self)
        self.toggled.emit(expanded)

    def _draw(self, expanded: bool) -> None:
        self.head.setAccessibleName(f"{self._title}, {'shown' if expanded else 'folded'}")
        self.head.setText(f"{'▾' if expanded else '▸'}  {self._title}")
        self._inside.setVisible(expanded)


def rule() -> QFrame:
    """Make a thin line between two sections."""
    made = QFrame()
    made.setFixedHeight(1)
    made.setStyleSheet("background: rgba(128, 128, 128, 90); border: none;")
    return made


def choice_mark(shape: str, colour: str, background: str) -> QIcon:
    """Draw the icon of a button for one of several tools, readable whether checked or not."""
    grey = [blended("#808080", opacity, background) for opacity in (60 / 255, 110 / 255)]
    icon = QIcon(mark(shape, readable(colour, *grey)))
    chosen = readable(colour, blended("#4a6ee6", 200 / 255, background))
    icon.addPixmap(mark(shape, chosen), QIcon.Mode.Normal, QIcon.State.On)
    return icon


def mark(shape: str, colour: str) -> QPixmap:
    """Draw a ``lock``, or a prompt: ``disc``, ``cross``, ``box``, ``stroke``, ``lasso``."""
    pixmap = QPixmap(32, 32)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))
    if shape == "disc":
        painter.drawEllipse(QRectF(6, 6, 20, 20))
    elif shape == "cross":
        corners = [(12, 5), (20, 5), (20, 12), (27, 12), (27, 20), (20, 20)]
        corners += [(20, 27), (12, 27), (12, 20), (5, 20), (5, 12), (12, 12)]
        painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    elif shape == "lock":
        painter.drawRoundedRect(QRectF(6, 14, 20, 14), 3, 3)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(colour), 4))
        painter.drawArc(QRectF(10, 4, 12, 20), 0, 180 * 16)
    else:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(colour), 4))
        if shape == "stroke":
            painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in _WAVE]))
        elif shape == "lasso":
            painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in _LOOP]))
        else:
            painter.drawRect(QRectF(5, 7, 22, 18))
    painter.end()
    return pixmap
