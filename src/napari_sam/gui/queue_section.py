"""Section of the dock for the proofreading queue: one object at a time, with a key per verdict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import bring_up, button, line, thin_bar, tool
from napari_sam.gui.key_table import with_key
from napari_sam.gui.proofreading import act_on_queue
from napari_sam.gui.section import Section
from napari_sam.gui.wording import object_count_text
from napari_sam.session.proofreading import Queue


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of the section.

    Parameters
    ----------
    is_open
        Whether the queue is open.
    waiting
        Number of objects that nobody has accepted yet.
    offered
        The offered object and the reasons for doubt, as text; empty if none is offered.
    note
        Text in its place if none is offered.
    rest, sure, hopeless
        Number of objects that one action handles: accepts from the offered one on, accepts as
        surely right, deletes as surely wrong.
    done, total
        Number of objects accepted or deleted, and of all objects.
    pace
        Seconds per object as text; empty before the first.
    """

    is_open: bool = False
    waiting: int = 0
    offered: str = ""
    note: str = ""
    rest: int = 0
    sure: int = 0
    hopeless: int = 0
    done: int = 0
    total: int = 0
    pace: str = ""


def queue_state_of(queue: Queue) -> QueueState:
    """Return the section's state.

    Parameters
    ----------
    queue
        The queue of the image.
    """
    if not queue.is_open:
        return QueueState(waiting=queue.waiting)
    item, progress = queue.current, queue.progress
    offered = note = ""
    if item is not None:
        doubts = ", ".join(item.reasons) or "nothing unusual"
        offered = f"Object {item.object_id}: {item.quality:.0%} · {doubts}"
        if queue.is_fixing:
            offered = f"Object {item.object_id}: correct it, then accept"
    elif queue.is_ranking:
        note = "Sorting the objects"
    elif queue.items:
        note = f"Another object is current; {len(queue.items)} are left"
    elif progress.total:
        note = "Everything is accepted"
    else:
        note = "No automatically found object is in the labels"
    pace = "" if progress.seconds is None else f"{progress.seconds:.1f} s an object"
    return QueueState(
        True, queue.waiting, offered, note, queue.rest if item else 0, queue.sure, queue.hopeless,
        progress.done, progress.total, pace,
    )  # fmt: skip


class QueueSection(Section[QueueState]):
    """Offers the objects of the queue; hidden if there is nothing to proofread."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.begin = button("", with_key("check them one by one, most doubtful first", "proofread"))
        self.offered = QLabel()
        self.offered.setWordWrap(True)
        self.offered.setAccessibleName("the object to check")
        self.accept = button(
            "Accept  8", with_key("the mask is right: go to the next object", "queue_accept")
        )
        self.fix = button("Fix  9", with_key("correct it with clicks first", "queue_fix"))
        self.delete = button(
            "Delete  0", with_key("this is no object: go to the next one", "queue_delete")
        )
        self.back = tool("◀", with_key("go back to the previous object", "queue_previous"))
        self.skip = tool("▶", with_key("leave it for later", "queue_next"))
        self.rest = button(
            "", with_key("also accept all objects that are more likely right", "queue_accept_rest")
        )
        self.sure = button(
            "", "accept all objects that are almost certainly right, unseen; can be undone"
        )
        self.hopeless = button(
            "", "delete all objects that are almost certainly wrong, unseen; can be undone"
        )
        self.bar = thin_bar("progress of proofreading")
        self.progress = QLabel()
        self._offers = False
        self.end = button(
            "Close", with_key("close the queue; you can come back later", "proofread")
        )
        self._inside = QWidget()
        column = QVBoxLayout(self._inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.offered)
        column.addLayout(line(self.back, self.accept, self.fix, self.delete, self.skip))
        column.addWidget(self.rest)
        column.addLayout(line(self.sure, self.hopeless))
        column.addWidget(self.bar)
        foot = line(self.progress, self.end)
        foot.setStretch(0, 1)
        column.addLayout(foot)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.begin)
        outer.addWidget(self._inside)
        for control, command in (
            (self.begin, "begin"), (self.end, "end"), (self.accept, "accept"), (self.fix, "fix"),
            (self.delete, "delete"), (self.back, "previous"), (self.skip, "next"),
            (self.rest, "accept_rest"), (self.sure, "accept_sure"),
            (self.hopeless, "delete_hopeless"),
        ):  # fmt: skip
            control.clicked.connect(partial(self._press, command))

    def _state(self) -> QueueState:
        annotation = self._controller.annotation
        if annotation is None:
            return QueueState()
        return queue_state_of(annotation.session.queue)

    def _draw(self, state: QueueState) -> None:
        self.setVisible(state.is_open or state.waiting > 0)
        self.begin.setVisible(not state.is_open)
        if state.offered and not self._offers:
            bring_up(self)
        self._offers = bool(state.offered)
        self.begin.setText(f"Proofread {object_count_text(state.waiting)}")
        self._inside.setVisible(state.is_open)
        self.offered.setText(state.offered or state.note)
        for control in (self.accept, self.fix, self.delete):
            control.setEnabled(bool(state.offered))
        for arrow in (self.back, self.skip):
            arrow.setEnabled(state.done < state.total)
        self.rest.setVisible(state.rest > 1)
        self.rest.setText(f"Accept this and {state.rest - 1} above it  ⇧R")
        self.sure.setVisible(state.sure > 0)
        self.sure.setText(f"Accept {state.sure} sure")
        self.hopeless.setVisible(state.hopeless > 0)
        self.hopeless.setText(f"Delete {state.hopeless} hopeless")
        self.bar.setRange(0, max(1, state.total))
        self.bar.setValue(state.done)
        count = f"{state.done} of {state.total}"
        self.progress.setText(" · ".join(part for part in (count, state.pace) if part))

    def _press(self, command: str, *_: object) -> None:
        """Call a method of the chosen image's queue by its name."""
        annotation = self._controller.annotation
        if annotation is not None:
            queue = annotation.session.queue
            self._attempt(partial(act_on_queue, self._controller.viewer, queue, command))
