"""What others do to the features of the prompts layer is taken up, or put back with a message."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from core.fake_segmenter import FakeSegmenter
from napari.layers import Image

from napari_sam.gui.clicks import ClickEditor
from napari_sam.gui.layers import new_points, new_shapes
from napari_sam.gui.planes import source_of
from napari_sam.gui.shapes import ShapeEditor
from napari_sam.session import Session

SHAPE = (60, 80)


class Layer:
    """A prompts layer and its session, without a viewer."""

    def __init__(self) -> None:
        image = Image(np.zeros(SHAPE, np.uint8), contrast_limits=(0, 255))
        self.session = Session(FakeSegmenter(), source_of(image))
        self.points = new_points(image)
        self.errors: list[str] = []
        self.sign = 1
        self.editor = ClickEditor(
            self.session,
            self.points,
            lambda: (None, None),
            lambda: self.sign,
            lambda error: self.errors.append(str(error)),
        )
        self.session.add_point((), (20, 30))
        self.session.add_point((), (23, 30), 0)
        self.session.new_object()
        self.session.add_point((), (40, 60))

    def click(self, point) -> None:
        """Press the mouse in the canvas: our callback comes first, then napari's."""
        self.points.mode = "add"
        event = SimpleNamespace(button=1, modifiers=(), pos=(0, 0))
        next(self.editor._watch_click(self.points, event))
        self.points.add(point)


@pytest.fixture
def clicked(qapp):
    layer = Layer()
    yield layer
    layer.editor.close()


@pytest.mark.parametrize("sign", [1, 0])
def test_left_click_has_the_sign_that_is_chosen_at_that_moment(clicked, sign):
    clicked.sign = sign
    clicked.click((10, 10))
    assert clicked.session.prompts.clicks[-1].label == sign


def is_whole(me):
    table, clicks = me.points.features, me.session.prompts.clicks
    assert table["object"].tolist() == [c.object_id for c in clicks]
    assert table["id"].tolist() == [c.id for c in clicks]
    assert table["contrast"].tolist() == ["0.0 to 255.0"] * len(clicks)
    return True


@pytest.mark.parametrize("quietly", [False, True])
@pytest.mark.parametrize("column", ["id", "label", "object", "contrast"])
def test_removed_columns_are_put_back_and_clicks_go_on(clicked, column, quietly):
    me, points = clicked, clicked.points
    before = me.session.prompts.clicks
    if quietly:  # without an event of napari
        points.features.pop(column)
    else:
        points.features = points.features.drop(columns=column)
    me.click((50, 20))
    assert me.session.prompts.clicks[:3] == before
    assert me.session.prompts.clicks[3].object_id == 2
    assert me.session.mask(2, ())[50, 20]
    assert is_whole(me)
    assert [column in text and "put back" in text for text in me.errors] == [True]


@pytest.mark.parametrize("value", [0, -1, 1.5, "a", float("nan"), None])
def test_an_object_that_is_no_number_is_put_back(clicked, value):
    me = clicked
    before = me.session.prompts
    table = me.points.features.copy()
    table["object"] = pd.Series([1, value, 2], dtype=object)
    me.points.features = table
    assert me.session.prompts == before
    assert is_whole(me)
    assert "whole number from 1" in me.errors[0]


def test_points_without_identifiers_are_known_by_their_place(clicked):
    me, points = clicked, clicked.points
    before = me.session.prompts.clicks
    points.features = pd.DataFrame({"note": ["a", "b", "c"]})
    points.add([(5, 5), (55, 70)])
    assert me.session.prompts.clicks[:3] == before
    assert [c.object_id for c in me.session.prompts.clicks] == [1, 1, 2, 2, 2]
    assert is_whole(me)


def test_what_the_model_saw_can_be_read_but_not_edited(clicked):
    me = clicked
    table = me.points.features.copy()
    table["contrast"] = ["1 to 2"] * 3
    me.points.features = table
    assert is_whole(me)
    assert "contrast" in me.errors[0]


def test_a_column_of_the_users_own_stays_with_its_clicks(clicked):
    me, points = clicked, clicked.points
    table = points.features.copy()
    table["note"] = ["a", "b", "c"]
    points.features = table
    me.session.remove_point(me.session.prompts.clicks[0].id)
    me.click((50, 20))
    assert points.features["note"].tolist()[:2] == ["b", "c"]
    assert len(points.features) == 3
    assert not me.errors


def test_pasted_points_belong_to_the_current_object(clicked, qtbot):
    me, points = clicked, clicked.points
    me.session.object_id = 1
    points.selected_data = {2}
    points._copy_data()
    me.session.object_id = 2
    me.session.new_object()
    points._paste_data()
    qtbot.wait(20)  # napari announces no paste
    assert [c.object_id for c in me.session.prompts.clicks] == [1, 1, 2, 3]


def test_boxes_without_identifiers_are_known_by_their_place(qapp):
    image = Image(np.zeros(SHAPE, np.uint8))
    session, shapes, errors = Session(FakeSegmenter(), source_of(image)), new_shapes(image), []
    editor = ShapeEditor(session, shapes, lambda: (None, None), lambda: 1, errors.append)
    session.set_box((), (5, 5, 15, 15))
    before = session.prompts.boxes
    shapes.features = pd.DataFrame({"note": ["a"]})
    shapes.add_rectangles([[(30, 30), (30, 50), (45, 50), (45, 30)]])
    editor.close()
    assert session.prompts.boxes[:1] == before
    assert [box.object_id for box in session.prompts.boxes] == [1, 2]
    assert shapes.features["id"].tolist() == [box.id for box in session.prompts.boxes]
    assert "put back" in str(errors[0])


def test_an_object_that_no_label_can_be_is_put_back(clicked):
    me = clicked
    before = me.session.prompts
    table = me.points.features.copy()
    table["object"] = pd.Series([1, 1, 2**64], dtype=object)
    me.points.features = table
    assert me.session.prompts == before
    assert is_whole(me)
    assert "from 1 to 2^64 - 1, got 18446744073709551616" in me.errors[0]
