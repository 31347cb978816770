"""The packaged model in a real viewer: samples, dock and clicks as a user meets them."""

import npe2
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_sam import samples
from napari_sam.gui import current_session
from napari_sam.gui.controller import controller_of


@pytest.fixture
def opened(make_napari_viewer, installed, qtbot):
    """Open a sample and the dock from napari's menus."""

    def open_it(sample):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1000, 700)
        viewer.open_sample("napari-sam-live", sample)
        viewer.window.add_plugin_dock_widget("napari-sam-live", "Segment Anything")
        qtbot.wait(50)
        assert current_session(viewer).wait(120)
        viewer.reset_view()
        qtbot.wait(50)
        return viewer

    return open_it


@pytest.fixture
def installed():
    manager = npe2.PluginManager.instance()
    manager.discover()
    return manager


def click(viewer, qtbot, plane, point):
    image = controller_of(viewer).image
    world = image.data_to_world([*plane, *point])[-2:]
    canvas = viewer.window._qt_viewer.canvas
    x, y = canvas.view.scene.transform.map([world[1], world[0], 0, 1])[:2]
    at = QPoint(round(float(x)), round(float(y)))
    QTest.mouseMove(canvas.native, at)
    QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at)
    qtbot.wait(20)
    assert current_session(viewer).wait(120)


def test_one_click_segments_a_nucleus(opened, qtbot):
    viewer = opened("nuclei")
    (key, prompts) = next(iter(samples.load("nuclei").prompts.items()))
    click(viewer, qtbot, key[0], prompts.points[0])
    labels = np.asarray(controller_of(viewer).annotation.labels.data)
    row, column = prompts.points[0].astype(int)
    assert labels[row, column] == 1
    assert 100 < np.count_nonzero(labels) < 5000


def test_slices_of_a_stack_are_segmented_one_by_one(opened, qtbot):
    viewer = opened("ovule_3d")
    for (plane, _), prompts in list(samples.load("ovule_3d").prompts.items())[:8:5]:
        viewer.dims.set_current_step(0, plane[0])
        qtbot.wait(200)
        click(viewer, qtbot, plane, prompts.points[0])
        row, column = prompts.points[0].astype(int)
        labels = np.asarray(controller_of(viewer).annotation.labels.data)
        assert labels[plane[0], row, column] == 1
        assert 50 < np.count_nonzero(labels[plane[0]]) < 6000
