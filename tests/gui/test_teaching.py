"""Teaching in the dock: asked for, refused, offered, used, and taken back."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from taught_models import teach

from napari_sam.engine import SynchronousExecutor
from napari_sam.gui.session_models import listed_name
from napari_sam.gui.teach_section import TeachState, teach_state_of
from napari_sam.gui.teaching import Lecture, Teaching
from napari_sam.gui.widget import SegmentAnything
from napari_sam.model import taught_library
from napari_sam.model.lesson import HeldBack
from napari_sam.model.registry import home
from napari_sam.model.taught import save
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.model_use import UsedModel
from napari_sam.training.tuning import TuneStep

PLACES = [(10, 10), (10, 30), (30, 10), (30, 30), (45, 45), (45, 10)]
BETTER = {"click": HeldBack(0.57, 0.86, 2), "box": HeldBack(0.6, 0.9, 2)}


@pytest.fixture(scope="module")
def taught():
    from small_models import HYBRID, network

    return teach(network(HYBRID))


class Pupil:
    """A teacher whose results, and their times, are set by a test."""

    def __init__(self, model=None, scores=BETTER, error=None):
        self.model, self.scores, self.error = model, scores, error
        self.lessons = []

    def __call__(self, model, examples, wishes, progress):
        self.lessons.append((model, examples, wishes))
        if self.error:
            raise self.error
        offered = self.model is not None
        progress(TuneStep("learn", 0.4, 12.0))
        progress(TuneStep("score", 0.6, 9.0, self.scores, offered))
        return TuneStep("again", 1.0, 0.0, self.scores, offered, self.model)


class Desk:
    """A controller without a viewer."""

    def __init__(self, pupil, clicks=4, times=1):
        self.segmenter = FakeSegmenter()
        self.model = self.model_name = "nano"
        self.machines = SimpleNamespace(connection=None)
        self.loaded, self.errors = [], []
        image = Image(np.zeros((60, 60), np.uint8), name="coli")
        session = Session(self.segmenter, ArraySource(image.data))
        session.canvas = ArrayCanvas(np.zeros((60, 60), np.int32))
        self.annotation = SimpleNamespace(
            image=image, session=session, labels=object(), displayed=lambda: (None, None)
        )
        self.teaching = Teaching(self, SynchronousExecutor(), pupil)
        self.teaching.refused.connect(lambda error: self.errors.append(str(error)))
        self.teaching.watch(self.annotation)
        self.click(clicks, times)

    def click(self, clicks, times=1):
        session = self.annotation.session
        for place in PLACES[:clicks]:
            for i in range(times):
                session.add_point((), (place[0] + i, place[1]), True)
            session.new_object()

    def load_model(self, model):
        self.loaded.append(model)

    @property
    def state(self):
        return teach_state_of(self)

    def start(self):
        self.teaching.start(self.annotation)


def test_a_model_on_another_machine_is_not_taught():
    desk = Desk(Pupil())
    desk.machines.connection = SimpleNamespace(address="ws://gpu:1")
    assert "its weights stay there" in desk.state.note
    assert desk.state.ask == ""
    desk.start()
    assert "got one at ws://gpu:1" in desk.errors[0]
    assert not desk.teaching.lecture


def test_what_is_missing_is_reported():
    desk = Desk(Pupil(), clicks=1)
    assert desk.state.note == "Finish 2 more objects: then the model can learn from them"
    assert desk.state.ask == ""
    desk.start()
    assert desk.errors == [
        "expected at least 3 finished objects, got 1; click more, and begin a new object "
        "after each (N)"
    ]


def test_five_objects_can_be_taught():
    desk = Desk(Pupil(), clicks=5)
    assert desk.state.title == "Teach · 5 objects"
    assert desk.state.ask == "5 objects: adapt to these (about 30 s)"


def test_checkpoint_that_would_not_be_found_again_is_refused(tmp_path):
    pupil = Pupil()
    desk = Desk(pupil)
    desk.model = str(tmp_path / "mine.pth")
    desk.start()
    assert "copy it there, and choose the copy" in desk.errors[0]
    copy = home() / "models" / "mine.pth"
    copy.parent.mkdir()
    copy.touch()
    desk.start()
    assert len(pupil.lessons) == 1


def test_finished_objects_are_taught_to_the_model_in_use_and_offered(taught):
    pupil = Pupil(taught)
    desk = Desk(pupil)
    desk.start()
    (model, examples, wishes) = pupil.lessons[0]
    assert model == "nano"
    assert [len(one.objects) for one in examples] == [4]
    assert wishes.everything
    state = desk.state
    assert state.is_offered
    assert state.verdict == (
        "On 2 objects held back: little to go by. IoU after one click 0.57 → 0.86 · by a box "
        "0.60 → 0.90. Use it?"
    )
    assert state.name == "coli"
    assert state.title == "Teach · better: use it?"


def test_taught_model_that_is_used_is_kept_and_loaded(taught):
    desk = Desk(Pupil(taught))
    desk.start()
    desk.teaching.use(" my coli ")
    assert desk.loaded == ["my coli"]
    assert taught_library.names() == ["my coli"]
    assert desk.teaching.offer is None


def test_name_that_is_taken_is_refused_and_the_offer_stays(taught):
    desk = Desk(Pupil(taught))
    desk.start()
    with pytest.raises(ValueError, match="a name that no model has, got 'nano'"):
        desk.teaching.use("nano")
    assert desk.state.is_offered
    assert desk.loaded == []


def test_what_is_declined_leaves_everything_as_it_is(taught):
    desk = Desk(Pupil(taught))
    desk.start()
    desk.teaching.decline()
    assert desk.loaded == taught_library.names() == []
    assert desk.state.verdict == ""
    assert desk.state.ask == "4 objects: adapt to these (about 30 s)"


def test_what_is_no_better_is_reported_with_its_numbers():
    desk = Desk(Pupil(scores={"click": HeldBack(0.92, 0.91, 5)}))
    desk.start()
    assert not desk.state.is_offered
    assert desk.state.verdict.startswith(
        "No better on 5 objects held back. IoU after one click 0.92 → 0.91."
    )
    desk.teaching.use("anything")
    assert desk.loaded == []


def test_model_is_offered_before_all_objects_are_learned_and_used_when_they_are(taught):
    states = []

    class Early(Pupil):
        def __call__(self, model, examples, wishes, progress):
            step = super().__call__(model, examples, wishes, progress)
            states.append(desk.state)
            desk.teaching.use("early")
            states.append(desk.state)
            assert desk.loaded == []
            return step

    desk = Desk(Early(taught))
    desk.start()
    assert states[0].progress == "Learning all of them · 9 s left"
    assert states[0].is_offered
    assert states[0].title == "Teach · better: use it?"
    assert states[1].is_named
    assert states[1].verdict.endswith("by a box 0.60 → 0.90.")
    assert states[1].title == "Teach · 60%"
    assert desk.loaded == ["early"]


def test_errors_of_teaching_are_reported_and_it_can_begin_again():
    desk = Desk(Pupil(error=ValueError("expected more memory")))
    desk.start()
    assert desk.errors == ["expected more memory"]
    assert desk.state.ask


def test_teaching_is_suggested_once_and_again_for_twice_as_many():
    desk = Desk(Pupil(), clicks=0)
    suggestions = []
    desk.teaching.changed.connect(
        lambda: suggestions.append(desk.teaching.suggested(desk.annotation))
    )
    desk.click(4, times=3)
    assert suggestions == []
    for place in PLACES[4:]:
        for i in range(3):
            desk.annotation.session.add_point((), (place[0] + i, place[1]), True)
        desk.annotation.session.new_object()
    assert suggestions == [5]
    assert desk.state.note == (
        "2.0 corrections per object so far; a model taught these may need fewer"
    )
    assert desk.teaching._next_suggestion[desk.annotation.session] == 10


def test_objects_that_took_one_click_suggest_nothing():
    desk = Desk(Pupil(), clicks=6)
    assert desk.teaching.suggested(desk.annotation) is None


def test_complete_planes_and_regions_are_shown():
    desk = Desk(Pupil())
    session = desk.annotation.session
    session.mark_complete((), (0, 0, 20, 30))
    assert (desk.state.complete.is_plane, desk.state.complete.regions) == (False, 1)
    session.mark_complete(())
    assert desk.state.complete.is_plane
    session.undo()
    assert desk.state.complete.regions == 1


def test_taught_model_of_a_session_joins_the_list_once(taught):
    card, weights = taught.named("of Anna").card, taught.named("of Anna").to_bytes()
    used = UsedModel(taught.key, "of Anna", card=card, weights=weights)
    assert listed_name(used) == "of Anna"
    assert listed_name(used) == "of Anna"
    assert taught_library.names() == ["of Anna"]
    assert listed_name(UsedModel("key", "nano")) == "nano"
    assert listed_name(UsedModel("key", "lost", card=card)) is None


def test_phases_are_shown_with_the_time_left():
    desk = Desk(Pupil())
    desk.teaching.lecture = Lecture("nano", 5, "learn", 0.25, 17.0)
    assert desk.state == TeachState(progress="Learning · 17 s left", fraction=0.25)
    assert desk.state.title == "Teach · 25%"


def test_in_the_viewer_a_taught_model_is_used_and_taken_back(open_viewer, qtbot, taught):
    viewer = open_viewer(np.zeros((60, 60), np.uint8), name="coli")
    models = {"nano": FakeSegmenter(key="nano"), "coli": FakeSegmenter(key="taught")}
    dock = SegmentAnything(viewer, lambda model, device, progress: models[model], Pupil(taught))
    viewer.window.add_dock_widget(dock, name="Segment Anything", area="right")
    controller = dock.controller
    controller.begin()
    assert controller.engine.wait(10)
    session = controller.annotation.session
    assert not dock.teach.ask.isVisible()
    for place in PLACES[:5]:
        session.add_point(controller.annotation.displayed(), place, True)
        assert controller.engine.wait(10)
        session.new_object()
    dock.teach.fold.expand()
    qtbot.waitUntil(dock.teach.ask.isVisible)
    dock.teach.ask.click()
    qtbot.waitUntil(dock.teach.use.isVisible)
    assert dock.teach.name.text() == "coli"
    before = session.next_undo
    dock.teach.use.click()
    qtbot.waitUntil(lambda: session.segmenter is models["coli"])
    assert controller.model == "coli"
    qtbot.waitUntil(lambda: "coli" in dock.choice.model.currentText())
    assert "model" in session.next_undo
    session.undo()
    assert session.segmenter is controller.segmenter is models["nano"]
    assert controller.model == "nano"
    assert session.next_undo == before
    session.redo()
    assert controller.segmenter is models["coli"]
    qtbot.waitUntil(lambda: "coli" in dock.choice.model.currentText())


def test_taught_model_in_use_is_shown_renamed_deleted_and_opened_from_its_file(
    open_viewer, qtbot, taught, tmp_path, monkeypatch
):
    viewer = open_viewer(np.zeros((60, 60), np.uint8), name="coli")
    lesson = replace(taught.lesson, parent="nano")
    taught_library.keep(replace(taught, lesson=lesson), "coli")
    models = {"nano": FakeSegmenter(key="nano"), "coli": FakeSegmenter(key="taught")}
    dock = SegmentAnything(viewer, lambda model, device, progress: models[model], Pupil())
    viewer.window.add_dock_widget(dock, name="Segment Anything", area="right")
    controller, section = dock.controller, dock.taught
    controller.begin()
    assert controller.engine.wait(10)
    dock.teach.fold.expand()
    dock.refresh()
    assert not section.isVisible()
    controller.load_model("coli")
    qtbot.waitUntil(section.isVisible, timeout=30_000)
    assert section.summary.text().startswith("coli: nano, taught on 5 objects of 2 planes")
    section.rename.trigger()
    section.name.setText("nano")
    refused = []
    controller.refused.connect(lambda error: refused.append(str(error)))
    section.accept.click()
    assert "a name that no model has" in refused[0]
    section.rename.trigger()
    qtbot.keyClick(section.name, Qt.Key.Key_Escape)
    assert not section.name.isVisible()
    section.rename.trigger()
    section.name.setText("my coli")
    section.accept.click()
    assert controller.model == "my coli"
    assert taught_library.names() == ["my coli"]
    qtbot.waitUntil(lambda: "my coli" in dock.choice.model.currentText())
    section.delete.trigger()
    assert section.yes.isVisible()
    section.yes.click()
    qtbot.waitUntil(lambda: controller.segmenter is models["nano"])
    assert taught_library.names() == []
    save(taught.named("coli"), tmp_path / "from a friend.safetensors")
    path = str(tmp_path / "from a friend.safetensors")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *about: (path, ""))
    dock.choice.model.activated.emit(dock.choice.model.count() - 1)
    qtbot.waitUntil(lambda: controller.segmenter is models["coli"])
    assert taught_library.names() == ["coli"]
