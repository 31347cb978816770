"""Section of the dock for teaching: options, progress, the result and whether to use it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from qtpy.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import (
    Fold,
    button,
    caption,
    check,
    line,
    quietly,
    reachable,
    rule,
    thin_bar,
)
from napari_sam.gui.planes import visible_part
from napari_sam.gui.section import Section
from napari_sam.gui.taught_section import TaughtSection
from napari_sam.gui.teaching import LEAST, Complete, Lecture, Offer, Teaching, Wishes, complete_of
from napari_sam.gui.wording import object_count_text, time_left_text
from napari_sam.model import taught_library
from napari_sam.model.lesson_facts import only_finds, rests_on, score_lines
from napari_sam.model.registry import REGISTRY

_TITLE = "Teach"
_PHASES = {
    "read": "Reading the objects",
    "score": "Testing on the objects held back",
    "learn": "Learning",
    "again": "Learning all of them",
}


@dataclass(frozen=True, slots=True)
class TeachState:
    """The state of the section.

    Parameters
    ----------
    count
        Number of finished objects.
    ask
        Text of the button that begins; empty if teaching isn't possible.
    note
        What is missing for teaching, or why it is suggested.
    progress, fraction
        Progress as text, and from 0 to 1; empty while nothing is taught.
    verdict
        The result as text; empty if there is none.
    is_offered
        Whether the taught model can be used.
    name
        Proposed name of the taught model.
    is_named
        Whether the user has chosen to use it as soon as all objects are learned.
    wishes
        The options for teaching.
    parent
        The model that the taught model in use was taught from; empty for another model.
    heads
        Whether the model finds all objects by itself, and can be taught that.
    complete
        What is marked as completely labelled; None if no plane is on screen.
    """

    count: int = 0
    ask: str = ""
    note: str = ""
    progress: str = ""
    fraction: float = 0.0
    verdict: str = ""
    is_offered: bool = False
    name: str = ""
    is_named: bool = False
    wishes: Wishes = field(default_factory=Wishes)
    parent: str = ""
    heads: bool = False
    complete: Complete | None = None

    @property
    def title(self) -> str:
        """The title of the section, which is also shown while it is collapsed."""
        if self.verdict and not self.is_named:
            return f"{_TITLE} · {'better: use it?' if self.is_offered else 'no better'}"
        if self.progress:
            return f"{_TITLE} · {self.fraction:.0%}"
        return f"{_TITLE} · {object_count_text(self.count)}" if self.count else _TITLE


def teach_state_of(controller: Controller) -> TeachState:
    """Return the section's state."""
    annotation, teaching = controller.annotation, controller.teaching
    state = TeachState(wishes=teaching.wishes)
    if (offer := teaching.offer) is not None:
        state = replace(
            state,
            verdict=offer_text(offer, is_named := teaching.naming is not None),
            is_offered=offer.is_better,
            name=offer.name,
            is_named=is_named,
        )
    if teaching.lecture is not None:
        progress = lecture_text(teaching.lecture)
        return replace(state, progress=progress, fraction=teaching.lecture.fraction)
    segmenter = controller.segmenter
    if annotation is None or segmenter is None:
        return state
    count = annotation.session.finished_count
    if not segmenter.traits.learns:
        note = f"{segmenter.traits.name} can't be taught: only networks of this program can"
        return replace(state, count=count, note=note)
    if controller.machines.connection is not None:
        note = (
            "A model on another machine can't be taught: its weights stay there. Choose a device "
            "of this machine first."
        )
        return replace(state, count=count, note=note)
    ask = note = ""
    if count >= LEAST:
        about = round(teaching.wishes.seconds)
        time = f"{about} s" if about < 100 else f"{about // 60} min"
        ask = f"{object_count_text(count)}: adapt to these (about {time})"
    else:
        more = f"{LEAST - count} more objects" if LEAST - count > 1 else "1 more object"
        note = f"Finish {more}: then the model can learn from them"
    if teaching.suggested(annotation) is not None and ask:
        rate = annotation.session.corrections_per_object
        note = f"{rate:.1f} corrections per object so far; a model taught these may need fewer"
    return replace(
        state,
        count=count,
        ask=ask,
        note=note,
        parent=taught_from(controller.model),
        heads=segmenter.traits.proposes,
        complete=complete_of(annotation),
    )


