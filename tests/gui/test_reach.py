"""The dock by keyboard and by screen reader: names, Tab, Escape, and its width."""

from itertools import pairwise

from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QScrollBar,
    QStyleOptionComboBox,
    QVBoxLayout,
    QWidget,
)

from napari_sam.gui.controls import ElidedButton, Fold, Scrolled, button, combo, tool
from napari_sam.gui.status import StripState
from napari_sam.gui.strip import PlaneStrip

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    PlaneStrip,
)
INNER = (
    QScrollBar,
    QComboBox,
    QLineEdit,
    QAbstractSpinBox,
    QAbstractItemView,
)  # what is in these is theirs


def controls_of(dock):
    """Return the controls in the order of Tab."""
    order, widget = [], dock.nextInFocusChain()
    while widget is not dock:
        order.append(widget)
        widget = widget.nextInFocusChain()
    mine = [w for w in order if dock.isAncestorOf(w) and isinstance(w, CONTROLS)]
    return [w for w in mine if not isinstance(w, QScrollBar) and not _inside(w)]


def _inside(widget):
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, INNER):
            return True
        parent = parent.parentWidget()
    return False


def name_of(control):
    text = control.text() if isinstance(control, QAbstractButton) else ""
    return control.accessibleName() or text


def test_menu_shortens_what_it_has_no_room_for(qtbot):
    menu, option = combo("the model"), QStyleOptionComboBox()
    qtbot.addWidget(menu)
    menu.addItem("nano · built in · 0.25 s a plane")
    for width, is_whole in ((400, True), (120, False)):
        menu.resize(width, 30)
        menu.initStyleOption(option)
        assert (option.currentText == menu.currentText()) == is_whole
    assert option.currentText.startswith("nano")
    assert option.currentText.endswith("…")


def test_dock_is_used_by_keyboard(user, rng, qtbot):
    me = user(rng.integers(0, 255, (3, 40, 50), "uint8"))
    me.click((1, 20, 30))
    for fold in me.dock.findChildren(Fold):
        fold.expand()
    me.settle()
    controls = controls_of(me.dock)
    shown = [control for control in controls if control.isVisible()]
    assert len(shown) > 15

    unnamed = [c for c in controls if not any(x.isalpha() for x in name_of(c)) and c.isVisible()]
    assert not unnamed, f"no name for a screen reader: {[c.toolTip() or c for c in unnamed]}"
    for control in shown:
        if isinstance(control, (QAbstractButton, QComboBox, PlaneStrip)):
            policy = control.focusPolicy()
            assert policy == Qt.FocusPolicy.TabFocus, f"{name_of(control)}: {policy}"

    at = [(name_of(c), c.mapTo(me.dock, QPoint(0, c.height() // 2))) for c in shown]
    back = [(a, b) for (a, p), (b, q) in pairwise(at) if (q.y() + 8, q.x()) < (p.y(), p.x())]
    assert not back, f"Tab goes back in the dock: {back}"

    assert me.dock.minimumSizeHint().width() <= 320

    each_click = me.dock.object.each_click
    each_click.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(each_click, Qt.Key.Key_Space)
    assert me.annotation.new_each_click
    QTest.keyClick(each_click, Qt.Key.Key_N)
    qtbot.waitUntil(lambda: me.session.object_id == 2)
    QTest.keyClick(each_click, Qt.Key.Key_Escape)
    canvas = me.viewer.window._qt_viewer.canvas.native
    assert canvas.window().focusWidget() is canvas


def test_control_is_called_by_its_tip_without_the_key(qtbot):
    for control, name in (
        (tool("◀", "previous object (J)"), "previous object"),
        (tool("✕", "delete (Shift+D)\nfor good"), "delete"),
        (tool("x", "the plane (z)"), "the plane (z)"),
        (combo("where the model runs"), "where the model runs"),
    ):
        qtbot.addWidget(control)
        assert control.accessibleName() == name
    elided = ElidedButton()
    qtbot.addWidget(elided)
    elided.resize(40, 20)
    elided.set_text("a very long line", "undo: ")
    assert elided.accessibleName() == "undo: a very long line"
    made = button("Save", "write a file")
    qtbot.addWidget(made)
    assert name_of(made) == "Save"


def test_strip_is_walked_along_with_arrows(qtbot):
    strip = PlaneStrip()
    qtbot.addWidget(strip)
    picked = []
    strip.picked.connect(picked.append)
    strip.set_planes(StripState(("none",) * 5, current=1))
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_End, Qt.Key.Key_Home):
        QTest.keyClick(strip, key)
    strip.set_planes(StripState(("none",) * 5, current=4))
    QTest.keyClick(strip, Qt.Key.Key_Right)
    assert picked == [0, 2, 4, 0, 4]


def test_what_is_unfolded_in_a_low_dock_comes_into_view(qtbot):
    inside = QWidget()
    column = QVBoxLayout(inside)
    long = QLabel("\n" * 12)
    folds = [Fold(f"part {i}", QLabel("\n" * 6)) for i in range(3)]
    for part in (long, *folds):
        column.addWidget(part)
    dock = Scrolled(inside)
    qtbot.addWidget(dock)
    dock.resize(300, 200)
    dock.show()
    for fold in folds:
        fold.expand()
        qtbot.waitUntil(lambda fold=fold: _is_in_view(dock, fold))


def _is_in_view(dock, part) -> bool:
    top = part.mapTo(dock.viewport(), QPoint(0, 0)).y()
    return top >= 0 and top + part.height() <= dock.viewport().height()
