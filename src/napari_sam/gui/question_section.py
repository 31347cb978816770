"""Section at the top of the dock that asks a question without blocking other work."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QLabel, QVBoxLayout

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, line, rule
from napari_sam.gui.keeping import Question
from napari_sam.gui.section import Section


class QuestionSection(Section[Question]):
    """Asks whether to resume a session of the image; hidden while there is no question.

    Parameters
    ----------
    controller
        The controller of the viewer.
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
