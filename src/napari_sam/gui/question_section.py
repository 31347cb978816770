"""A question at the top of the dock, which waits for its answer and stands in nobody's way."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QLabel, QVBoxLayout

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, line, rule
from napari_sam.gui.keeping import Question
from napari_sam.gui.section import Section


class QuestionSection(Section[Question]):
    """What is to be decided about the session of the image; away while nothing is.

    Parameters
    ----------
    controller
        Whose image.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.yes = button("", "")
        self.no = button("", "")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addLayout(line(self.yes, self.no))
        column.addWidget(rule())
        self.yes.clicked.connect(partial(self._answer, True))
        self.no.clicked.connect(partial(self._answer, False))

    def _state(self) -> Question:
        return self._controller.keeping.question or Question()

    def _draw(self, state: Question) -> None:
        self.setVisible(bool(state.text))
        self.text.setText(state.text)
        self.yes.setText(state.yes)
        self.yes.setToolTip(state.yes_tip)
        self.no.setText(state.no)
        self.no.setToolTip(state.no_tip)

    def _answer(self, yes: bool, *_: object) -> None:
        self._attempt(partial(self._controller.keeping.answer, yes))
