"""The layer of boxes holds what the session says, though only rows that changed are written."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from napari.layers import Image

from napari_sam.gui.boxes import BoxEditor
from napari_sam.gui.layers import new_shapes
from napari_sam.gui.planes import coordinates_of, source_of
from napari_sam.prompts import Prompts
from napari_sam.session import Session

SHAPE = (4, 60, 80)
PLANE = (1, None, None)


def corners_of(plane, box):
    r0, c0, r1, c1 = box
    return [coordinates_of(plane, at) for at in ((r0, c0), (r0, c1), (r1, c1), (r1, c0))]


class Hand:
    """Edits boxes at random: in the layer, and in the session behind it."""

    def __init__(self, seed: int = 0) -> None:
        image = Image(np.zeros(SHAPE, np.uint8), contrast_limits=(0, 255))
        self.rng = np.random.default_rng(seed)
        self.session = Session(FakeSegmenter(), source_of(image))
        self.layer = new_shapes(image)
        self.refused: list[Exception] = []
        self.editor = BoxEditor(self.session, self.layer, lambda: PLANE, self.refused.append)

    def box(self) -> tuple[float, float, float, float]:
        row, column = self.rng.integers((0, 0), (40, 60)).tolist()
        height, width = self.rng.integers(3, 19, 2).tolist()
        return float(row), float(column), float(row + height), float(column + width)

    def row(self) -> int | None:
        return int(self.rng.integers(self.layer.nshapes)) if self.layer.nshapes else None

    def draw(self) -> None:
        corners = np.roll(corners_of(PLANE, self.box()), int(self.rng.integers(4)), axis=0)
        self.layer.add(corners, shape_type=str(self.rng.choice(["rectangle", "polygon"])))

    def draw_a_triangle(self) -> None:
        self.layer.add(corners_of(PLANE, self.box())[:3], shape_type="polygon")

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

    def say(self) -> None:
        plane, object_id = int(self.rng.integers(SHAPE[0])), int(self.rng.integers(1, 9))
        self.session.set_box(plane, self.box(), object_id)

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
            *(self.draw, self.draw, self.draw, self.draw_a_triangle, self.drag, self.drag),
            *(self.delete, self.relabel, self.forget_columns, self.say, self.say, self.click),
            *(self.take_back, self.repeat, self.start_over, self.many),
        ]
        deeds[int(self.rng.integers(len(deeds)))]()

    def check(self) -> None:
        """Compare the layer with what the session says; rows may come in any order."""
        boxes, table = {b.id: b for b in self.session.prompts.boxes}, self.layer.features
        assert sorted(table["id"].tolist()) == [*boxes]
        for corners, number, box_id in zip(
            self.layer.data, table["object"], table["id"], strict=True
        ):
            box = boxes[box_id]
            assert number == box.object_id
            wanted = corners_of(box.plane, box.box)
            assert sorted(np.asarray(corners).tolist()) == sorted(wanted)
        assert self.layer.feature_defaults["object"].iloc[0] == self.session.object_id


@pytest.mark.parametrize("seed", range(6))
def test_layer_holds_the_boxes_whatever_is_done(qapp, seed):
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
