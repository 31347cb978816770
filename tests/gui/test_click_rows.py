"""The prompts layer holds the prompts of the session, though only rows that changed are written."""

from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from napari.layers import Image

from napari_sam.gui import click_rows
from napari_sam.gui.clicks import ClickEditor
from napari_sam.gui.layers import COLOURS, SYMBOLS, new_points
from napari_sam.gui.planes import coordinates_of, source_of
from napari_sam.gui.prompt_columns import columns_of_clicks
from napari_sam.prompts import Prompts
from napari_sam.session import Session

SHAPE = (4, 60, 80)
PLANE = (1, None, None)


class Hand:
    """Edits prompts at random: in the layer, and in the session behind it."""

    def __init__(self, seed: int = 0) -> None:
        image = Image(np.zeros(SHAPE, np.uint8), contrast_limits=(0, 255))
        self.rng = np.random.default_rng(seed)
        self.session = Session(FakeSegmenter(), source_of(image))
        self.points = new_points(image)
        self.refused: list[Exception] = []
        self.editor = ClickEditor(
            self.session, self.points, lambda: PLANE, lambda: 1, self.refused.append
        )

    def point(self) -> list[float]:
        return self.rng.integers((0, 0), SHAPE[1:]).astype(float).tolist()

    def row(self) -> int | None:
        return int(self.rng.integers(len(self.points.data))) if len(self.points.data) else None

    def id(self) -> int:
        return int(self.points.features["id"].iloc[self.row()])

    def click(self) -> None:
        """Press the mouse in the canvas: our callback comes first, then napari's."""
        self.points.mode = "add"
        button = int(self.rng.integers(1, 3))
        event = SimpleNamespace(button=button, modifiers=(), pos=(0, 0))
        next(self.editor._watch_click(self.points, event))
        self.points.add([1.0, *self.point()])

    def drag(self) -> None:
        if (row := self.row()) is not None:
            self.points.selected_data = {row}
            start = self.points.data[row].copy()
            self.points._drag_start = None
            self.points._move([row], start + np.array([0, 1, 1]))
            self.points._move([row], np.array([self.points.data[row][0], *self.point()]))
            self.points.events.data(
                value=self.points.data, action="changed", data_indices=(row,), vertex_indices=((),)
            )

    def delete(self) -> None:
        rows = {self.row() for _ in range(int(self.rng.integers(1, 4)))} - {None}
        self.points.selected_data = rows
        self.points.remove_selected()

    def relabel(self) -> None:
        if (row := self.row()) is not None:
            table = self.points.features.copy()
            table.loc[row, "label"] = "negative"
            table.loc[row, "object"] = int(self.rng.integers(1, 5))
            self.points.features = table

    def shuffle(self) -> None:
        order = self.rng.permutation(len(self.points.data))
        table = self.points.features.iloc[order].reset_index(drop=True)
        self.editor._writing = True
        self.points.data = self.points.data[order]
        self.points.features = table
        self.editor._writing = False
        self.points.events.features()

    def spoil(self) -> None:
        if (row := self.row()) is not None:
            table = self.points.features.copy()
            table.loc[row, "contrast"] = "1 to 2"
            self.points.features = table

    def add(self) -> None:
        plane, label = int(self.rng.integers(SHAPE[0])), int(self.rng.integers(2))
        self.session.add_point(plane, self.point(), label, int(self.rng.integers(1, 5)))

    def take_back(self) -> None:
        self.session.undo()

    def repeat(self) -> None:
        self.session.redo()

    def remove(self) -> None:
        if len(self.points.data):
            self.session.remove_point(self.id())

    def move(self) -> None:
        if len(self.points.data):
            self.session.move_point(self.id(), self.point())

    def flip(self) -> None:
        if len(self.points.data):
            self.session.flip_point(self.id())

    def box(self) -> None:
        r, c = self.point()
        self.session.set_box(1, (r / 2, c / 2, r / 2 + 9, c / 2 + 9), int(self.rng.integers(1, 5)))

    def go_to(self) -> None:
        self.session.object_id = int(self.rng.integers(1, 5))

    def choose(self) -> None:
        self.session.next_candidate(1)

    def many(self) -> None:
        self.session.add_prompts({(i, 2): Prompts([self.point()], [1]) for i in range(1, 8)})

    def wait(self) -> None:
        self.editor._reporting.stop()
        self.editor._report_masks()

    def act(self) -> None:
        deeds = [
            *(self.click, self.click, self.click, self.drag, self.delete, self.relabel),
            *(self.shuffle, self.spoil, self.add, self.add, self.take_back, self.repeat),
            *(self.remove, self.move, self.flip, self.box, self.go_to, self.choose, self.many),
            self.wait,
        ]
        deeds[int(self.rng.integers(len(deeds)))]()

    def check(self) -> None:
        """Compare the layer with the prompts of the session."""
        clicks, layer = self.session.prompts.clicks, self.points
        places = [coordinates_of(click.plane, click.point) for click in clicks]
        np.testing.assert_array_equal(layer.data, np.reshape(places, (-1, 3)))
        columns = columns_of_clicks(self.session.prompts, self.session)
        table = layer.features
        for name in ("label", "object", "id", "boxes"):
            assert table[name].tolist() == columns[name].tolist(), name
        assert [str(symbol) for symbol in layer.symbol] == [
            SYMBOLS[label] for label in columns["label"]
        ]
        current = columns["object"] == self.session.object_id
        assert (layer.face_color[:, 3] == 1).tolist() == current.tolist()
        assert (layer.border_color[:, 3] == 1).tolist() == current.tolist()
        red = [int(COLOURS[label][1:3], 16) / 255 for label in columns["label"]]
        np.testing.assert_allclose(layer.face_color[:, 0], red, atol=2e-3)

    def check_reported(self) -> None:
        """Compare also the columns that are updated a moment later."""
        self.wait()
        self.check()
        for name, column in columns_of_clicks(self.session.prompts, self.session).items():
            assert self.points.features[name].tolist() == column.tolist(), name


@pytest.mark.parametrize("seed", range(6))
def test_layer_holds_the_prompts_of_the_session_whatever_is_done(qapp, seed):
    hand = Hand(seed)
    for _ in range(50):
        hand.act()
        hand.check()
    hand.check_reported()
    hand.editor.close()


@pytest.fixture
def among_many(qapp):
    hand = Hand()
    hand.session.add_prompts({(i, 1): Prompts([(9, i % 80)], [1]) for i in range(1, 300)})
    hand.wait()
    yield hand
    hand.editor.close()


def test_a_click_among_many_is_shown_without_going_through_them(among_many, monkeypatch):
    hand, spelled = among_many, []
    real = click_rows.columns_of

    def spell(clicks, session):
        spelled.extend(clicks)
        return real(clicks, session)

    monkeypatch.setattr(click_rows, "columns_of", spell)
    monkeypatch.setattr(click_rows.ClickRows, "of", None)
    hand.session.new_object()
    hand.click()
    hand.click()
    hand.session.undo()
    hand.wait()
    assert {click.object_id for click in spelled} == {300}
    hand.check()


def test_a_refused_click_leaves_the_others_as_they_were(among_many):
    hand = among_many
    before = hand.session.prompts
    hand.session.close(ValueError("the image has become another one"))
    hand.click()
    hand.points.selected_data = {3, 5}
    hand.points.remove_selected()
    assert hand.session.prompts is before
    assert len(hand.refused) == 2
    hand.check_reported()
