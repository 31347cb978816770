"""Buttons that find everything in the plane shown or in the whole stack."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from qtpy.QtWidgets import QLabel, QLineEdit, QStackedWidget, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, caption, line, thin_bar
from napari_sam.gui.key_table import with_key
from napari_sam.gui.outlines import move_found_outlines
from napari_sam.gui.planes import axis_name, channel_axis
from napari_sam.gui.section import Section
from napari_sam.gui.wording import object_count_text, time_left_text
from napari_sam.segmentation.concepts import LONGEST_TEXT
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.segmentation.traits import WAYS
from napari_sam.session import RunProgress

_PLANE_TIP = "find every object of the plane shown"


@dataclass(frozen=True, slots=True)
class EverythingState:
    """What can be searched, or how far a search is.

    Parameters
    ----------
    fraction
        Share that is searched; None while nothing is.
    progress
        How many objects are found by then, and how long it still takes.
    ready
        Whether there are a plane on screen and a model.
    more
        Whether there are objects to find more of.
    found
        Whether there are objects of a machine that nobody has accepted yet.
    reads
        Whether the model finds what a text says.
    plane_tip
        What the button for the plane shown does.
    stack, tip
        What the button for the whole stack says; empty where there is one plane.
    """

    fraction: float | None = None
    ready: bool = False
    more: bool = False
    found: bool = False
    stack: str = ""
    tip: str = ""
    progress: str = ""
    reads: bool = False
    plane_tip: str = _PLANE_TIP


def everything_state_of(controller: Controller) -> EverythingState:
    """Say what can be searched, or how far a search is."""
    annotation = controller.annotation
    plane = annotation.displayed() if annotation else None
    ready = plane is not None and controller.segmenter is not None
    axis = annotation.scrolled_axis(plane) if annotation else None
    stack, tip = "", ""
    if annotation is not None and axis is not None:
        length = annotation.session.source.shape[axis]
        if length > 1:
            channels = axis == channel_axis(annotation.image)
            stack = f"all {length} {'channels' if channels else 'planes'}"
            tip = _tip(length, axis_name(annotation.image, axis), channels)
    more = annotation is not None and annotation.session.has_examples
    found = annotation is not None and annotation.session.queue.waiting > 0
    run = controller.everything.progress
    told, fraction = ("", None) if run is None else (run_text(run), run.fraction)
    segmenter = controller.segmenter
    reads = ready and segmenter is not None and segmenter.traits.reads_text
    return EverythingState(
        fraction, ready, more, found, stack, tip, told, reads, _plane_tip(segmenter)
    )


def _plane_tip(segmenter: Segmenter | None) -> str:
    """Say what finding everything here does, and with a decoder for instances how."""
    way = "head" if segmenter is None else segmenter.traits.way()
    return f"{_PLANE_TIP}, by {WAYS[way]}" if way == "decoder" else _PLANE_TIP


def run_text(run: RunProgress) -> str:
    """Say how far a search is: what is found, where it is, and how long it still takes."""
    told = [object_count_text(run.objects)]
    if run.squares is not None:
        told.append(f"{run.squares[0]} of {run.squares[1]} squares")
    elif run.count > 1:
        told.append(f"{run.done} of {run.count} planes")
    told += [] if run.seconds_left is None else [time_left_text(run.seconds_left)]
    return " · ".join(told)


def _tip(length: int, name: str, channels: bool) -> str:
    if channels:
        return (
            f"find every object of each of {length} channels by itself; if they are depth or "
            "time, name the axis so (z, t) in the layer's axis labels"
        )
    along = "" if name == "plane" else f" along {name}"
    return (
        f"find every object of all {length} planes{along}; those that overlap from "
        "plane to plane are one"
    )


class EverythingSection(Section[EverythingState]):
    """Buttons that find everything; while that goes on, how far it is and a way to stop it."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.plane = button("this plane", _PLANE_TIP)
        self.stack = button("", "")
        self.similar = button(
            "More like these",
            with_key("find more objects like those that are accepted, here", "find_similar"),
        )
        self.text = QLineEdit()
        self.text.setPlaceholderText("nuclei, dividing cell …")
        self.text.setMaxLength(LONGEST_TEXT)
        self.text.setAccessibleName("what to find")
        self.text.setToolTip(
            "what to find, as a short English phrase: this model knows everyday words best; "
            "Enter finds it in the plane shown"
        )
        self.text_plane = button("this plane", "find every object that the text says, here")
        self.text_stack = button("", "")
        self.narrow = button(
            "Narrow all", "move the outlines of all found objects of this plane inwards by a pixel"
        )
        self.widen = button(
            "Widen all",
            "move the outlines of all found objects of this plane outwards by a pixel, into the "
            "background",
        )
        self.progress = caption("what is found, and how far finding all is")
        self.bar = thin_bar("how far finding all is")
        self.keep = button("Stop", "go no further; what was found on what is searched stays")
        self.cancel = button("Cancel", "stop; what was found so far is dropped")
        self.pages = QStackedWidget()
        asking, running = QWidget(), QWidget()
        row = line(QLabel("Find all in"), self.plane, self.stack)
        row.setStretch(1, 1)
        row.setStretch(2, 1)
        asked = QVBoxLayout(asking)
        asked.setContentsMargins(0, 0, 0, 0)
        asked.addLayout(row)
        self.told = QWidget()
        saying = QVBoxLayout(self.told)
        saying.setContentsMargins(0, 0, 0, 0)
        row = line(QLabel("Find"), self.text)
        row.setStretch(1, 1)
        saying.addLayout(row)
        row = line(QLabel("in"), self.text_plane, self.text_stack)
        row.setStretch(1, 1)
        row.setStretch(2, 1)
        saying.addLayout(row)
        asked.addWidget(self.told)
        asked.addWidget(self.similar)
        asked.addLayout(line(self.narrow, self.widen))
        row = line(QLabel("Finding all"), self.bar, self.keep, self.cancel)
        row.setStretch(1, 1)
        shown = QVBoxLayout(running)
        shown.setContentsMargins(0, 0, 0, 0)
        shown.addWidget(self.progress)
        shown.addLayout(row)
        self.pages.addWidget(asking)
        self.pages.addWidget(running)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.pages)
        self.plane.clicked.connect(self._find_plane)
        self.stack.clicked.connect(self._find_stack)
        self.text.textChanged.connect(self._text_changed)
        self.text.returnPressed.connect(partial(self._start, stack=False, by_text=True))
        self.text_plane.clicked.connect(partial(self._start_text, False))
        self.text_stack.clicked.connect(partial(self._start_text, True))
        self.similar.clicked.connect(self._find_similar)
        self.narrow.clicked.connect(partial(self._move_outlines, -1))
        self.widen.clicked.connect(partial(self._move_outlines, 1))
        self.keep.clicked.connect(partial(self._cancel, True))
        self.cancel.clicked.connect(partial(self._cancel, False))

    def _state(self) -> EverythingState:
        return everything_state_of(self._controller)

    def _draw(self, state: EverythingState) -> None:
        running = state.fraction is not None
        self.pages.setCurrentIndex(1 if running else 0)
        self.bar.setValue(round(1000 * (state.fraction or 0)))
        self.progress.setText(state.progress)
        self.setEnabled(running or state.ready)
        self.similar.setVisible(state.more)
        for moving in (self.narrow, self.widen):
            moving.setVisible(state.found)
        self.plane.setToolTip(state.plane_tip)
        self.stack.setVisible(bool(state.stack))
        self.stack.setText(state.stack)
        self.stack.setToolTip(state.tip)
        self.told.setVisible(state.reads)
        self.text_stack.setVisible(bool(state.stack))
        self.text_stack.setText(state.stack)
        self.text_stack.setToolTip(state.tip.replace("every object", "every object that it says"))
        self._text_changed()

    def _text_changed(self, *_: object) -> None:
        """Let only a text be looked for."""
        says_something = bool(self.text.text().strip())
        self.text_plane.setEnabled(says_something)
        self.text_stack.setEnabled(says_something)

    def _start_text(self, stack: bool, *_: object) -> None:
        self._start(stack, by_text=True)

    def _find_plane(self) -> None:
        self._start(stack=False)

    def _find_stack(self) -> None:
        self._start(stack=True)

    def _find_similar(self) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation is not None and plane is not None:
            self._controller.everything.start_similar(annotation, plane)

    def _cancel(self, keep: bool, *_: object) -> None:
        self._controller.everything.cancel(keep)

    def _move_outlines(self, pixels: int, *_: object) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._attempt(partial(move_found_outlines, annotation, pixels))

    def _start(self, stack: bool, by_text: bool = False) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        text = self.text.text().strip() if by_text else ""
        if annotation is None or plane is None or (by_text and not text):
            return
        axis = annotation.scrolled_axis(plane) if stack else None
        self._controller.everything.start(annotation, plane, axis, text)
