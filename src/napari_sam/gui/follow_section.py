"""Section of the dock for following objects: options, progress, and checking the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, caption, combo, fill, line, rule, thin_bar, tool
from napari_sam.gui.follow import REACHES, Reach, quality_along, spans_along
from napari_sam.gui.key_table import with_key
from napari_sam.gui.keys import run_action
from napari_sam.gui.planes import axis_name
from napari_sam.gui.section import Section
from napari_sam.gui.wording import time_left_text
from napari_sam.session import FollowProgress, PlaneFacts, Span
from napari_sam.session.prompt_words import ids_text
from napari_sam.session.spans import DOUBTFUL


@dataclass(frozen=True, slots=True)
class Course:
    """The range of planes through which the current object was followed.

    Parameters
    ----------
    text
        First and last plane, and the number of doubtful planes, as text.
    here
        State of the object on the plane on screen, as text; empty if nothing is known.
    doubtful
        Number of doubtful planes.
    """

    text: str
    here: str = ""
    doubtful: int = 0


@dataclass(frozen=True, slots=True)
class FollowState:
    """The state of the section.

    Parameters
    ----------
    axes
        Name and index of each axis along which objects can be followed; empty if there is none.
    axis, reach
        The axis chosen, and in which direction objects are followed along it.
    progress, fraction
        Progress as text, and from 0 to 1; empty while nothing is followed.
    note
        What is updated after a correction, or couldn't be, as text.
    course
        Range of planes through which the current object was followed; None if it was not.
    is_3d
        Whether the 3-D view is shown.
    has_masks
        Whether there may be masks to show in 3-D.
    """

    axes: tuple[tuple[str, int], ...] = ()
    axis: int | None = None
    reach: Reach = "both ways"
    progress: str = ""
    fraction: float = 0.0
    note: str = ""
    course: Course | None = None
    is_3d: bool = False
    has_masks: bool = False

    @property
    def is_visible(self) -> bool:
        """Whether the image has an axis to follow along, or the 3-D view is to be left."""
        return bool(self.axes) or bool(self.progress) or self.is_3d

    @property
    def axis_name(self) -> str:
        """The name of the axis; ``plane`` if it has none."""
        return next((name for name, axis in self.axes if axis == self.axis), "plane")


def follow_state_of(controller: Controller) -> FollowState:
    """Return the section's state."""
    annotation = controller.annotation
    if annotation is None or controller.segmenter is None:
        return FollowState()
    session, plane, follow = annotation.session, annotation.displayed(), controller.follow
    running, object_id, progress, note = session.follow_progress, session.object_id, "", ""
    if running is not None and running.is_correction:
        note = f"updating {ids_text(running.object_ids)} …"
    elif running is not None:
        along = axis_name(annotation.image, running.axis)
        progress = progress_text(running, along, session.source.shape[running.axis])
    fraction = running.fraction if running is not None else 0.0
    axis = annotation.follow_axis(plane)
    if plane is None or axis is None:
        return FollowState(
            progress=progress, fraction=fraction, note=note, is_3d=plane is None and follow.is_3d
        )
    names = tuple((axis_name(annotation.image, a), a) for a in annotation.follow_axes(plane))
    name = axis_name(annotation.image, axis)
    quality = session.quality(object_id)
    course = None
    here = quality_along(quality, plane, axis)
    spans = spans_along(session, plane, axis) if quality else []
    if here or spans:  # it may have been followed elsewhere only, such as along another axis
        note = note or stale_text(object_id, spans)
        facts = session.plane_facts(object_id, plane)
        course = course_of(name, here, spans, facts, plane[axis] or 0)
    has_masks = quality != {} or session.can_undo
    return FollowState(
        names, axis, follow.reach, progress, fraction, note, course, has_masks=has_masks
    )


def stale_text(object_id: int, spans: Iterable[Span]) -> str:
    """Return a note if an object changed after it was followed; empty if it didn't."""
    if all(span.state != "stale" for span in spans):
        return ""
    return f"object {object_id} has changed since it was followed: follow it again to update it"


def progress_text(running: FollowProgress, name: str, count: int) -> str:
    """Return the progress of following as text in two lines.

    Parameters
    ----------
    running
        The progress.
    name, count
        Name of the axis, and its number of planes.
    """
    index = None if running.plane is None else running.plane[running.axis]
    where = [] if index is None else [f"{name} {index}/{count - 1}"]
    far = [f"{running.done} of {running.count} steps"]
    far += [] if running.seconds_left is None else [time_left_text(running.seconds_left)]
    what = [f"Following {ids_text(running.object_ids)}", *where]
    return " · ".join(what) + "\n" + " · ".join(far)


def course_of(
    name: str, along: Mapping[int, float], spans: Sequence[Span], facts: PlaneFacts, here: int
) -> Course:
    """Return the range of planes through which an object was followed, and its state here.

    Parameters
    ----------
    name
        Name of the axis.
    along
        Quality of the object's carried masks, by index along the axis.
    spans
        The spans through which it was carried.
    facts
        What is known of the object on the plane on screen.
    here
        Index of the plane on screen.
    """
    anchors = {index for span in spans for index in span.anchors}
    everywhere = sorted({*along, *anchors})
    doubtful = sum(quality < DOUBTFUL for i, quality in along.items() if i not in anchors)
    text = f"{name} {everywhere[0]} to {everywhere[-1]}" if everywhere else "nowhere"
    text += f" · {doubtful} doubtful" if doubtful else " · none doubtful"
    if here in anchors or facts.verdict == "right":
        return Course(text, "known on this plane", doubtful)
    if facts.verdict == "not here":
        return Course(text, "not on this plane, as you said", doubtful)
    quality = along.get(here)
    if quality is None:
        return Course(text, "not on this plane", doubtful)
    sure = "doubtful" if quality < DOUBTFUL else "sure"
    return Course(text, f"here {quality:.2f}, {sure}", doubtful)


