"""A real viewer with the dock in it, and a hand that clicks on its canvas."""

import gc
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from npe2 import PluginManifest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from vispy.scene import SceneCanvas

from napari_sam.gui.slicing import world_of_data
from napari_sam.gui.widget import SegmentAnything


def _nothing_is_painted(painted: SceneCanvas, event: object) -> None:
    painted._update_pending = False


class User:
    """Sees a viewer and a dock, and has a mouse."""

    def __init__(self, viewer, qtbot, segmenter) -> None:
        self.viewer, self.qtbot, self.segmenter = viewer, qtbot, segmenter
        self.dock = SegmentAnything(viewer, lambda model, device, progress: segmenter)
        self.area = viewer.window.add_dock_widget(self.dock, name="Segment Anything", area="right")
        self.settle()

    @property
    def controller(self):
        return self.dock.controller

    @property
    def annotation(self):
        return self.controller.annotation

    @property
    def session(self):
        return self.annotation.session

    @property
    def labels(self):
        return np.asarray(self.annotation.labels.data)

    def settle(self, milliseconds: int = 30, background: bool = False) -> None:
        """Let timers fire and wait until nothing is computed that somebody waits for."""
        self.qtbot.wait(milliseconds)
        assert self.controller.engine.wait(10, background)
        self.qtbot.wait(milliseconds)

    def scroll_to(self, *step: int) -> None:
        for axis, i in enumerate(step):
            self.viewer.dims.set_current_step(axis, i)
        self.settle(200)

    def at(self, point) -> QPoint:
        """Where on the canvas a data coordinate of the image is."""
        image = self.annotation.image
        world = world_of_data(self.viewer.dims, image, point)
        shown = [world[d] for d in self.viewer.dims.displayed]
        canvas = self.viewer.window._qt_viewer.canvas
        transform = canvas.view.scene.transform
        x, y = transform.map([shown[1], shown[0], 0, 1])[:2]
        return QPoint(round(float(x)), round(float(y)))

    def move(self, point) -> None:
        self._move_to(self.at(point))

    def _move_to(self, where: QPoint, held=Qt.MouseButton.NoButton) -> None:
        """Move the mouse: the canvas knows at once, where a moved cursor's event may come late."""
        native = self.viewer.window._qt_viewer.canvas.native
        none = Qt.MouseButton.NoButton
        event = QMouseEvent(
            *(QEvent.Type.MouseMove, QPointF(where), QPointF(native.mapToGlobal(where))),
            *(none, held, Qt.KeyboardModifier.NoModifier),
        )
        QApplication.sendEvent(native, event)

    def click(
        self,
        point,
        button=Qt.MouseButton.LeftButton,
        settle=True,
        modifier=Qt.KeyboardModifier.NoModifier,
    ) -> None:
        native = self.viewer.window._qt_viewer.canvas.native
        where = self.at(point)
        self._move_to(where)
        self.qtbot.wait(10)
        QTest.mouseClick(native, button, modifier, where)
        if settle:
            self.settle()

    def right_click(self, point) -> None:
        self.click(point, Qt.MouseButton.RightButton)

    def drag(self, start, *path, button=Qt.MouseButton.LeftButton) -> None:
        """Drag with a button held down, through one place or several."""
        native = self.viewer.window._qt_viewer.canvas.native
        none = Qt.KeyboardModifier.NoModifier
        places = [self.at(point) for point in (start, *path)]
        self._move_to(places[0])
        self.qtbot.wait(10)
        QTest.mousePress(native, button, none, places[0])
        for a, b in pairwise(places):
            for share in (0.3, 0.6, 1.0):
                self._move_to(a + (b - a) * share, button)
                self.qtbot.wait(10)
        QTest.mouseRelease(native, button, none, places[-1])
        self.settle()

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        QTest.keyClick(self.viewer.window._qt_viewer.canvas.native, key, modifier)
        self.settle()


@pytest.fixture(scope="session", autouse=True)
def few_objects_to_collect() -> Iterator[None]:
    """Leave what is imported out of garbage collections, and collect less often."""
    import torch  # noqa: F401

    gc.collect()
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(20_000, 10, 10)
    yield
    gc.set_threshold(*thresholds)


@pytest.fixture(scope="session", autouse=True)
def plugins_found_once() -> Iterator[None]:
    """Let the manifests of all plugins be read once, not for every viewer."""
    found = tuple(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): found)
        yield


@pytest.fixture
def segmenter() -> FakeSegmenter:
    return FakeSegmenter()


@pytest.fixture
def pixels() -> None:
    """Ask for a canvas that is painted: for tests of what is drawn in it, and how that goes."""


@pytest.fixture
def open_viewer(request, monkeypatch, make_napari_viewer):
    """Open a viewer that is really on the screen, with an image in it.

    Its canvas takes part in every event, but is painted only for tests that use ``pixels``:
    without a graphics card that is a tenth of the work. Nor is garbage collected at once
    when a layer goes, as napari does it for the sake of what its painting leaves.
    """
    if "pixels" not in request.fixturenames:
        monkeypatch.setattr(SceneCanvas, "on_draw", _nothing_is_painted)
        monkeypatch.setattr("napari._vispy.canvas.gc", SimpleNamespace(collect=lambda: 0))

    def open_it(data=None, **options):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1000, 700)
        if data is not None:
            viewer.add_image(data, **options)
        return viewer

    return open_it


@pytest.fixture
def user(open_viewer, qtbot, segmenter):
    """Open an image with the dock beside it: ``user(data, **options_of_add_image)``."""

    def begin(data=None, **options) -> User:
        viewer = open_viewer(data, **options)
        person = User(viewer, qtbot, segmenter)
        viewer.reset_view()
        person.settle()
        return person

    return begin


@pytest.fixture
def user_and_errors(user):
    """Open an image, and collect the errors that the dock shows."""

    def begin(data, **options):
        me = user(data, **options)
        errors = []
        me.controller.refused.connect(lambda error: errors.append(str(error)))
        return me, errors

    return begin
