"""Section of the dock for the current object: prompt tools, actions and candidate masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from napari.layers import Labels
from napari.utils.colormaps import label_colormap
from qtpy.QtCore import QEvent
from qtpy.QtGui import QAction, QIcon  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QLabel,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.gui.annotation import Annotation, Tool
from napari_sam.gui.contrast import background_of, readable
from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import (
    ElidedLabel,
    button,
    check,
    choice,
    choice_mark,
    line,
    mark,
    quietly,
    tool,
)
from napari_sam.gui.key_table import with_key
from napari_sam.gui.layers import BOX_COLOUR, COLOURS, is_painted
from napari_sam.gui.number_row import NumberRow
from napari_sam.gui.palette import YELLOW
from napari_sam.gui.prompt_columns import NEGATIVE, POSITIVE
from napari_sam.gui.section import Section
from napari_sam.gui.shape_rows import KINDS, Kind
from napari_sam.session import Plane, Session

UNSURE = 0.7
"""Predicted IoU below which a mask is marked as probably wrong.

Of 532 first clicks on held-out planes, `nano` predicted a lower IoU for 31. Of these 61 % had a
true IoU below 0.5; of the others 7 %.
"""


_NAME = 62  # least width in pixels of the object's name
_NARROW = """
QPushButton { padding: 2px; }
QToolButton { padding: 0px; }
QPushButton:focus { padding: 1px; }
QToolButton:focus { padding: 0px; }
QToolButton::menu-indicator { image: none; }
"""
_SIGNS: dict[Tool, tuple[str, str]] = {
    "inside": ("disc", COLOURS[POSITIVE]),
    "outside": ("cross", COLOURS[NEGATIVE]),
    "box": ("box", BOX_COLOUR),
    "stroke": ("stroke", COLOURS[POSITIVE]),
    "lasso": ("lasso", BOX_COLOUR),
}
"""Symbol and colour of each tool's button."""

Asked = Literal["", "merge", "renumber"]
"""The action for which the section asks for a number; empty if it doesn't."""


@dataclass(frozen=True, slots=True)
class ObjectState:
    """The state of the section.

    Parameters
    ----------
    object_id
        Id of the current object; None without an image.
    colour
        Its colour in the labels, red, green and blue from 0 to 255.
    several
        Whether there are other objects to go to.
    tool
        What the next click or drag in the canvas marks or draws; empty while it is no prompt.
    elsewhere
        Why a click or drag is no prompt, and what to press; empty if it is one.
    new_each_click
        Whether each click on the background begins a new object.
    is_fixing
        Whether clicks correct the object all the same, as the queue offers it to be fixed.
    can_clear
        Whether the object can be started over: it has prompts on the plane on screen, and isn't
        locked.
    can_adopt
        Whether the object has a mask on the plane on screen without prompts, which wasn't carried
        from another plane.
    locked
        Whether the object is locked against changes.
    scores, chosen
        Predicted IoU of each candidate of its mask on this plane, and which of them is the mask.
    asked
        The action for which the section asks for a number.
    """

    object_id: int | None = None
    colour: tuple[int, int, int] | None = None
    several: bool = False
    tool: Tool = ""
    elsewhere: str = ""
    new_each_click: bool = False
    is_fixing: bool = False
    can_clear: bool = False
    can_adopt: bool = False
    locked: bool = False
    scores: tuple[float, ...] = ()
    chosen: int = 0
    asked: Asked = ""

    @property
    def is_unsure(self) -> bool:
        """Whether the mask is probably wrong."""
        return bool(self.scores) and self.scores[self.chosen] < UNSURE


