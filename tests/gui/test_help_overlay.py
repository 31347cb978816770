"""The help over the canvas, over a plain window."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_sam.gui.help_overlay import HelpOverlay
from napari_sam.gui.key_table import ACTIONS, GESTURES


@pytest.fixture
def done():
    return []


@pytest.fixture
def window(qtbot):
    made = QWidget()
    qtbot.addWidget(made)
    made.resize(400, 300)
    made.canvas = QWidget()
    made.canvas.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    column = QVBoxLayout(made)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(made.canvas)
    made.show()
    return made


@pytest.fixture
def overlay(window, done):
    made = HelpOverlay(window.canvas, done.append)
    made.ask()
    return made


def test_help_lists_every_action_and_gesture(overlay):
    assert len(overlay.shown()) == len(ACTIONS) + len(GESTURES)
    assert "new object: N" in overlay.shown()


def test_help_lies_over_the_canvas_whatever_its_size(window, overlay, qtbot):
    window.resize(1200, 900)
    qtbot.waitUntil(lambda: overlay.geometry().right() > 1000)
    assert window.canvas.geometry().contains(overlay.geometry())
    assert overlay.width() < 600
    window.resize(300, 200)
    qtbot.waitUntil(lambda: overlay.width() < 300)
    assert window.canvas.geometry().contains(overlay.geometry())


def test_what_is_left_of_a_search_is_done_with_enter(window, overlay, done):
    QTest.keyClicks(overlay.search, "swap left")
    assert overlay.shown() == ["swap left and right click: Q"]
    QTest.keyClick(overlay.search, Qt.Key.Key_Return)
    assert done == ["swap_buttons"]
    assert overlay.isHidden()
    assert window.focusWidget() is window.canvas


def test_search_without_a_match_shows_a_note(overlay):
    QTest.keyClicks(overlay.search, "zebra")
    assert overlay.shown() == []
    assert overlay.none.isVisible()


def test_h_is_a_letter_in_the_search_and_closes_beside_it(window, overlay, done):
    QTest.keyClicks(overlay.search, "h")
    assert overlay.search.text() == "h"
    QTest.keyClick(overlay.search, Qt.Key.Key_Down)
    assert window.focusWidget() is overlay.rows
    QTest.keyClick(overlay.rows, Qt.Key.Key_H)
    assert overlay.isHidden()
    overlay.ask()
    QTest.keyClick(overlay.search, Qt.Key.Key_Escape)
    assert overlay.isHidden()
    assert done == []
