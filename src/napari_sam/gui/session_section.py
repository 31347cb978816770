"""Section of the dock for files: sessions saved and opened, objects exported and imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QFrame,
    QLabel,
    QPlainTextEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import ElidedButton, Fold, button, check, line, rule, tool
from napari_sam.gui.section import Section
from napari_sam.gui.session_dialogs import (
    ask_where_to_export,
    ask_where_to_save,
    ask_which_to_import,
    ask_which_to_open,
)
from napari_sam.gui.wording import object_count_text, size_text, time_text

if TYPE_CHECKING:
    from napari_sam.session.library import KeptSession

_MOST_ROWS = 5  # shown at once; more are scrolled
_ROW, _TEXT = 28, 130  # pixels high


@dataclass(frozen=True, slots=True)
class KeptLine:
    """A session in the library, as a line of the list.

    Parameters
    ----------
    path
        Its file.
    text
        Image, date, number of objects and size.
    tip
        Tooltip of the line.
    can_open, can_remove
        Whether it can be opened and removed, which the session in use can't.
    """

    path: Path
    text: str
    tip: str
    can_open: bool = True
    can_remove: bool = True


@dataclass(frozen=True, slots=True)
class SessionState:
    """The state of the section.

    Parameters
    ----------
    can_save
        Whether anything was done that can be saved.
    busy
        The work in progress on a file as text; empty if there is none.
    methods
        The paragraph for a paper that was written last; empty if none was.
    kept
        Sessions in the user's data folder, newest first.
    asked
        The session whose removal the user must confirm; None if there is none.
    has_image
        Whether an image is chosen, into which objects can be imported.
    """

    can_save: bool = False
    busy: str = ""
    methods: str = ""
    kept: tuple[KeptLine, ...] = ()
    asked: Path | None = None
    has_image: bool = False


def session_state_of(controller: Controller, asked: Path | None = None) -> SessionState:
    """Return the section's state.

    Parameters
    ----------
    controller
        The controller of the viewer.
    asked
        The session whose removal the user must confirm.
    """
    keeping, annotation = controller.keeping, controller.annotation
    done = annotation is not None and bool(len(annotation.session.journal))
    kept = tuple(kept_line(one, one.path == keeping.path) for one in keeping.kept)
    still = asked if any(one.path == asked for one in kept) else None
    has_image = annotation is not None
    return SessionState(done, keeping.busy, keeping.methods, kept, still, has_image)


def kept_line(kept: KeptSession, is_open: bool, now: float | None = None) -> KeptLine:
    """Return the line of a session: image, date, number of objects and size."""
    objects = "can't be read" if kept.error else object_count_text(kept.objects)
    parts = [kept.image or "image", time_text(kept.changed, now), objects, size_text(kept.size)]
    what = "this session is open now" if is_open else "resume this session"
    tip = f"{kept.error or what}\n{kept.path}"
    can_open = not is_open and not kept.error
    return KeptLine(kept.path, " · ".join(parts), tip, can_open, can_remove=not is_open)


class KeptList(QScrollArea):
    """The sessions of the library, one a line, each with a button to remove it.

    Attributes
    ----------
    picked
        Signal: a line was clicked; emits the path.
    asked
        Signal: removal was requested and must be confirmed; emits the path, or None if the user
        changed their mind.
    removed
        Signal: removal was confirmed; emits the path.
    """

    picked = Signal(object)
    asked = Signal(object)
    removed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.rows: list[QWidget] = []

    def show_lines(self, lines: Sequence[KeptLine], asked: Path | None) -> None:
        """Replace the lines.

        Parameters
        ----------
        lines
            The sessions to list.
        asked
            The session whose line asks to confirm its removal.
        """
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.rows = [self._asking(x) if x.path == asked else self._row(x) for x in lines]
        for row in self.rows:
            column.addWidget(row)
        column.addStretch(1)
        before = self.takeWidget()
        if before is not None:  # not deleted at once: one of its buttons may be handling a click
            before.deleteLater()
        self.setWidget(inside)
        rows = (w for row in self.rows for w in row.findChildren(QAbstractButton))
        for one, other in pairwise((self, *rows)):  # otherwise Tab would reach new rows last
            QWidget.setTabOrder(one, other)
        self.setFixedHeight(_ROW * min(len(lines), _MOST_ROWS) + 4)

    def _row(self, kept: KeptLine) -> QWidget:
        text = ElidedButton()
        text.set_text(kept.text)
        text.setToolTip(kept.tip)
        text.setEnabled(kept.can_open)
        remove = tool("✕", "remove this session…")
        remove.setEnabled(kept.can_remove)
        text.clicked.connect(partial(self._emit, self.picked, kept.path))
        remove.clicked.connect(partial(self._emit, self.asked, kept.path))
        return _in_a_row(text, remove)

    def _asking(self, kept: KeptLine) -> QWidget:
        question = QLabel("Remove for good?")
        question.setToolTip(kept.text)
        yes = button("Remove", f"delete the file\n{kept.path}")
        no = button("Keep", "keep the file")
        yes.clicked.connect(partial(self._emit, self.removed, kept.path))
        no.clicked.connect(partial(self._emit, self.asked, None))
        return _in_a_row(question, yes, no)

    def _emit(self, signal: Any, value: object, *_: object) -> None:
        signal.emit(value)


def _in_a_row(*widgets: QWidget) -> QWidget:
    row = QWidget()
    row.setFixedHeight(_ROW)
    layout = line(*widgets)
    layout.setStretch(0, 1)
    row.setLayout(layout)
    return row


class SessionSection(Section[SessionState]):
    """Saves, opens and lists sessions, exports and imports objects; collapsed at first.

    Parameters
    ----------
    controller
        The controller of the viewer.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._asked: Path | None = None
        self.save = button("Save session…", "save everything that was done on the image to a file")
        self.open = button("Open session…", "resume a saved session")
        self.export = button(
            "Export…",
            "write the objects for other programs: label image, COCO, GeoJSON for QuPath, "
            "OME-Zarr, ImageJ regions, measurements, cut-outs, class image",
        )
        self.bring = button(
            "Import…",
            "read objects that another program has written: label image, COCO, GeoJSON, "
            "ImageJ regions",
        )
        self.only_accepted = check(
            "accepted objects only", "leave objects out of the export that are only proposed"
        )
        self.methods = button(
            "Methods text",
            "write a paragraph for a paper, show it here and copy it to the clipboard",
        )
        self.paragraph = QPlainTextEdit()
        self.paragraph.setReadOnly(True)
        self.paragraph.setAccessibleName("paragraph for a paper")
        self.paragraph.setFixedHeight(_TEXT)
        self.copied = QLabel("copied to the clipboard:")
        self.copied.setEnabled(False)
        self.busy = QLabel()
        self.busy.setEnabled(False)
        self.title = QLabel("Kept sessions")
        self.title.setEnabled(False)
        self.list = KeptList()
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(line(self.save, self.open))
        column.addLayout(line(self.export, self.bring))
        column.addWidget(self.only_accepted)
        column.addWidget(self.methods)
        for part in (self.busy, self.copied, self.paragraph, self.title, self.list):
            column.addWidget(part)
        self.fold = Fold("Session", inside)
        outside = QVBoxLayout(self)
        outside.setContentsMargins(0, 0, 0, 0)
        outside.addWidget(rule())
        outside.addWidget(self.fold)
        self.save.clicked.connect(self._save)
        self.open.clicked.connect(self._open)
        self.export.clicked.connect(self._export)
        self.bring.clicked.connect(self._bring)
        self.methods.clicked.connect(self._write_methods)
        self.list.picked.connect(self._pick)
        self.list.asked.connect(self._ask)
        self.list.removed.connect(self._remove)
        self.fold.toggled.connect(self._unfolded)

    def _state(self) -> SessionState:
        state = session_state_of(self._controller, self._asked)
        self._asked = state.asked
        return state

    def _draw(self, state: SessionState) -> None:
        self.save.setEnabled(state.can_save)
        self.export.setEnabled(state.can_save)
        self.only_accepted.setEnabled(state.can_save)
        self.bring.setEnabled(state.has_image)
        self.methods.setEnabled(state.can_save)
        self.paragraph.setPlainText(state.methods)
        self.paragraph.setVisible(bool(state.methods))
        self.copied.setVisible(bool(state.methods))
        self.busy.setText(state.busy)
        self.busy.setVisible(bool(state.busy))
        self.title.setVisible(bool(state.kept))
        self.list.setVisible(bool(state.kept))
        self.list.show_lines(state.kept, state.asked)

    def _save(self) -> None:
        keeping = self._controller.keeping
        path = ask_where_to_save(self, keeping.proposed_name)
        if path is not None:
            self._attempt(partial(keeping.save, path))

    def _open(self) -> None:
        path = ask_which_to_open(self)
        if path is not None:
            self._pick(path)

    def _export(self) -> None:
        image = self._controller.image
        asked = ask_where_to_export(self, image.name if image is not None else "image")
        if asked is not None:
            to, path = asked
            only = self.only_accepted.isChecked()
            self._attempt(partial(self._controller.keeping.export, to, path, only))

    def _bring(self) -> None:
        path = ask_which_to_import(self)
        if path is not None:
            self._attempt(partial(self._controller.keeping.bring, path))

    def _pick(self, path: Path) -> None:
        self._attempt(partial(self._controller.keeping.open, path))

    def _write_methods(self) -> None:
        keeping = self._controller.keeping
        self._attempt(keeping.write_methods)
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(keeping.methods)

    def _ask(self, path: Path | None) -> None:
        self._asked = path
        self.refresh()

    def _remove(self, path: Path) -> None:
        self._asked = None
        self._attempt(partial(self._controller.keeping.remove, path))

    def _unfolded(self, unfolded: bool) -> None:
        if unfolded:
            self._controller.keeping.list_sessions()
