"""The current object: what a click says about it, and the candidates of its mask."""

from __future__ import annotations

from functools import partial

from napari.layers import Labels
from napari.utils.colormaps import label_colormap
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, line, mark, tool
from napari_sam.gui.layers import BOX_COLOUR, COLOURS
from napari_sam.gui.prompt_columns import NEGATIVE, POSITIVE

UNSURE = 0.7
"""A mask whose predicted IoU is lower is called probably wrong.

Of 532 first clicks on held-out planes `nano` predicted less for 31; 61 % of these had a true IoU
below 0.5, of the others 7 %.
"""


class ObjectSection(QWidget):
    """The current object, what a click says, and the candidates of its mask."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.chip = QLabel()
        self.chip.setFixedSize(16, 16)
        self.name = QLabel()
        self.previous = tool("◀", "previous object (J)")
        self.next = tool("▶", "next object (K)")
        self.new = button("New  N", "start another object (N)")
        self.clear = button("Clear", "take back this object's prompts on this plane")
        self.add = button(
            "inside", "left click: this belongs to the object; right click: this doesn't (Q)"
        )
        self.remove = button(
            "outside", "left click: this doesn't belong to the object; right click: this does (Q)"
        )
        self.box = button("box", "draw a box around an object (U); G goes back to clicking")
        self.add.setIcon(mark("disc", COLOURS[POSITIVE]))
        self.remove.setIcon(mark("cross", COLOURS[NEGATIVE]))
        self.box.setIcon(mark("box", BOX_COLOUR))
        tools = QButtonGroup(self)
        for choice in (self.add, self.remove, self.box):
            choice.setCheckable(True)
            tools.addButton(choice)
        self.candidates = [button("", "") for _ in range(3)]
        for candidate in self.candidates:
            candidate.setCheckable(True)
        self.quality = QLabel("Quality")
        self.quality.setToolTip("the IoU with the true object that the model predicts, 0 to 1")
        self.doubt = QLabel("probably wrong: add a click, or draw a box")
        self.doubt.setStyleSheet(f"color: {BOX_COLOUR}")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        head = line(self.chip, self.name, self.previous, self.next, self.new, self.clear)
        head.insertStretch(2, 1)
        column.addLayout(head)
        column.addLayout(line(self.add, self.remove, self.box))
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
        self.clear.clicked.connect(self._clear)
        self.add.clicked.connect(partial(self._set_sign, 1))
        self.remove.clicked.connect(partial(self._set_sign, 0))
        self.box.clicked.connect(self._box)
        for i, candidate in enumerate(self.candidates):
            candidate.clicked.connect(partial(self._take, i))

    def refresh(self) -> None:
        """Show the current object."""
        annotation = self._controller.annotation
        self.setEnabled(annotation is not None)
        if annotation is None:
            self.name.setText("Object")
            self.choice.hide()
            self.doubt.hide()
            return
        session = annotation.session
        self.name.setText(f"Object {session.object_id}")
        self.chip.setStyleSheet(f"background: {_colour(annotation.labels, session.object_id)};")
        several = len({*session.prompts.object_ids, session.object_id}) > 1
        self.previous.setEnabled(several)
        self.next.setEnabled(several)
        active = self._controller.viewer.layers.selection.active
        boxing = annotation.boxes is not None and active is annotation.boxes.layer
        (self.box if boxing else self.add if annotation.sign else self.remove).setChecked(True)
        plane = annotation.displayed()
        key = None if plane is None else (session.object_id, plane)
        self.clear.setEnabled(key is not None and bool(session.prompts.ids_of(key)))
        scores = () if plane is None else session.scores(session.object_id, plane)
        self.choice.setVisible(bool(scores))
        chosen = -1 if plane is None else session.candidate(session.object_id, plane)
        for i, candidate in enumerate(self.candidates):
            candidate.setVisible(i < len(scores))
            if i < len(scores):
                candidate.setText(f"{scores[i]:.2f}")
                candidate.setToolTip(_tip(i, scores))
                candidate.setChecked(i == chosen)
        self.doubt.setVisible(bool(scores) and scores[chosen] < UNSURE)

    def _step(self, step: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.step_object(step)

    def _new(self) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.new_object()
            self._controller.annotation.click_here()

    def _clear(self) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation and plane is not None:
            annotation.session.clear(plane)

    def _set_sign(self, sign: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.sign = sign
            self._controller.annotation.click_here()

    def _box(self) -> None:
        if self._controller.annotation:
            self._controller.annotation.draw_box()

    def _take(self, index: int) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation and plane is not None:
            session = annotation.session
            if len(session.scores(session.object_id, plane)) > 1:
                session.choose_candidate(index, plane)
        self.refresh()


def _tip(index: int, scores: tuple[float, ...]) -> str:
    told = f"the model predicts an IoU of {scores[index]:.2f} for this mask (1 is perfect)"
    if len(scores) == 1:
        return told
    return f"mask {index + 1} of {len(scores)} that the click may mean (W for the next); {told}"


def _colour(labels: Labels | None, object_id: int) -> str:
    colours = labels.colormap if labels is not None else label_colormap()
    r, g, b = (round(255 * float(x)) for x in colours.map(object_id)[:3])
    return f"rgb({r}, {g}, {b}); border-radius: 3px"
