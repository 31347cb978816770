"""The parts of the dock; each shows a controller and calls it, and holds no state of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.layers import Image, Labels
from napari.utils.colormaps import label_colormap
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.gui.controller import Controller
from napari_sam.gui.layers import fits, shape_of
from napari_sam.gui.models import choices, device_choices
from napari_sam.gui.planes import axis_name, plane_name
from napari_sam.gui.status import status_of
from napari_sam.gui.strip import PlaneStrip
from napari_sam.session import plane_axes

_LIGHTS = {"ready": "#3ce6a0", "busy": "#ffd23c", "idle": "#8a929c", "failed": "#ff5a3c"}
_OWN_FILE = "own checkpoint…"
_LONGEST_STRIP = 4096


class ChoiceSection(QWidget):
    """Which image, which model, on which device."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.image = _combo("the image layer to annotate; follows the active layer")
        self.plane = QLabel()
        self.plane.setEnabled(False)
        self.model = _combo("the model, with its size and measured time per plane")
        self.device = _combo("where the model runs")
        self.device.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Image"), 0, 0)
        grid.addWidget(self.image, 0, 1)
        grid.addWidget(self.plane, 0, 2)
        grid.addWidget(QLabel("Model"), 1, 0)
        grid.addWidget(self.model, 1, 1)
        grid.addWidget(self.device, 1, 2)
        self._devices = device_choices()
        self.image.activated.connect(self._choose_image)
        self.model.activated.connect(self._choose_model)
        self.device.activated.connect(self._choose_device)

    def refresh(self) -> None:
        """Show what is chosen."""
        controller = self._controller
        images = controller.images()
        items: list[tuple[str, Any]] = [(image.name, image) for image in images]
        if controller.image is None:
            items.insert(0, ("choose an image" if images else "no image open", None))
        _fill(self.image, items, controller.image)
        seconds = {m: s for (m, d), s in controller.seconds.items() if d == controller.device}
        models = choices(seconds, controller.extra_model)
        _fill(
            self.model, [*((c.text, c.model) for c in models), (_OWN_FILE, None)], controller.model
        )
        for row, choice in enumerate(models):
            self.model.setItemData(row, choice.tip, Qt.ItemDataRole.ToolTipRole)
        _fill(self.device, [(name, name) for name in self._devices], controller.device)
        self.device.setEnabled(len(self._devices) > 1)
        self.refresh_plane()

    def refresh_plane(self) -> None:
        """Show which plane is on screen."""
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        text = plane_name(annotation.image, plane) if annotation and plane else ""
        self.plane.setText(text)
        self.plane.setVisible(bool(text))

    def _choose_image(self, row: int) -> None:
        image = self.image.itemData(row)
        if isinstance(image, Image):
            self._controller.choose_image(image)

    def _choose_model(self, row: int) -> None:
        model = self.model.itemData(row)
        if model is None:
            kinds = "Checkpoints (*.safetensors *.pth *.pt)"
            model, _ = QFileDialog.getOpenFileName(self, "Open a checkpoint", "", kinds)
            if not model:
                self.refresh()
                return
            self._controller.extra_model = model
        self._controller.load_model(model=model)

    def _choose_device(self, row: int) -> None:
        self._controller.load_model(device=self.device.itemData(row))