def taught_from(model: str) -> str:
    """Return the model that a taught one was taught from; empty for any other."""
    if model in REGISTRY:
        return ""
    for one in taught_library.listed():
        if one.card is not None and model in (one.name, str(one.path)):
            return one.card.lesson.parent
    return ""


def lecture_text(lecture: Lecture) -> str:
    """Return the progress of teaching as text."""
    parts = [_PHASES[lecture.phase]]
    if lecture.seconds_left is not None:
        parts.append(time_left_text(lecture.seconds_left))
    return " · ".join(parts)


def offer_text(offer: Offer, is_named: bool = False) -> str:
    """Return the scores of a taught model on the objects held back as text.

    Parameters
    ----------
    offer
        The result of teaching.
    is_named
        Whether the user has already chosen to use the model.
    """
    scores = " · ".join(f"{what} {change}" for what, change in score_lines(offer.scores).items())
    rests = rests_on(offer.scores)
    if offer.is_better:
        alone = " Only finding all is taught." if only_finds(offer.scores) else ""
        ask = "" if is_named else " Use it?"
        return f"On {rests}. IoU {scores}.{alone}{ask}"
    return (
        f"No better on {rests}. IoU {scores}. Everything stays as it is; finish more objects, or \
other ones, and try again."
    )


class TeachSection(Section[TeachState]):
    """Teaches the model the finished objects; collapsed until teaching is suggested.

    Parameters
    ----------
    controller
        The controller of the viewer.
    taught
        The section about the taught model in use, shown in the same fold.
    """

    def __init__(self, controller: Controller, taught: TaughtSection) -> None:
        super().__init__(controller)
        self.note = _text("what teaching needs")
        self.ask = button(
            "", "teach the model these objects while you work on; if it gets better, you can use it"
        )
        self.progress = caption("what is being learned, and the remaining time")
        self.bar = thin_bar("progress of teaching")
        self.cancel = button("Cancel", "stop; everything stays as it is")
        self.verdict = _text("scores of the taught model")
        self.name = reachable(QLineEdit(), "name of the taught model")
        self.name.setToolTip("the name that the taught model gets")
        self.use = button(
            "Use it", "save it under this name and use it; undo goes back to the previous model"
        )
        self.dont = button("Don't", "discard it; everything stays as it is")
        self.thorough = check(
            "thorough", "teach the whole network: often better, but takes four times as long"
        )
        self.everything = check(
            "find all, too", "also teach finding all objects, if that gets better"
        )
        self.anew = check("", "")
        self.plane = check(
            "this plane is complete",
            "everything on the plane shown is labelled: the rest is background, which helps "
            "finding all",
        )
        self.view = button("mark what is shown", "everything in the part on screen is labelled")
        self.clear = button("clear", "remove the marks on this plane")
        self.regions = QLabel()
        self._inside = inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        self._asking, self._running, self._judging = QWidget(), QWidget(), QWidget()
        self._marks = QWidget()
        for part in (self.note, self._running, self._judging, self._asking, taught):
            column.addWidget(part)
        asked = _column(self._asking, self.ask)
        asked.addLayout(line(self.thorough, self.everything))
        asked.addWidget(self.anew)
        asked.addWidget(self.plane)
        marks = line(self.regions, self.view, self.clear)
        marks.addStretch(1)
        asked.addWidget(self._marks)
        self._marks.setLayout(marks)
        row = line(self.bar, self.cancel)
        row.setStretch(0, 1)
        _column(self._running, self.progress).addLayout(row)
        judged = _column(self._judging, self.verdict)
        row = line(self.name, self.use, self.dont)
        row.setStretch(0, 1)
        judged.addLayout(row)
        self.fold = Fold(_TITLE, inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(rule())
        outer.addWidget(self.fold)
        self._last_suggested: int | None = None
        self.ask.clicked.connect(self._start)
        self.cancel.clicked.connect(self._cancel)
        self.use.clicked.connect(self._use)
        self.name.returnPressed.connect(self._use)
        self.dont.clicked.connect(self._decline)
        self.thorough.toggled.connect(self._wish)
        self.everything.toggled.connect(self._wish)
        self.anew.toggled.connect(self._wish)
        self.plane.toggled.connect(self._mark_plane)
        self.view.clicked.connect(self._mark_view)
        self.clear.clicked.connect(partial(self._mark_plane, False))

    @property
    def _teaching(self) -> Teaching:
        return self._controller.teaching

    def _state(self) -> TeachState:
        return teach_state_of(self._controller)

    def _draw(self, state: TeachState) -> None:
        suggested = self._teaching.suggested(self._controller.annotation)
        if suggested is not None and suggested != self._last_suggested:
            self.fold.expand(quietly=True)
        self._last_suggested = suggested
        self.fold.set_title(state.title)
        self.note.setText(state.note)
        self.note.setVisible(bool(state.note))
        self._running.setVisible(bool(state.progress))
        self.progress.setText(state.progress)
        self.bar.setValue(round(1000 * state.fraction))
        self._judging.setVisible(bool(state.verdict))
        self.verdict.setText(state.verdict)
        self.name.setVisible(state.is_offered)
        self.use.setVisible(state.is_offered)
        self.use.setText("Used when done" if state.is_named else "Use it")
        for control in (self.use, self.name):
            control.setEnabled(not state.is_named)
        self.dont.setText("Don't" if state.is_offered else "OK")
        if state.name and self.name.property("proposed") != state.name:
            self.name.setProperty("proposed", state.name)
            self.name.setText(state.name)
        self._asking.setVisible(bool(state.ask) and not state.verdict)
        self.ask.setText(state.ask)
        self.anew.setVisible(bool(state.parent))
        self.anew.setText(f"from {state.parent} again")
        self.anew.setToolTip(
            f"teach {state.parent} all objects of this image; otherwise teach them to the model "
            "in use"
        )
        self.everything.setVisible(state.heads)
        complete = state.complete or Complete()
        self.plane.setVisible(state.complete is not None)
        self._marks.setVisible(state.complete is not None and not complete.is_plane)
        self.regions.setText(f"or ({complete.regions} marked)" if complete.regions else "or")
        self.clear.setVisible(complete.regions > 0)
        wishes = state.wishes
        with quietly(self.thorough, self.everything, self.anew, self.plane):
            self.thorough.setChecked(wishes.thorough)
            self.everything.setChecked(wishes.everything)
            self.anew.setChecked(wishes.anew)
            self.plane.setChecked(complete.is_plane)

    def _start(self) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._teaching.start(annotation)

    def _cancel(self) -> None:
        self._teaching.cancel()

    def _use(self) -> None:
        self._attempt(partial(self._teaching.use, self.name.text()))

    def _decline(self) -> None:
        self._teaching.decline()

    def _wish(self, *_: object) -> None:
        self._teaching.wishes = Wishes(
            self.thorough.isChecked(), self.everything.isChecked(), self.anew.isChecked()
        )
        self.refresh()

    def _mark_plane(self, on: bool, *_: object) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation is not None and plane is not None:
            self._attempt(partial(annotation.session.mark_complete, plane, None, on))

    def _mark_view(self) -> None:
        annotation, viewer = self._controller.annotation, self._controller.viewer
        plane = annotation.displayed() if annotation else None
        if annotation is not None and plane is not None:
            box = visible_part(viewer, annotation.image, plane)
            self._attempt(partial(annotation.session.mark_complete, plane, box))


def _text(name: str) -> QLabel:
    made = QLabel()
    made.setWordWrap(True)
    made.setAccessibleName(name)
    return made


def _column(around: QWidget, first: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(around)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(first)
    return column
