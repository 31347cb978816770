"""What takes long while somebody works: a model on its way, labels that are searched."""

import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter

from napari_sam.gui import live_source, mask_writer
from napari_sam.session import runs

SHAPE = (40, 50)


class Held:
    """A call that waits in its thread until it may go on; it can be stopped meanwhile."""

    def __init__(self, value=None) -> None:
        self.value = value
        self.begun, self.may_end, self.stopped = (threading.Event() for _ in range(3))

    def __call__(self, *arguments):
        *_, report = arguments
        self.begun.set()
        try:
            while not self.may_end.wait(0.002):
                report(0.5)
        except Exception:
            self.stopped.set()
            raise
        return self.value


@pytest.fixture
def held():
    made = []

    def make(value=None) -> Held:
        made.append(Held(value))
        return made[-1]

    yield make
    for one in made:
        one.may_end.set()


def test_planes_are_read_and_clicks_answered_while_another_model_loads(user, rng, held):
    me = user(rng.integers(0, 255, (5, *SHAPE), np.uint8))
    other = FakeSegmenter(radius=2.0, key="other")
    me.controller._load = load = held(other)
    me.controller.load_model("vit_b")
    assert load.begun.wait(5)
    me.scroll_to(3)
    assert me.session.embeddings.state((3, None, None)) == "ready"
    me.click((3, 20, 30))
    assert me.labels[3, 20, 30] == 1
    area = np.count_nonzero(me.labels)
    assert me.session.segmenter is me.segmenter
    assert "Downloading vit_b 50%" in me.dock.status.text.text()
    load.may_end.set()
    me.settle(background=True)
    assert me.session.segmenter is other
    assert np.count_nonzero(me.labels) == area
    me.session.new_object()
    me.click((3, 20, 10))
    assert np.count_nonzero(me.labels == 2) < area


def test_second_choice_of_a_model_begins_when_the_first_has_stopped(user, rng, held):
    me = user(rng.integers(0, 255, SHAPE, np.uint8))
    last = FakeSegmenter(key="last")
    me.controller._load = first = held(FakeSegmenter(key="first"))
    me.controller.load_model("vit_b")
    assert first.begun.wait(5)
    me.controller._load = lambda model, device, progress: (first.stopped.is_set(), last)[1]
    me.controller.load_model("vit_l")
    me.settle(background=True)
    assert first.stopped.is_set()
    assert me.controller.model == "vit_l"
    assert me.session.segmenter is last


def test_click_is_answered_while_large_labels_are_searched(user, rng, held, monkeypatch):
    me = user(rng.integers(0, 255, SHAPE, np.uint8))
    search = held(70)
    monkeypatch.setattr(mask_writer, "_SEARCHED_AT_ONCE", 0)
    monkeypatch.setattr(mask_writer, "highest_label", search)
    me.annotation.labels = me.viewer.add_labels(np.zeros(SHAPE, np.int32))
    me.viewer.layers.selection.active = me.annotation.points
    assert search.begun.wait(5)
    me.qtbot.wait(30)
    me.click((20, 30), settle=False)
    me.qtbot.waitUntil(lambda: me.labels[20, 30] == 1, timeout=5000)
    assert not search.may_end.is_set()
    search.may_end.set()
    me.settle()
    assert me.session.new_object() == 71


def test_search_of_labels_stops_when_others_are_picked(user, rng, held, monkeypatch):
    me = user(rng.integers(0, 255, SHAPE, np.uint8))
    errors = []
    me.controller.refused.connect(errors.append)
    search = held(70)
    with monkeypatch.context() as patch:
        patch.setattr(mask_writer, "_SEARCHED_AT_ONCE", 0)
        patch.setattr(mask_writer, "highest_label", search)
        me.annotation.labels = me.viewer.add_labels(np.zeros(SHAPE, np.int32))
        assert search.begun.wait(5)
    me.annotation.labels = me.viewer.add_labels(np.full(SHAPE, 9))
    me.settle()
    assert search.stopped.is_set()
    assert not errors
    assert me.session.highest_object == 9


def test_click_is_answered_while_what_was_found_is_linked(user, held, monkeypatch):
    stack = np.zeros((2, *SHAPE), np.uint8)
    me = user(stack)
    link = held([])
    nothing = SimpleNamespace(numbers=np.zeros(1, np.int64))
    monkeypatch.setattr(runs, "find_plane", lambda *arguments: nothing)
    monkeypatch.setattr(runs, "name_objects", link)
    me.dock.everything.stack.click()
    me.qtbot.waitUntil(link.begun.is_set, timeout=10000)
    me.click((0, 20, 30))
    assert me.labels[0, 20, 30] == 1
    me.dock.everything.cancel.click()
    me.settle(background=True)
    assert link.stopped.is_set()
    assert me.controller.everything.fraction is None


def test_plane_is_read_while_a_grown_image_is_compared(user, rng, held, monkeypatch):
    before = rng.integers(0, 255, (3, *SHAPE), np.uint8)
    me = user(before)
    same = held(True)
    monkeypatch.setattr(live_source, "same_planes", same)
    me.annotation.image.data = np.concatenate([before, before[:1]])
    assert same.begun.wait(5)
    me.scroll_to(3)
    assert me.session.embeddings.state((3, None, None)) == "ready"
    me.click((3, 20, 30))
    assert me.labels[3, 20, 30] == 1
    me.controller.close()
    assert same.stopped.wait(5)


def test_what_chores_and_embeds_take_can_be_imported_at_the_same_time():
    script = """
        import threading
        from napari_sam.engine import Engine
        from napari_sam.gui.models import load_for_viewer

        engine, begin, outcomes = Engine(), threading.Barrier(3), []

        def find(report):
            begin.wait()
            from napari_sam.automask import generate_masks, link_planes

        def batch(report):
            begin.wait()
            from napari_sam import batch
            batch.segment_files

        def load(report):
            begin.wait()
            load_for_viewer(0)("nano", "cpu", report)

        engine.embed("find", find, outcomes.append)
        engine.chore("model", load, outcomes.append)
        engine.chore("batch", batch, outcomes.append)
        assert engine.wait(60)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=90
    )
    assert (ended.returncode, ended.stderr) == (0, "")
