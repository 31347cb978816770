"""Section of the dock that finds all objects of the plane shown or of the whole stack."""

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

_PLANE_TIP = "find every object in the plane shown"


@dataclass(frozen=True, slots=True)
class EverythingState:
    """The state of the section.

    Parameters
    ----------
    fraction
        Fraction that is searched, from 0 to 1; None while no search runs.
    ready
        Whether a plane is on screen and a model is loaded.
    more
        Whether objects are accepted, so that similar ones can be found.
    found
        Whether there are found objects that nobody has accepted yet.
    stack, tip
        Text and tooltip of the button for the whole stack; empty if there is a single plane.
    progress
        Number of objects found so far, and the remaining time, as text.
    reads
        Whether the model finds objects by text.
    plane_tip
        Tooltip of the button for the plane shown.
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
    """Return the section's state."""
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
    progress, fraction = ("", None) if run is None else (run_text(run), run.fraction)
    segmenter = controller.segmenter
    reads = ready and segmenter is not None and segmenter.traits.reads_text
    return EverythingState(
        fraction, ready, more, found, stack, tip, progress, reads, _plane_tip(segmenter)
    )


def _plane_tip(segmenter: Segmenter | None) -> str:
    """Return the tooltip for the plane shown, which names the method if a decoder is used."""
    way = "head" if segmenter is None else segmenter.traits.way()
    return f"{_PLANE_TIP}, by {WAYS[way]}" if way == "decoder" else _PLANE_TIP


def run_text(run: RunProgress) -> str:
    """Return the progress of a search as text: objects found, planes done and remaining time."""
    parts = [object_count_text(run.objects)]
    if run.squares is not None:
        parts.append(f"{run.squares[0]} of {run.squares[1]} squares")
    elif run.count > 1:
        parts.append(f"{run.done} of {run.count} planes")
    parts += [] if run.seconds_left is None else [time_left_text(run.seconds_left)]
    return " · ".join(parts)


def _tip(length: int, name: str, channels: bool) -> str:
    if channels:
        return (
            f"find every object in each of {length} channels separately; if this axis is depth or "
            "time, name it z or t in the layer's axis labels"
        )
    along = "" if name == "plane" else f" along {name}"
    return (
        f"find every object in all {length} planes{along}; objects that overlap from "
        "plane to plane become one"
    )


class EverythingSection(Section[EverythingState]):
    """Buttons that find all objects; during a search, its progress and buttons to stop it."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.plane = button("this plane", _PLANE_TIP)
        self.stack = button("", "")
        self.similar = button(
            "More like these",
            with_key("find more objects like the accepted ones in the plane shown", "find_similar"),
        )
        self.text = QLineEdit()
        self.text.setPlaceholderText("nuclei, dividing cell …")
        self.text.setMaxLength(LONGEST_TEXT)
        self.text.setAccessibleName("what to find")
        self.text.setToolTip(
            "what to find, as a short English phrase; this model knows everyday words best; "
            "Enter searches the plane shown"
        )
        self.text_plane = button(
            "this plane", "find every object that matches the text in the plane shown"
        )
        self.text_stack = button("", "")
        self.narrow = button(
            "Narrow all", "move the outlines of all found objects of this plane inwards by a pixel"
        )
        self.widen = button(
            "Widen all",
            "move the outlines of all found objects of this plane outwards by a pixel, into the "
            "background",
        )
        self.progress = caption("objects found so far, and progress of finding all")
        self.bar = thin_bar("progress of finding all")
        self.keep = button("Stop", "stop, and keep the objects found so far")
        self.cancel = button("Cancel", "stop, and discard the objects found so far")
        self.pages = QStackedWidget()
        asking, running = QWidget(), QWidget()
        row = line(QLabel("Find all in"), self.plane, self.stack)
        row.setStretch(1, 1)
        row.setStretch(2, 1)
        asked = QVBoxLayout(asking)
        asked.setContentsMargins(0, 0, 0, 0)
        asked.addLayout(row)
        self.by_text = QWidget()
        worded = QVBoxLayout(self.by_text)
        worded.setContentsMargins(0, 0, 0, 0)
        row = line(QLabel("Find"), self.text)
        row.setStretch(1, 1)
        worded.addLayout(row)
        row = line(QLabel("in"), self.text_plane, self.text_stack)
        row.setStretch(1, 1)
        row.setStretch(2, 1)
        worded.addLayout(row)
        asked.addWidget(self.by_text)
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
        self.by_text.setVisible(state.reads)
        self.text_stack.setVisible(bool(state.stack))
        self.text_stack.setText(state.stack)
        matching = state.tip.replace("every object", "every object that matches the text")
        self.text_stack.setToolTip(matching)
        self._text_changed()

    def _text_changed(self, *_: object) -> None:
        """Enable the search by text only if there is a text."""
        has_text = bool(self.text.text().strip())
        self.text_plane.setEnabled(has_text)
        self.text_stack.setEnabled(has_text)

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
