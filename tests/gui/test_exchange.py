"""Objects leave the viewer for other programs, and come in from them."""

import json

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_sam.gui import session_dialogs, session_reader
from napari_sam.io.exports import FORMATS


@pytest.fixture
def me(user, rng):
    return user(rng.integers(0, 255, (40, 50), np.uint8), name="cells", scale=(0.5, 0.5))


def test_objects_leave_the_viewer_and_come_back(me, tmp_path, monkeypatch):
    me.click((10, 10))
    me.session.new_object()
    me.click((30, 40))
    me.settle()
    before = me.labels.copy()
    keeping, section = me.controller.keeping, me.dock.files
    me.qtbot.waitUntil(lambda: keeping.path is not None)
    section.refresh()
    path = tmp_path / "cells.json"
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(path), "COCO data set (*.json)")
    )
    section.export.click()
    me.qtbot.waitUntil(lambda: path.exists() and not keeping.busy)
    written = json.loads(path.read_text())
    assert [one["object_id"] for one in written["annotations"]] == [1, 2]
    me.session.delete_object(1)
    me.session.delete_object(2)
    assert not me.labels.any()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    section.bring.click()
    me.qtbot.waitUntil(lambda: me.labels.any())
    np.testing.assert_array_equal(me.labels > 0, before > 0)
    numbers = np.unique(me.labels)[1:].tolist()
    assert [me.session.facts(number).origin for number in numbers] == ["imported"] * 2
    me.session.undo()
    assert not me.labels.any()
    assert session_reader.get_objects_reader(str(path)) is session_reader.read_objects
    assert session_reader.get_objects_reader(str(tmp_path / "other.json")) is None


@pytest.mark.parametrize(
    ("kind", "picked", "expected"),
    [
        ("GeoJSON for QuPath (*.geojson *.json)", "cells_labels.tif", "cells.geojson"),
        ("ImageJ regions (*.zip)", "mine.zip", "mine.zip"),
        ("Cut-outs with masks (*_crops)", "cells_labels.tif", "cells_crops"),
        ("Cell Tracking Challenge (*_ctc)", "cells_labels.tif", "cells_ctc"),
        ("Cell Tracking Challenge (*_ctc)", "day.1", "day.1"),
        ("YOLO segmentation (*_yolo)", "cells_labels.tif", "cells_yolo"),
        ("OME-Zarr labels (*.zarr)", "x.tif", "cells_labels.ome.zarr"),
    ],
)
def test_the_kind_that_is_picked_decides_the_format(tmp_path, monkeypatch, kind, picked, expected):
    def answer(parent, title, proposed, kinds):
        assert proposed == "cells_labels.tif"
        assert kind in kinds.split(";;")
        return str(tmp_path / picked), kind

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    to, path = session_dialogs.ask_where_to_export(None, "cells.tif")
    assert path == tmp_path / expected
    assert FORMATS[to].title == kind.split(" (")[0]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    assert session_dialogs.ask_where_to_export(None, "cells.tif") is None
