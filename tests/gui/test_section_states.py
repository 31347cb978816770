"""What the dock's sections show, made from plain values without a window."""

from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from napari.components import LayerList
from napari.layers import Image, Labels, Points, Shapes
from small_models import WITH_DECODER, segmenter

from napari_sam.gui.ahead_section import AheadState, ahead_state_of
from napari_sam.gui.channel_section import channel_state_of
from napari_sam.gui.channels import ChannelOption
from napari_sam.gui.choice_section import choice_state_of
from napari_sam.gui.everything_section import everything_state_of
from napari_sam.gui.first_steps import FirstSteps
from napari_sam.gui.hint import foot_state_of
from napari_sam.gui.mask_section import mask_state_of
from napari_sam.gui.object_section import object_state_of
from napari_sam.gui.prompts_section import prompts_state_of
from napari_sam.gui.section import Section
from napari_sam.gui.seen_section import SeenState, seen_state_of
from napari_sam.gui.status import strip_of
from napari_sam.session import (
    ArrayCanvas,
    ArraySource,
    PostProcessing,
    RunProgress,
    Session,
)
from napari_sam.session.read_all import ReadProgress

SHAPE = (40, 50)


class FakeController:
    """An image and what is done to it, without a viewer."""

    def __init__(self, *layers, annotated=True):
        self.viewer = SimpleNamespace(layers=LayerList(layers))
        self.segmenter = FakeSegmenter()
        self.seconds, self.extra_model = {}, None
        self.model, self.device = "nano", "auto"
        self.everything = SimpleNamespace(progress=None)
        self.machines = SimpleNamespace(
            connection=None, asked=None, addresses=(), offered=lambda device: None
        )
        self.first_steps = SimpleNamespace(are_shown=False)
        self.annotation = fake_annotation(layers[0], self.segmenter) if annotated else None

    @property
    def image(self):
        return self.annotation.image if self.annotation else None

    def images(self):
        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    def own_layers(self):
        return [self.image]


def fake_annotation(image, segmenter):
    session = Session(segmenter, ArraySource(image.data))
    plane = () if image.ndim == 2 else 2
    points = Points(ndim=image.ndim, name="prompts")
    return SimpleNamespace(
        image=image,
        session=session,
        labels=None,
        boxes=None,
        points=points,
        prompt_layers=[points],
        sign=1,
        chosen_axis=None,
        tool="inside",
        new_each_click=False,
        displayed=lambda: session.source.plane_of(plane),
        scrolled_axis=lambda plane: 0 if plane is not None and image.ndim == 3 else None,
        plane_name=lambda plane: "z 2/5" if image.ndim == 3 else "",
    )


@pytest.fixture
def image(rng):
    return Image(rng.integers(0, 255, SHAPE, np.uint8), name="cells")


@pytest.fixture
def stack(rng):
    return Image(rng.integers(0, 255, (6, *SHAPE), np.uint8), name="cells")


def test_object_is_shown_with_its_candidates(image):
    controller = FakeController(image)
    before = object_state_of(controller)
    assert (before.object_id, before.several, before.can_clear) == (1, False, False)
    assert before.scores == ()
    assert not before.is_unsure
    controller.annotation.session.add_point((), (20, 30))
    state = object_state_of(controller)
    assert state.can_clear
    assert state.scores == pytest.approx((0.9, 0.8, 0.7))
    assert state.chosen == 0
    controller.annotation.session.new_object()
    assert object_state_of(controller).several
    assert object_state_of(controller).colour != state.colour


def test_object_is_unsure_by_the_candidate_that_is_chosen(image, monkeypatch):
    controller = FakeController(image)
    session = controller.annotation.session
    session.add_point((), (20, 30))
    monkeypatch.setattr(session, "scores", lambda *key: (0.9, 0.5))
    assert not object_state_of(controller).is_unsure
    monkeypatch.setattr(session, "candidate", lambda *key: 1)
    assert object_state_of(controller).is_unsure


def test_mask_without_prompts_can_be_adopted(image):
    controller = FakeController(image)
    session, labels = controller.annotation.session, np.zeros(SHAPE, np.int32)
    labels[5:9, 5:9] = 4
    session.canvas = ArrayCanvas(labels)
    session.reserve(4)
    assert not object_state_of(controller).can_adopt  # of a new object there is none
    session.object_id = 4
    assert object_state_of(controller).can_adopt
    session.adopt((), 4)
    assert not object_state_of(controller).can_adopt


def test_lock_is_shown_and_keeps_an_object_from_being_started_over(image):
    controller = FakeController(image)
    session = controller.annotation.session
    session.add_point((), (20, 30))
    session.lock([1])
    state = object_state_of(controller)
    assert state.locked
    assert not state.can_clear


def test_number_is_asked_of_the_object_it_was_asked_of(image):
    controller = FakeController(image)
    assert object_state_of(controller, "merge", 1).asked == "merge"
    assert object_state_of(controller, "merge", 2).asked == ""