def object_state_of(
    controller: Controller, asked: Asked = "", asked_of: int | None = None
) -> ObjectState:
    """Return the section's state for the current object on the plane on screen.

    Parameters
    ----------
    controller
        The controller of the viewer.
    asked, asked_of
        The action for which a number is asked, and its object; it ends when another object
        becomes current.
    """
    annotation = controller.annotation
    if annotation is None:
        return ObjectState()
    session, plane = annotation.session, annotation.displayed()
    object_id = session.object_id
    prompted = plane is not None and bool(session.prompts.ids_of((object_id, plane)))
    locked = session.facts(object_id).locked
    return ObjectState(
        object_id,
        _colour(annotation.labels, object_id),
        several=session.prompts.object_ids not in ((), (object_id,)),
        tool=annotation.tool,
        elsewhere=_elsewhere(controller, annotation),
        new_each_click=annotation.new_each_click,
        is_fixing=session.queue.is_fixing,
        can_clear=prompted and not locked,
        can_adopt=not prompted and not locked and _can_adopt(session, object_id, plane),
        locked=locked,
        scores=() if plane is None else session.scores(object_id, plane),
        chosen=0 if plane is None else session.candidate(object_id, plane),
        asked=asked if object_id == asked_of else "",
    )


class ObjectSection(Section[ObjectState]):
    """The current object, the prompt tools, and the candidates of its mask."""

    _background: str | None = None  # for which icons are drawn; None before there are buttons

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._asked: Asked = ""
        self._asked_of: int | None = None
        self.chip = QLabel()
        self.chip.setFixedSize(16, 16)
        self.name = ElidedLabel(_NAME)
        self.previous = tool("◀", "previous object (J)")
        self.next = tool("▶", "next object (K)")
        self.new = button("New  N", "start another object (N)")
        self.delete = button("Delete", "")
        self.lock_sign = QLabel()
        self.lock_sign.setToolTip("locked: nothing changes this object")
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.merge = QAction("Merge into…", self)
        self.renumber = QAction("Renumber…", self)
        self.lock = QAction("Lock", self)
        self.clear = QAction("Start over on this plane", self)
        for action in (self.merge, self.renumber, self.lock, self.clear):
            menu.addAction(action)
        self.merge.setToolTip("make this object a part of another one")
        self.clear.setToolTip(
            "remove this object's prompts and its mask on this plane; a mask from before the "
            "first prompt comes back"
        )
        self.more = tool("⋯", "more actions for this object")
        self.more.setMenu(menu)
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.asking = NumberRow()
        self.asking.hide()
        self.add = choice(
            "inside",
            "left click: this belongs to the object; right click: it doesn't (Q)",
        )
        self.remove = choice(
            "outside",
            "left click: this doesn't belong to the object; right click: it does (Q)",
        )
        self.box = choice(
            "box",
            with_key("drag from corner to corner of an object", "draw_box"),
        )
        self.stroke = choice(
            "stroke",
            with_key(
                "drag along the object; with the right button, along the background", "draw_stroke"
            ),
        )
        self.lasso = choice("lasso", with_key("drag around an object", "draw_lasso"))
        self.tools: dict[Tool, QToolButton] = {
            "inside": self.add,
            "outside": self.remove,
            "box": self.box,
            "stroke": self.stroke,
            "lasso": self.lasso,
        }
        self._background = ""
        self._draw_signs()
        self._tools = QButtonGroup(self)
        for one in self.tools.values():
            self._tools.addButton(one)
        self.adopt = button(
            "Adopt this mask",
            "this mask was not made from prompts: take it as it is, so that the next click "
            "corrects it. A click on it does the same",
        )
        self.elsewhere = QLabel()
        self.elsewhere.setWordWrap(True)
        self.elsewhere.setStyleSheet(f"border-left: 4px solid {YELLOW}; padding-left: 5px")
        self.each_click = check(
            "",
            "each left click on the background begins a new object (Shift+N); Shift+click and "
            "right click continue the current one",
        )
        self.each_click.setAccessibleName("each click a new object")
        self.candidates = [button("", "") for _ in range(3)]
        for candidate in self.candidates:
            candidate.setCheckable(True)
        self.quality = QLabel("Quality")
        self.quality.setToolTip("the IoU with the true object that the model predicts, 0 to 1")
        self.doubt = QLabel("⚠ probably wrong: add a click or a box")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        head = line(
            self.chip, self.name, self.lock_sign, self.previous, self.next, self.new, self.delete,
            self.more,
        )  # fmt: skip
        head.insertStretch(3, 1)
        head.setSpacing(2)
        for control in (self.previous, self.next, self.new, self.delete, self.more):
            control.setStyleSheet(_NARROW)
        column.addLayout(head)
        column.addWidget(self.asking)
        row_of_tools = line(*self.tools.values())
        row_of_tools.setSpacing(2)
        column.addLayout(row_of_tools)
        column.addWidget(self.adopt)
        column.addWidget(self.elsewhere)
        column.addWidget(self.each_click)
        self.choice = QWidget()
        row = QHBoxLayout(self.choice)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.quality)
        for candidate in self.candidates:
            row.addWidget(candidate, 1)
        for part in (self.choice, self.doubt):
            keep = part.sizePolicy()
            keep.setRetainSizeWhenHidden(True)
            part.setSizePolicy(keep)
            column.addWidget(part)
        self.previous.clicked.connect(partial(self._step, -1))
        self.next.clicked.connect(partial(self._step, 1))
        self.new.clicked.connect(self._new)
        self.delete.clicked.connect(self._delete)
        self.merge.triggered.connect(partial(self._ask, "merge"))
        self.renumber.triggered.connect(partial(self._ask, "renumber"))
        self.lock.triggered.connect(self._lock)
        self.clear.triggered.connect(self._clear)
        self.adopt.clicked.connect(self._adopt)
        self.asking.given.connect(self._answer)
        self.asking.left.connect(self._stop_asking)
        self.add.clicked.connect(partial(self._set_sign, 1))
        self.remove.clicked.connect(partial(self._set_sign, 0))
        for kind in KINDS:
            self.tools[kind].clicked.connect(partial(self._draw_shape, kind))
        self.each_click.toggled.connect(self._set_each_click)
        for i, candidate in enumerate(self.candidates):
            candidate.clicked.connect(partial(self._take, i))

    def changeEvent(self, event: QEvent | None) -> None:
        """Draw the icons again, in colours that suit the theme, when the theme changes."""
        super().changeEvent(event)
        restyled = event is not None and event.type() == QEvent.Type.StyleChange
        if restyled and self._background is not None:
            self._draw_signs()

    def _draw_signs(self) -> None:
        background = background_of(self._controller.viewer)
        if background == self._background:
            return
        self._background = background
        lock = QIcon(mark("lock", readable(BOX_COLOUR, background)))
        self.lock_sign.setPixmap(lock.pixmap(14, 14))
        for name, (shape, colour) in _SIGNS.items():
            self.tools[name].setIcon(choice_mark(shape, colour, background))

    def _state(self) -> ObjectState:
        state = object_state_of(self._controller, self._asked, self._asked_of)
        self._asked = state.asked
        return state

    def _draw(self, state: ObjectState) -> None:
        known = state.object_id is not None
        self.setEnabled(known)
        self.name.setText(f"Object {state.object_id}" if known else "Object")
        if state.colour is not None:
            r, g, b = state.colour
            self.chip.setStyleSheet(f"background: rgb({r}, {g}, {b}); border-radius: 3px;")
        self.previous.setEnabled(state.several)
        self.next.setEnabled(state.several)
        self._draw_tool(state)
        self.lock_sign.setVisible(state.locked)
        self.lock.setText("Unlock" if state.locked else "Lock")
        self.lock.setToolTip(
            "allow changes to this object" if state.locked else "protect this object from changes"
        )
        self.delete.setEnabled(not state.locked)
        self.merge.setEnabled(not state.locked)
        self.renumber.setEnabled(not state.locked)
        self.delete.setToolTip(
            "locked: unlock it first, under ⋯"
            if state.locked
            else "delete this object: its prompts and its pixels, on all planes (Shift+D)"
        )
        self.clear.setEnabled(state.can_clear)
        self.adopt.setVisible(state.can_adopt)
        self._draw_question(state)
        self.choice.setVisible(bool(state.scores))
        for i, candidate in enumerate(self.candidates):
            candidate.setVisible(i < len(state.scores))
            if i < len(state.scores):
                candidate.setText(f"{state.scores[i]:.2f}")
                candidate.setAccessibleName(f"mask {i + 1}, predicted IoU {state.scores[i]:.2f}")
                candidate.setToolTip(_tip(i, state.scores))
                candidate.setChecked(i == state.chosen)
        self.doubt.setVisible(state.is_unsure)

    def _draw_tool(self, state: ObjectState) -> None:
        self._tools.setExclusive(False)  # allows that none is checked
        for name, one in self.tools.items():
            one.setChecked(name == state.tool)
        self._tools.setExclusive(True)
        self.elsewhere.setText(state.elsewhere)
        self.elsewhere.setVisible(bool(state.elsewhere))
        text = "each click a new object"
        if state.new_each_click:
            text += " · now: this one" if state.is_fixing else " · Shift: this one"
        self.each_click.setText(text)
        with quietly(self.each_click):
            self.each_click.setChecked(state.new_each_click)

    def _draw_question(self, state: ObjectState) -> None:
        if state.asked == "merge":
            self.asking.ask(f"Merge object {state.object_id} into", "Merge")
        elif state.asked == "renumber":
            self.asking.ask(f"Object {state.object_id} becomes", "Renumber")
        else:
            self.asking.stop()

    def _step(self, step: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.step_object(step)

    def _new(self) -> None:
        if self._controller.annotation:
            self._controller.annotation.new_object()

    def _clear(self) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation and plane is not None:
            self._attempt(partial(annotation.session.clear, plane))

    def _adopt(self) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation and plane is not None:
            session = annotation.session
            self._attempt(partial(session.adopt, plane, session.object_id))

    def _delete(self) -> None:
        annotation = self._controller.annotation
        if annotation:
            session = annotation.session
            self._attempt(partial(session.delete_object, session.object_id))

    def _lock(self) -> None:
        if self._controller.annotation:
            session = self._controller.annotation.session
            locked = session.facts(session.object_id).locked
            self._attempt(partial(session.lock, [session.object_id], not locked))

    def _ask(self, what: Asked, *_: object) -> None:
        if self._controller.annotation:
            self._asked, self._asked_of = what, self._controller.annotation.session.object_id
            self.refresh()

    def _answer(self, text: str) -> None:
        annotation, asked = self._controller.annotation, self._asked
        if annotation is None or self._asked_of is None:
            return
        session, number = annotation.session, int(text)
        if asked == "merge":
            done = self._attempt(partial(session.merge_objects, number, self._asked_of))
        else:
            done = self._attempt(partial(session.renumber, self._asked_of, number))
        if done:
            self._stop_asking()

    def _stop_asking(self) -> None:
        self._asked = ""
        self.refresh()

    def _set_sign(self, sign: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.sign = sign
            self._controller.annotation.click_here()
        self.redraw()

    def _set_each_click(self, on: bool) -> None:
        if self._controller.annotation:
            self._controller.annotation.new_each_click = on
        self.refresh()

    def _draw_shape(self, kind: Kind, *_: object) -> None:
        if self._controller.annotation:
            self._controller.annotation.draw(kind)
        self.redraw()

    def _take(self, index: int) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation and plane is not None:
            session = annotation.session
            if len(session.scores(session.object_id, plane)) > 1:
                session.choose_candidate(index, plane, remember=True)
        self.redraw()


def _can_adopt(session: Session, object_id: int, plane: Plane | None) -> bool:
    row = session.object_row(object_id)
    if row is None or plane not in row.planes:
        return False
    return not session.plane_facts(object_id, plane).is_carried  # these are accepted instead


def _elsewhere(controller: Controller, annotation: Annotation) -> str:
    """Return why a click in the canvas is no prompt, and what to press; empty if it is one."""
    if annotation.tool or annotation.points is None or annotation.displayed() is None:
        return ""
    active = controller.viewer.layers.selection.active
    if active is None:
        return "No layer is selected: press G to click"
    if active in annotation.prompt_layers or (active is annotation.labels and is_painted(active)):
        return f"'{active.name}' is in {active.mode} mode: press G to click"
    return f"'{active.name}' is selected, so clicks add nothing: press G to click"


def _tip(index: int, scores: tuple[float, ...]) -> str:
    score = f"the model predicts an IoU of {scores[index]:.2f} for this mask (1 is perfect)"
    if len(scores) == 1:
        return score
    return f"mask {index + 1} of {len(scores)} that the click may mean (W for the next); {score}"


def _colour(labels: Labels | None, object_id: int) -> tuple[int, int, int]:
    colours = labels.colormap if labels is not None else label_colormap()
    r, g, b = (round(255 * float(x)) for x in colours.map(object_id)[:3])
    return r, g, b