class StatusSection(QWidget):
    """What is being computed, how far it is, and a way to stop it."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.light = QLabel("●")
        self.text = QLabel()
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.button = QPushButton()
        self.button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(4)
        keep = self.bar.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(keep)
        self.strip = PlaneStrip()
        line = QHBoxLayout()
        line.addWidget(self.light)
        line.addWidget(self.text, 1)
        line.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addLayout(line)
        column.addWidget(self.bar)
        column.addWidget(self.strip)
        self.button.clicked.connect(self._pressed)
        self.strip.picked.connect(self._go_to)

    def refresh(self) -> None:
        """Show what is going on."""
        status = status_of(self._controller)
        self.light.setStyleSheet(f"color: {_LIGHTS[status.light]}")
        self.text.setText(status.text)
        self.text.setToolTip(status.text)
        self.button.setText(status.action)
        self.button.setVisible(bool(status.action))
        self.bar.setVisible(status.fraction is not None)
        if status.fraction is not None:
            self.bar.setRange(0, 0 if status.fraction < 0 else 1000)
            self.bar.setValue(round(1000 * max(0.0, status.fraction)))
        self._refresh_strip()

    def _refresh_strip(self) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        axis = _strip_axis(plane, annotation.session.source.channel_axis) if annotation else None
        if annotation is None or plane is None or axis is None:
            self.strip.hide()
            return
        length = shape_of(annotation.image)[axis]
        if not 1 < length <= _LONGEST_STRIP:
            self.strip.hide()
            return
        at = [(*plane[:axis], i, *plane[axis + 1 :]) for i in range(length)]
        states = [annotation.session.embeddings.state(p) for p in at]
        prompted = {p for _, p in annotation.session.prompts.keys}
        marks = frozenset(i for i, p in enumerate(at) if p in prompted)
        name = axis_name(annotation.image, axis)
        self.strip.set_planes(states, marks, plane[axis] or 0, lambda i: f"{name} {i}")
        self.strip.show()

    def _go_to(self, index: int) -> None:
        annotation = self._controller.annotation
        plane = annotation.displayed() if annotation else None
        if annotation is None or plane is None:
            return
        axis = _strip_axis(plane, annotation.session.source.channel_axis)
        if axis is not None:
            dims = self._controller.viewer.dims
            image = annotation.image
            here = [float(i or 0) for i in plane]
            here[axis] = index
            world = axis + dims.ndim - image.ndim
            dims.set_point(world, image.data_to_world(here)[axis])

    def _pressed(self) -> None:
        controller = self._controller
        if controller.loading is not None:
            controller.cancel_loading()
        elif self.button.text() == "Cancel" and controller.annotation:
            controller.annotation.session.cancel()
        elif controller.segmenter is None:
            controller.load_model()
        elif controller.annotation:
            controller.annotation.show()


class ObjectSection(QWidget):
    """The current object, what a click says, and the candidates of its mask."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.chip = QLabel()
        self.chip.setFixedSize(16, 16)
        self.name = QLabel()
        self.previous = _tool("◀", "previous object (J)")
        self.next = _tool("▶", "next object (K)")
        self.new = _button("New", "start another object (N)")
        self.clear = _button("Clear", "take back this object's prompts on this plane")
        self.add = _button("+ add", "left click adds to the object, right click takes away (Q)")
        self.remove = _button("- remove", "left click takes away, right click adds (Q)")
        self.box = _button("▭ box", "draw a box around an object (U); G goes back to clicking")
        tools = QButtonGroup(self)
        for button in (self.add, self.remove, self.box):
            button.setCheckable(True)
            tools.addButton(button)
        self.candidates = [_button("", "another reading of the click (W)") for _ in range(3)]
        for button in self.candidates:
            button.setCheckable(True)
        self.mask = QLabel("Mask")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        line = _line(self.chip, self.name, self.previous, self.next)
        line.insertStretch(2, 1)
        line.addWidget(self.new)
        line.addWidget(self.clear)
        column.addLayout(line)
        column.addLayout(_line(self.add, self.remove, self.box))
        self.choice = QWidget()
        choice = QHBoxLayout(self.choice)
        choice.setContentsMargins(0, 0, 0, 0)
        choice.addWidget(self.mask)
        for button in self.candidates:
            choice.addWidget(button, 1)
        keep = self.choice.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self.choice.setSizePolicy(keep)
        column.addWidget(self.choice)
        self.previous.clicked.connect(partial(self._step, -1))
        self.next.clicked.connect(partial(self._step, 1))
        self.new.clicked.connect(self._new)
        self.clear.clicked.connect(self._clear)
        self.add.clicked.connect(partial(self._set_sign, 1))
        self.remove.clicked.connect(partial(self._set_sign, 0))
        self.box.clicked.connect(self._box)
        for i, button in enumerate(self.candidates):
            button.clicked.connect(partial(self._take, i))

    def refresh(self) -> None:
        """Show the current object."""
        annotation = self._controller.annotation
        self.setEnabled(annotation is not None)
        if annotation is None:
            self.name.setText("Object")
            self.choice.hide()
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
        self.choice.setVisible(len(scores) > 1)
        chosen = -1 if plane is None else session.candidate(session.object_id, plane)
        for i, button in enumerate(self.candidates):
            button.setVisible(i < len(scores))
            if i < len(scores):
                button.setText(f"{i + 1} · {scores[i]:.2f}")
                button.setChecked(i == chosen)

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
            annotation.session.choose_candidate(index, plane)
        self.refresh()


