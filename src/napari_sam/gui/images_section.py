"""Section of the dock for a list of images: progress of each, and going to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Fold, button, check, combo, line, quietly, reachable, rule, tool
from napari_sam.gui.image_dialogs import ask_for_folder, ask_for_images, ask_where_to_export_all
from napari_sam.gui.key_table import with_key
from napari_sam.gui.section import Section
from napari_sam.gui.wording import object_count_text
from napari_sam.io.exports import FORMATS
from napari_sam.session.image_list import ImageList, ListedImage

_SIGNS = {"untouched": "○", "begun": "◐", "done": "✓"}
_ROW, _MOST_ROWS = 22, 6  # pixels high; more are scrolled


@dataclass(frozen=True, slots=True)
class ImagesState:
    """The list of images, as the dock shows it.

    Parameters
    ----------
    list
        The images, and which is open.
    busy
        The work in progress as text; empty if there is none.
    """

    list: ImageList
    busy: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each image: a symbol for its progress, its name, its number of objects."""
        return tuple(_line(image) for image in self.list.images)

    @property
    def title(self) -> str:
        """Number and name of the open image, such as ``2 / 12 · cells.tif``."""
        current, at = self.list.current, self.list.at
        if current is None or at is None:
            return ""
        return f"{at + 1} / {len(self.list.images)} · {current.path.name}"

    @property
    def summary(self) -> str:
        """The numbers of images that are done, begun and untouched, as text."""
        counts = self.list.counts
        return " · ".join(f"{counts[each]} {each}" for each in ("done", "begun", "untouched"))

    @property
    def is_done(self) -> bool:
        """Whether the user has marked the open image as done."""
        return self.list.current is not None and self.list.current.progress == "done"

    def has(self, step: int) -> bool:
        """Whether the list has an image `step` places after the open one."""
        at = self.list.at
        return at is not None and 0 <= at + step < len(self.list.images)


def _line(image: ListedImage) -> str:
    objects = f" · {object_count_text(image.objects)}" if image.objects else ""
    return f"{_SIGNS[image.progress]}  {image.path.name}{objects}"


class ImagesSection(Section[ImagesState]):
    """Opens the images of a list one at a time; collapsed at first.

    Parameters
    ----------
    controller
        The controller of the viewer.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.folder = button("Open folder…", "work through the images of a folder, one by one")
        self.files = button("Open files…", "work through some images, one by one")
        self.previous = tool("◀", with_key("previous image", "previous_image"))
        self.next = tool("▶", with_key("next image", "next_image"))
        self.title = QLabel()
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.leave = tool("✕", "close the list; the open image stays")
        self.done = check("done", with_key("mark this image as done", "mark_image_done"))
        self.rows = reachable(QListWidget(), "images of the list")
        self.rows.setUniformItemSizes(True)
        self.rows.setStyleSheet(f"QListWidget::item {{ height: {_ROW}px; }}")
        self.rows.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.rows.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.rows.setToolTip("○ untouched · ◐ begun · ✓ done; click an image to open it")
        self.summary = QLabel()
        self.summary.setEnabled(False)
        self.busy = QLabel()
        self.busy.setEnabled(False)
        self.busy.setWordWrap(True)
        self.format = combo("the format in which the objects of all images are exported")
        for form in FORMATS.values():
            self.format.addItem(form.title, form.key)
        self.export = button(
            "Export all…",
            "export the objects of every image that was begun to a folder; no file is replaced",
        )
        self.only_accepted = check(
            "accepted objects only", "leave objects out of the export that are only proposed"
        )
        self.list = QWidget()
        inside = QWidget()
        column = QVBoxLayout(self.list)
        column.setContentsMargins(0, 0, 0, 0)
        head = line(self.previous, self.next, self.title, self.done, self.leave)
        head.setStretch(2, 1)
        column.addLayout(head)
        column.addWidget(self.rows)
        column.addWidget(self.summary)
        row = line(self.format, self.export)
        row.setStretch(0, 1)
        column.addLayout(row)
        column.addWidget(self.only_accepted)
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.list)
        column.addLayout(line(self.folder, self.files))
        column.addWidget(self.busy)
        self.fold = Fold("Images", inside)
        outside = QVBoxLayout(self)
        outside.setContentsMargins(0, 0, 0, 0)
        outside.addWidget(rule())
        outside.addWidget(self.fold)
        self.folder.clicked.connect(self._open_folder)
        self.files.clicked.connect(self._open_files)
        self.previous.clicked.connect(partial(self._step, -1))
        self.next.clicked.connect(partial(self._step, 1))
        self.export.clicked.connect(self._export)
        self.leave.clicked.connect(controller.listed.leave)
        self.done.clicked.connect(self._mark)
        self.rows.itemClicked.connect(self._go)
        self.rows.itemActivated.connect(self._go)

    def _state(self) -> ImagesState:
        listed = self._controller.listed
        return ImagesState(listed.now(), listed.busy)

    def _draw(self, state: ImagesState) -> None:
        self.list.setVisible(bool(state.list.images))
        if state.list.images or state.busy:
            self.fold.expand()
        self.title.setText(state.title)
        self.title.setToolTip(state.title)
        self.previous.setEnabled(state.has(-1))
        self.next.setEnabled(state.has(1))
        with quietly(self.done):
            self.done.setChecked(state.is_done)
        self.done.setEnabled(state.list.at is not None)
        self.summary.setText(state.summary)
        self.busy.setText(state.busy)
        self.busy.setVisible(bool(state.busy))
        with quietly(self.rows):
            self._draw_rows(state)

    def _draw_rows(self, state: ImagesState) -> None:
        lines = state.lines
        if self.rows.count() != len(lines):
            self.rows.clear()
            self.rows.addItems(lines)
            self.rows.setFixedHeight(_ROW * min(len(lines), _MOST_ROWS) + 4)
        for row, text in enumerate(lines):
            item = self.rows.item(row)
            if item is not None and item.text() != text:
                item.setText(text)
        if state.list.at is not None and state.list.at != self.rows.currentRow():
            self.rows.setCurrentRow(state.list.at)

    def _open_folder(self) -> None:
        folder = ask_for_folder(self)
        if folder is not None:
            self._open(folder)

    def _open_files(self) -> None:
        files = ask_for_images(self)
        if files:
            self._open(files)

    def _open(self, sources: Path | list[Path]) -> None:
        self._attempt(partial(self._controller.listed.open, sources))

    def _export(self) -> None:
        folder = ask_where_to_export_all(self)
        if folder is not None:
            only = self.only_accepted.isChecked()
            export = self._controller.listed.export
            self._attempt(partial(export, self.format.currentData(), folder, only))

    def _step(self, step: int, *_: object) -> None:
        self._attempt(partial(self._controller.listed.step, step))

    def _mark(self, done: bool) -> None:
        self._attempt(partial(self._controller.listed.mark_done, done))

    def _go(self, item: QListWidgetItem) -> None:
        self._attempt(partial(self._controller.listed.go, self.rows.row(item)))