class FollowSection(Section[FollowState]):
    """Follows objects through a stack or a movie; hidden if the image is a single plane."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.this = button(
            "this object", with_key("follow the current object through the stack", "follow")
        )
        self.all = button(
            "all here", with_key("follow all objects of this plane together", "follow_all")
        )
        self.reach = combo("in which direction objects are followed")
        self.axis = combo("along which axis objects are followed")
        self.progress = caption("progress of following")
        self.bar = thin_bar("progress of following")
        self.keep = button("Stop", "stop, and keep the masks on planes that are done")
        self.drop = button("Drop", "stop, and discard the masks made by this run")
        self.note = caption("what is being updated")
        self.course = caption("planes through which the object was followed")
        self.back = tool("◀", with_key("show the previous doubtful plane", "previous_doubtful"))
        self.doubtful = button("", with_key("show the next doubtful plane", "next_doubtful"))
        self.worst = button("Worst", with_key("show the most doubtful plane", "worst_plane"))
        self.right = button(
            "Looks good  8",
            with_key(
                "the mask on this plane is right; the planes around it are followed from it",
                "accept_plane",
            ),
        )
        self.ends = button(
            "Not here  0",
            with_key(
                "the object ends before this plane; its masks from here on are removed",
                "stop_here",
            ),
        )
        self.goes_on = button(
            "Goes on  9",
            with_key("the object is on this plane, even if the model lost it", "go_on"),
        )
        self.solid = button("", "")
        self._asking, self._running, self._followed = QWidget(), QWidget(), QWidget()
        asking = _column(self._asking)
        row = line(QLabel("Follow"), self.this, self.all)
        row.setStretch(1, 1)
        row.setStretch(2, 1)
        asking.addLayout(row)
        asking.addLayout(line(self.reach, self.axis))
        running = _column(self._running)
        running.addWidget(self.progress)
        row = line(self.bar, self.keep, self.drop)
        row.setStretch(0, 1)
        running.addLayout(row)
        followed = _column(self._followed)
        followed.addWidget(self.course)
        row = line(self.back, self.doubtful, self.worst)
        row.setStretch(1, 1)
        followed.addLayout(row)
        followed.addLayout(line(self.right, self.ends, self.goes_on))
        column = _column(self)
        for part in (self._asking, self._running, self.note, self._followed, self.solid, rule()):
            column.addWidget(part)
        self.this.clicked.connect(partial(self._start, False))
        self.all.clicked.connect(partial(self._start, True))
        self.reach.activated.connect(self._set_reach)
        self.axis.activated.connect(self._set_axis)
        self.keep.clicked.connect(partial(self._cancel, True))
        self.drop.clicked.connect(partial(self._cancel, False))
        for control, name in (
            (self.back, "previous_doubtful"), (self.doubtful, "next_doubtful"),
            (self.worst, "worst_plane"), (self.right, "accept_plane"),
            (self.ends, "stop_here"), (self.goes_on, "go_on"), (self.solid, "look_in_3d"),
        ):  # fmt: skip
            control.clicked.connect(partial(self._act, name))

    def _state(self) -> FollowState:
        return follow_state_of(self._controller)

    def _draw(self, state: FollowState) -> None:
        self.setVisible(state.is_visible)
        running, course = bool(state.progress), state.course
        self._asking.setVisible(bool(state.axes) and not running)
        fill(self.reach, [(reach_text(one, state.axis_name), one) for one in REACHES], state.reach)
        fill(self.axis, [(f"along {name}", axis) for name, axis in state.axes], state.axis)
        self.axis.setVisible(len(state.axes) > 1)
        self._running.setVisible(running)
        self.progress.setText(state.progress)
        self.progress.setToolTip(state.progress)
        self.bar.setValue(round(1000 * state.fraction))
        self.note.setText(state.note)
        self.note.setToolTip(state.note)
        self.note.setVisible(bool(state.note))
        self._followed.setVisible(course is not None)
        if course is not None:
            self.course.setText(f"{course.text}\n{course.here}")
            self.doubtful.setText(f"Next doubtful ({course.doubtful}) ▶")
            for control in (self.back, self.doubtful, self.worst):
                control.setEnabled(course.doubtful > 0)
        self.solid.setVisible(state.is_3d or state.has_masks)
        self.solid.setText("Back to the slice" if state.is_3d else "Look in 3-D")
        self.solid.setToolTip(
            "show the same slice as before" if state.is_3d else "show the surfaces of the masks"
        )

    def _start(self, everything: bool, *_: object) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._attempt(partial(self._controller.follow.start, annotation, everything))

    def _cancel(self, keep: bool, *_: object) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            annotation.session.cancel_following(keep)

    def _set_reach(self, *_: object) -> None:
        self._controller.follow.reach = self.reach.currentData()

    def _set_axis(self, *_: object) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._controller.follow.choose_axis(annotation, self.axis.currentData())

    def _act(self, name: str, *_: object) -> None:
        """Run an action of the key table by its name."""
        run_action(self._controller.viewer, self._controller.refused.emit, name)


def reach_text(reach: Reach, axis: str) -> str:
    """Return the direction in which objects are followed as text, with the name of the axis."""
    over_time = axis.lower() in ("t", "time", "frame")
    return {
        "both ways": "both ways",
        "up": "from here forwards" if over_time else f"from here to higher {axis}",
        "down": "from here backwards" if over_time else f"from here to lower {axis}",
        "to here": "to this plane",
    }[reach]


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    return column
