"""The shapes layer holds the prompts of the session, though only changed rows are written."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from napari.layers import Image
from napari.utils.colormaps.standardize_color import transform_color

from napari_sam.gui.layers import SHAPE_COLOURS, new_shapes
from napari_sam.gui.planes import coordinates_of, source_of
from napari_sam.gui.shape_rows import is_drawn, sign_of
from napari_sam.gui.shapes import ShapeEditor
from napari_sam.prompts import Prompts
from napari_sam.session import Session

SHAPE = (4, 60, 80)
PLANE = (1, None, None)


def corners_of(plane, box):
    r0, c0, r1, c1 = box
    return [coordinates_of(plane, at) for at in ((r0, c0), (r0, c1), (r1, c1), (r1, c0))]


class Hand:
    """Edits shapes at random: in the layer, and in the session behind it."""

    def __init__(self, seed: int = 0) -> None:
        image = Image(np.zeros(SHAPE, np.uint8), contrast_limits=(0, 255))
        self.rng = np.random.default_rng(seed)
        self.session = Session(FakeSegmenter(), source_of(image))
        self.layer = new_shapes(image)
        self.refused: list[Exception] = []
        self.editor = ShapeEditor(
            self.session, self.layer, lambda: PLANE, lambda: 1, self.refused.append
        )

    def box(self) -> tuple[float, float, float, float]:
        row, column = self.rng.integers((0, 0), (40, 60)).tolist()
        height, width = self.rng.integers(3, 19, 2).tolist()
        return float(row), float(column), float(row + height), float(column + width)

    def row(self) -> int | None:
        return int(self.rng.integers(self.layer.nshapes)) if self.layer.nshapes else None

    def draw(self) -> None:
        corners = np.roll(corners_of(PLANE, self.box()), int(self.rng.integers(4)), axis=0)
        self.layer.add(corners, shape_type=str(self.rng.choice(["rectangle", "ellipse"])))

    def draw_a_lasso(self) -> None:
        corners = corners_of(PLANE, self.box())
        self.layer.add(corners[: int(self.rng.integers(3, 5))], shape_type="polygon")

    def draw_a_stroke(self) -> None:
        sign, kind = str(self.rng.choice(["+", "−"])), str(self.rng.choice(["line", "path"]))
        self.layer.feature_defaults = {**self.layer.feature_defaults.iloc[0], "sign": sign}
        corners = corners_of(PLANE, self.box())
        self.layer.add(corners[: 2 if kind == "line" else 4], shape_type=kind)

    def drag(self) -> None:
        if (row := self.row()) is not None:
            self.layer._data_view.shift(row, [1, 2])
            self.layer.events.data(
                value=self.layer.data, action="changed", data_indices=(row,), vertex_indices=((),)
            )

    def delete(self) -> None:
        self.layer.selected_data = {self.row() for _ in range(3)} - {None}
        self.layer.remove_selected()

    def relabel(self) -> None:
        if (row := self.row()) is not None:
            table = self.layer.features.copy()
            table.loc[row, "object"] = 77
            self.layer.features = table
            self.session.add_point(0, (3, 3))

    def forget_columns(self) -> None:
        self.layer.features = {"note": np.arange(self.layer.nshapes)}
        self.session.add_point(0, (3, 3))

    def add(self) -> None:
        plane, object_id = int(self.rng.integers(SHAPE[0])), int(self.rng.integers(1, 9))
        self.session.set_box(plane, self.box(), object_id)
        r0, c0, r1, c1 = self.box()
        self.session.add_scribble(plane, [(r0, c0), (r1, c0), (r1, c1)], 0, object_id)
        self.session.add_lasso(plane, [(r0, c0), (r1, c0), (r1, c1)], object_id)

    def click(self) -> None:
        self.session.add_point(1, self.box()[:2], 1, int(self.rng.integers(1, 9)))

    def take_back(self) -> None:
        self.session.undo()

    def repeat(self) -> None:
        self.session.redo()

    def many(self) -> None:
        self.session.add_prompts({(i, 2): Prompts(box=self.box()) for i in range(1, 9)})

    def start_over(self) -> None:
        self.session.delete_object(int(self.rng.integers(1, 9)))

    def act(self) -> None:
        deeds = [
            *(self.draw, self.draw, self.draw_a_lasso, self.draw_a_stroke, self.drag, self.drag),
            *(self.delete, self.relabel, self.forget_columns, self.add, self.add, self.click),
            *(self.take_back, self.repeat, self.start_over, self.many),
        ]
        deeds[int(self.rng.integers(len(deeds)))]()

    def check(self) -> None:
        """Compare the layer with the prompts of the session; rows may come in any order."""
        book, table = self.session.prompts, self.layer.features
        shapes = {one.id: one for one in (*book.boxes, *book.strokes, *book.lassos)}
        assert sorted(table["id"].tolist()) == sorted(shapes)
        rows = zip(self.layer.data, self.layer.shape_type, table["object"], table["id"],
                   table["sign"], self.layer.edge_color, strict=True)  # fmt: skip
        for vertices, kind, number, shape_id, sign, colour in rows:
            shape = shapes[shape_id]
            assert number == shape.object_id
            assert is_drawn(vertices, kind, shape)
            assert sign == sign_of(shape)
            assert np.allclose(colour, transform_color(SHAPE_COLOURS[sign])[0], atol=0.01)
        assert self.layer.feature_defaults["object"].iloc[0] == self.session.object_id


@pytest.mark.parametrize("seed", range(6))
def test_layer_holds_the_shapes_whatever_is_done(qapp, seed):
    hand = Hand(seed)
    for _ in range(50):
        hand.act()
        hand.check()
    hand.editor.close()


@pytest.fixture
def among_many(qapp):
    hand = Hand()
    hand.session.add_prompts(
        {(i, PLANE): Prompts(box=(i % 50, i % 70, i % 50 + 9, i % 70 + 9)) for i in range(1, 301)}
    )
    yield hand
    hand.editor.close()


def test_a_box_among_many_leaves_the_rows_of_the_others_alone(among_many):
    hand = among_many
    before = hand.layer._data_view.shapes[:]
    hand.session.new_object()
    hand.draw()
    hand.session.add_point(1, (30, 30))
    hand.session.set_box(1, (1, 1, 9, 9), 302)
    hand.check()
    assert len(hand.layer.data) == 302
    for _ in range(3):
        hand.session.undo()
        hand.check()
    now = hand.layer._data_view.shapes
    assert len(now) == 300
    assert all(a is b for a, b in zip(now, before, strict=True))


def test_a_box_moved_by_the_session_is_the_only_row_that_changes(among_many):
    hand = among_many
    before = {*map(id, hand.layer._data_view.shapes)}
    hand.session.set_box(1, (2, 3, 30, 40), 7)
    hand.check()
    assert len(before - {*map(id, hand.layer._data_view.shapes)}) == 1


def test_a_users_own_column_stays_with_its_box(among_many):
    hand = among_many
    table = hand.layer.features.copy()
    table["note"] = [f"box {i}" for i in table["id"]]
    hand.layer.features = table
    hand.session.set_box(1, (2, 3, 30, 40), 555)
    hand.session.delete_object(5)
    hand.check()
    table = hand.layer.features
    kept = [note == f"box {i}" for i, note in zip(table["id"], table["note"], strict=True)]
    assert kept == [True] * 299 + [False]