def test_foot_shows_what_undo_and_redo_would_do(image):
    controller = FakeController(image)
    session = controller.annotation.session
    assert foot_state_of(controller).hint.startswith("left click")
    session.add_point((), (20, 30))
    state = foot_state_of(controller)
    assert (state.hint, state.undo, state.redo) == ("", "added a point to object 1", "")
    assert state.first_steps is False
    session.undo()
    state = foot_state_of(controller)
    assert (state.hint, state.undo, state.redo) == ("", "", "added a point to object 1")


def test_hints_follow_a_first_time_and_end(image, tmp_path):
    controller = FakeController(image)
    controller.first_steps = FirstSteps(tmp_path)
    session = controller.annotation.session
    for object_id, hint in ((1, "W: other mask · N: next object"), (2, "finds the rest · H: all")):
        session.add_point((), (20, 30), object_id=object_id)
        state = foot_state_of(controller)
        assert hint in state.hint
        assert state.first_steps
    session.add_point((), (20, 30), object_id=3)
    assert foot_state_of(controller).first_steps is None  # the user knows them by now
    controller.first_steps.end()
    assert foot_state_of(controller).first_steps is False
    assert not FirstSteps(tmp_path).are_shown
    assert FirstSteps(tmp_path / "of another user").are_shown


def test_in_a_stack_the_hint_is_to_follow(stack):
    controller = FakeController(stack)
    controller.first_steps = FirstSteps()
    controller.first_steps.are_shown = True
    controller.annotation.session.add_point(2, (20, 30))
    assert "Ctrl+F: follow it through the stack" in foot_state_of(controller).hint


def test_hidden_layers_come_before_what_undo_does(image):
    controller = FakeController(image)
    annotation = controller.annotation
    annotation.session.add_point((), (20, 30))
    annotation.labels = Labels(np.zeros(SHAPE, int), name="masks", visible=False)
    assert foot_state_of(controller).hint.startswith("'masks' is hidden")
    annotation.points.visible = False
    assert foot_state_of(controller).hint == "'prompts' is hidden: show it to click"
    assert foot_state_of(controller).undo


def test_object_shows_what_to_press_while_clicks_are_no_prompts(image):
    other = Labels(np.zeros(SHAPE, int), name="nuclei")
    controller = FakeController(image, other)
    annotation, selection = controller.annotation, controller.viewer.layers.selection
    assert object_state_of(controller).elsewhere == ""
    annotation.tool, annotation.labels = "", other
    selection.active = image
    text = object_state_of(controller).elsewhere
    assert text == "'cells' is selected, so clicks add nothing: press G to click"
    selection.active = other
    other.mode = "paint"
    text = object_state_of(controller).elsewhere
    assert text == "'nuclei' is in paint mode: press G to click"
    selection.active = None
    assert object_state_of(controller).elsewhere == "No layer is selected: press G to click"
    annotation.displayed = lambda: None
    assert object_state_of(controller).elsewhere == ""


def test_foot_shows_how_to_begin_without_a_points_layer(image):
    controller = FakeController(image)
    controller.annotation.points, controller.annotation.prompt_layers = None, []
    assert foot_state_of(controller).hint.startswith("press G or the inside button")
    assert foot_state_of(FakeController(image, annotated=False)).hint == ""


def test_nothing_is_shown_of_an_object_without_an_image(image):
    assert object_state_of(FakeController(image, annotated=False)).object_id is None


def test_images_models_and_plane_are_listed(image, stack):
    controller = FakeController(stack, image)
    controller.segmenter = None
    state = choice_state_of(controller)
    assert state.images == (("cells", stack), ("cells [1]", image))
    assert state.image is stack
    assert state.models[0].text.startswith("nano · built in")
    assert state.devices == ()
    assert state.plane == "z 2/5"


def test_the_models_of_another_machine_are_listed_while_it_is_used(image):
    controller = FakeController(image)
    controller.device = "ws://gpu:1"
    controller.seconds = {("vit_b", "ws://gpu:1"): 0.05, ("vit_b", "cpu"): 8.0}
    controller.machines.addresses = ("ws://gpu:1",)
    controller.machines.offered = {"ws://gpu:1": ("nano", "vit_b")}.get
    state = choice_state_of(controller)
    assert [choice.text for choice in state.models] == ["nano", "vit_b · 0.05 s a plane"]
    assert state.devices[-1] == "ws://gpu:1"


def test_without_a_chosen_image_the_menu_asks_for_one(image):
    state = choice_state_of(FakeController(image, annotated=False))
    assert state.images[0] == ("choose an image", None)
    assert state.plane == ""


def test_masks_go_into_labels_that_fit(image):
    fitting = Labels(np.zeros(SHAPE, int), name="fits")
    other = Labels(np.zeros((3, 3), int), name="other")
    controller = FakeController(image, fitting, other)
    assert mask_state_of(controller).layers == (("a new layer", None), ("fits", fitting))
    controller.annotation.labels = other
    state = mask_state_of(controller)
    assert state.layers[-1] == ("other (doesn't fit the image)", other)
    assert state.chosen is other
    controller.annotation.session.overwrite = True
    assert mask_state_of(controller).overlap == "overwrite"
    controller.annotation.session.post_processing = PostProcessing(fill_holes=True)
    assert mask_state_of(controller).post_processing.fill_holes