class MaskSection(QWidget):
    """Where masks are written, and whether they may take pixels of other labels."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.layer = _combo("the Labels layer that masks are written to")
        self.overwrite = QCheckBox("may overwrite other labels")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        line = QHBoxLayout()
        line.addWidget(QLabel("Masks in"))
        line.addWidget(self.layer, 1)
        column.addLayout(line)
        column.addWidget(self.overwrite)
        self.layer.activated.connect(self._choose)
        self.overwrite.toggled.connect(self._set_overwrite)

    def refresh(self) -> None:
        """Show what is chosen."""
        annotation = self._controller.annotation
        self.setEnabled(annotation is not None)
        if annotation is None:
            return
        layers = [x for x in self._controller.viewer.layers if fits(x, annotation.image)]
        items: list[tuple[str, Any]] = [("a new layer", None)]
        _fill(self.layer, items + [(layer.name, layer) for layer in layers], annotation.labels)
        self.overwrite.blockSignals(True)
        self.overwrite.setChecked(annotation.session.overwrite)
        self.overwrite.blockSignals(False)

    def _choose(self, row: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.labels = self.layer.itemData(row)

    def _set_overwrite(self, on: bool) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.overwrite = on


def _strip_axis(plane: tuple[int | None, ...] | None, channel: int | None) -> int | None:
    """Return the axis whose planes the strip shows: the innermost that is scrolled."""
    if plane is None:
        return None
    spanned = {*plane_axes(plane), channel}
    free = [axis for axis in range(len(plane)) if axis not in spanned]
    return free[-1] if free else None


def _colour(labels: Labels | None, object_id: int) -> str:
    colours = labels.colormap if labels is not None else label_colormap()
    r, g, b = (round(255 * float(x)) for x in colours.map(object_id)[:3])
    return f"rgb({r}, {g}, {b}); border-radius: 3px"


def _combo(tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(4)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button


def _tool(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button


def _line(*widgets: QWidget) -> QHBoxLayout:
    line = QHBoxLayout()
    line.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        line.addWidget(widget)
    return line


def _fill(combo: QComboBox, items: list[tuple[str, Any]], chosen: Any) -> None:
    """Show items and which is chosen, without telling anyone."""
    combo.blockSignals(True)
    try:
        old = [(combo.itemText(i), combo.itemData(i)) for i in range(combo.count())]
        if len(old) != len(items) or any(
            a[0] != b[0] or a[1] is not b[1] for a, b in zip(old, items, strict=True)
        ):
            combo.clear()
            for text, data in items:
                combo.addItem(text, data)
        for row, (_, data) in enumerate(items):
            if data is chosen or (isinstance(data, str) and data == chosen):
                combo.setCurrentIndex(row)
    finally:
        combo.blockSignals(False)


def soon(call: Callable[[], None], owner: QWidget) -> QTimer:
    """Return a timer that calls once, however often it is started before the next event loop."""
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(0)
    timer.timeout.connect(call)
    return timer
