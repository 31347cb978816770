"""Section of the dock for classes of objects: their names, colours and keys; collapsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_sam.gui.annotation import Annotation
from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Fold, button, line, tool
from napari_sam.gui.key_table import class_keys, key_text
from napari_sam.gui.section import Section
from napari_sam.session import ObjectClass

PALETTE = (
    "#e6550d", "#3182bd", "#31a354", "#fdd835", "#8e44ad", "#17becf", "#e84393", "#9c6f44",
    "#ffffff", "#a3d900",
)  # fmt: skip
"""Colours of new classes, in the order in which they are used."""


@dataclass(frozen=True, slots=True)
class ClassesState:
    """The state of the section.

    Parameters
    ----------
    classes
        The classes of the session.
    can_give
        Whether an image is chosen, whose objects can get a class.
    """

    classes: tuple[ObjectClass, ...] = ()
    can_give: bool = False


class ClassesSection(Section[ClassesState]):
    """A line for each class: colour, name, and buttons to assign it and to remove it.

    While the section is open, a key assigns each class.

    Parameters
    ----------
    controller
        The controller of the viewer.
    chosen
        Returns the ids of the objects that get a class.
    """

    def __init__(self, controller: Controller, chosen: Callable[[], Sequence[int]]) -> None:
        super().__init__(controller)
        self._chosen = chosen
        self._bound: Annotation | None = None
        self.rows: list[QWidget] = []
        self._lines = QVBoxLayout()
        self._lines.setContentsMargins(0, 0, 0, 0)
        self.add = button("+ class", "add a class; its colour and name can be changed")
        self.none = button("no class", "remove the class of the selected objects")
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._lines)
        column.addLayout(line(self.add, self.none))
        self.fold = Fold("Classes", inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.fold)
        self.add.clicked.connect(self._add)
        self.none.clicked.connect(partial(self.give, ""))
        self.fold.toggled.connect(self._toggled)

    def _state(self) -> ClassesState:
        annotation = self._controller.annotation
        if annotation is None:
            self._bind(None, ())
            return ClassesState()
        classes = annotation.session.classes
        is_open = self.fold.is_expanded and self.isVisible()
        self._bind(annotation if is_open else None, classes)
        return ClassesState(classes, True)

    def _draw(self, state: ClassesState) -> None:
        self.setEnabled(state.can_give)
        count = len(state.classes)
        self.fold.set_title(f"Classes ({count})" if count else "Classes")
        for row in self.rows:
            self._lines.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.rows = [self._row(one) for one in state.classes]
        for row in self.rows:
            self._lines.addWidget(row)

    def _row(self, one: ObjectClass) -> QWidget:
        chip = tool("", f"change the colour of {one.name}")
        chip.setStyleSheet(f"background: {one.colour}; border-radius: 3px;")
        chip.setFixedSize(18, 18)
        name = QLineEdit(one.name)
        name.setAccessibleName(f"name of class {one.name}")
        name.setToolTip("name of the class; type another one to rename it")
        key = f" {key_text(one.key)}" if one.key else ""
        give = button(f"give{key}", f"give the selected objects the class {one.name}")
        remove = tool("✕", f"remove the class {one.name}; its objects stay, without a class")
        row = QWidget()
        layout = line(chip, name, give, remove)
        layout.setStretch(1, 1)
        row.setLayout(layout)
        chip.clicked.connect(partial(self._recolour, one))
        name.editingFinished.connect(partial(self._rename, one, name))
        give.clicked.connect(partial(self.give, one.name))
        remove.clicked.connect(partial(self._remove, one))
        return row

    def _bind(self, annotation: Annotation | None, classes: Sequence[ObjectClass]) -> None:
        """Bind the keys of classes in an annotation, or with None unbind them."""
        if self._bound is not None and self._bound is not annotation:
            self._bound.keys.shut("classes")
        self._bound = annotation
        if annotation is not None:
            keys = {one.key: partial(self.give, one.name) for one in classes if one.key}
            annotation.keys.open("classes", keys)

    def _toggled(self, expanded: bool) -> None:
        self.refresh()

    # Actions of the user

    def give(self, name: str, *_: object) -> None:
        """Assign a class to the chosen objects; an empty name removes their class."""
        annotation = self._controller.annotation
        if annotation is not None:
            ids = self._chosen() or [annotation.session.object_id]
            self._attempt(partial(annotation.session.set_class, ids, name))

    def _change(self, change: Callable[[list[ObjectClass]], None]) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            classes = list(annotation.session.classes)
            change(classes)
            self._attempt(partial(annotation.session.set_classes, classes))

    def _add(self) -> None:
        self._change(lambda classes: classes.append(new_class(classes)))

    def _remove(self, one: ObjectClass) -> None:
        self._change(lambda classes: classes.remove(one))

    def _recolour(self, one: ObjectClass) -> None:
        def change(classes: list[ObjectClass]) -> None:
            at = PALETTE.index(one.colour) if one.colour in PALETTE else -1
            colour = PALETTE[(at + 1) % len(PALETTE)]
            classes[classes.index(one)] = replace(one, colour=colour)

        self._change(change)

    def _rename(self, one: ObjectClass, name: QLineEdit) -> None:
        annotation, new = self._controller.annotation, name.text().strip()
        is_still = annotation is not None and one in annotation.session.classes
        if annotation is not None and is_still and new != one.name:
            self._attempt(partial(annotation.session.rename_class, one.name, new))


def new_class(classes: Sequence[ObjectClass]) -> ObjectClass:
    """Return a new class, with a name, colour and key that no other class has."""
    names, keys = {one.name for one in classes}, {one.key for one in classes}
    colours = {one.colour for one in classes}
    number = next(i for i in range(1, len(names) + 2) if f"class {i}" not in names)
    colour = next((one for one in PALETTE if one not in colours), PALETTE[0])
    return ObjectClass(
        f"class {number}", colour, next((key for key in class_keys() if key not in keys), "")
    )