def test_everything_is_searched_in_a_plane_or_along_the_scrolled_axis(image, stack):
    flat = everything_state_of(FakeController(image))
    assert (flat.ready, flat.stack, flat.fraction) == (True, "", None)
    controller = FakeController(stack)
    assert everything_state_of(controller).stack == "all 6 planes"
    assert not everything_state_of(controller).more
    controller.annotation.session.add_point(2, (10, 10))
    assert everything_state_of(controller).more
    controller.everything.progress = RunProgress(None, 0, 1, 0.25, 7, (3, 12), 75.0)
    assert everything_state_of(controller).fraction == 0.25
    progress = everything_state_of(controller).progress
    assert progress == "7 objects · 3 of 12 squares · 75 s left"
    controller.segmenter = None
    assert not everything_state_of(controller).ready
    assert everything_state_of(controller).plane_tip == "find every object in the plane shown"
    controller.segmenter = segmenter(WITH_DECODER)
    tip = "find every object in the plane shown, by the model's decoder for instances"
    assert everything_state_of(controller).plane_tip == tip


def test_short_unnamed_axis_is_searched_as_channels(rng):
    channels = Image(rng.integers(0, 255, (3, *SHAPE), np.uint8))
    assert everything_state_of(FakeController(channels)).stack == "all 3 channels"


def test_prompts_are_grouped_as_their_layer_defines(image):
    seeds = Points(np.ones((4, 2)), name="seeds")
    grouped = Points(np.ones((4, 2)), features={"object": [1, 1, 2, 2]}, name="grouped")
    frames = Shapes([np.array([[1, 1], [5, 5]])], shape_type="rectangle", name="frames")
    controller = FakeController(image, seeds, grouped, frames)
    assert [text for text, _ in prompts_state_of(controller, None).layers] == [
        "—", "seeds", "grouped", "frames",
    ]  # fmt: skip
    state = prompts_state_of(controller, seeds)
    assert (state.each, state.one) == ("4 points, each an object", True)
    state = prompts_state_of(controller, grouped)
    assert (state.each, state.one) == ("4 points by object", False)
    assert prompts_state_of(controller, frames).each == "1 shape as prompts"
    controller.viewer.layers.remove(seeds)
    assert prompts_state_of(controller, seeds).picked is None


def test_channels_keep_the_option_that_was_picked(image):
    was = ChannelOption("dapi", image)
    now = ChannelOption("dapi, renamed", image)
    state = channel_state_of([now], [was, None, None])
    assert state.menu == (("—", None), ("dapi, renamed", was))
    assert state.picked == (now, None, None)
    assert (state.visible, state.is_axis) == (True, False)
    assert channel_state_of([ChannelOption("channel 0", image, 0)], [None] * 3).is_axis
    assert not channel_state_of([], [None] * 3).visible


def test_strip_marks_planes_with_prompts(stack, image):
    controller = FakeController(stack)
    controller.annotation.session.add_point(4, (20, 30))
    strip = strip_of(controller)
    assert strip.states == ("none", "none", "none", "none", "ready", "none")
    assert (strip.prompted, strip.current) == (frozenset({4}), 2)
    assert strip.cell_text(4) == "plane 4: embedded"
    assert strip_of(FakeController(image)) is None


def test_reading_all_planes_is_offered_and_shows_the_remaining_time(stack):
    controller = FakeController(stack)
    assert ahead_state_of(strip_of(controller), None).offer == "Read all 6 planes ahead"
    assert ahead_state_of(None, None) == AheadState()
    state = ahead_state_of(strip_of(controller), ReadProgress(2, 6, None))
    assert (state.offer, state.progress) == ("", "Reading ahead: 2 of 6")
    assert ahead_state_of(None, ReadProgress(2, 6, 40.2)).progress.endswith("2 of 6 · 40 s left")
    assert ahead_state_of(None, ReadProgress(2, 600, 400)).progress.endswith(" · 7 min left")
    controller.annotation.session.read_all(range(6))
    assert ahead_state_of(strip_of(controller), None) == AheadState()


def test_section_is_drawn_again_only_if_something_differs(qtbot):
    drawn = []

    class Number(Section[int]):
        def _state(self):
            return self._controller.number

        def _draw(self, state):
            drawn.append(state)

    controller = SimpleNamespace(number=1)
    section = Number(controller)
    qtbot.addWidget(section)
    section.refresh()
    section.refresh()
    assert drawn == [1]
    controller.number = 2
    section.refresh()
    section.redraw()
    assert drawn == [1, 2, 2]
    assert section.shown == 2


def test_badge_shows_that_masks_are_from_another_input():
    assert seen_state_of("ready", False, 0, ("contrast: 0 to 9",)).badge == ""
    assert "read again" in seen_state_of("ready", True, 0, ()).badge
    assert "read again" in seen_state_of("queued", False, 2, ()).badge
    assert seen_state_of("ready", False, 1, ()).badge.startswith("1 mask was made")
    assert seen_state_of("queued", False, 0, ("old",)) == SeenState("", "being read", ())
