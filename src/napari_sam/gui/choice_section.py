"""Section of the dock: the choice of image, model and device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QLabel, QSizePolicy

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import ElidedLabel, Items, combo, fill, line
from napari_sam.gui.machine_form import MachineForm
from napari_sam.gui.models import ModelChoice, choices, device_choices, elsewhere
from napari_sam.gui.section import Section
from napari_sam.model import taught_library
from napari_sam.model.lesson import card_of
from napari_sam.segmentation.address import is_address

_OWN_FILE = "own checkpoint…"
_OTHER = "another machine…"
_PLANE = 90  # least width in pixels of the plane's name


@dataclass(frozen=True, slots=True)
class ChoiceState:
    """The choices, and which are chosen.

    Parameters
    ----------
    images, image
        Lines of the image menu, and the image chosen.
    models, model
        Lines of the model menu, and the name or path of the one chosen.
    devices, device
        Devices of this machine and addresses of others, and the one chosen; no devices until a
        model is loaded.
    plane
        Position of the plane on screen as text; empty in 2-D.
    """

    images: Items
    image: Image | None
    models: tuple[ModelChoice, ...]
    model: str
    devices: tuple[str, ...]
    device: str
    plane: str = ""


def choice_state_of(controller: Controller) -> ChoiceState:
    """Return the choices: images of the viewer, models and devices, and which are chosen."""
    images = controller.images()
    items: list[tuple[str, object]] = [(image.name, image) for image in images]
    if controller.image is None:
        items.insert(0, ("choose an image" if images else "no image open", None))
    seconds = {m: s for (m, d), s in controller.seconds.items() if d == controller.device}
    loaded = controller.segmenter is not None  # before, the devices would wait for torch
    offered = controller.machines.offered(controller.device)
    here = choices(seconds, controller.extra_model) if offered is None else ()
    return ChoiceState(
        tuple(items),
        controller.image,
        tuple(here if offered is None else elsewhere(offered, seconds)),
        controller.model,
        (*device_choices(), *controller.machines.addresses) if loaded else (),
        controller.device,
        plane_text(controller),
    )


def plane_text(controller: Controller) -> str:
    """Return the position of the plane on screen as text; empty in 2-D."""
    annotation = controller.annotation
    plane = annotation.displayed() if annotation else None
    return annotation.plane_name(plane) if annotation and plane else ""


class ChoiceSection(Section[ChoiceState]):
    """Chooses the image, the model and the device."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.image = combo("the image layer to annotate; follows the active layer")
        self.plane = ElidedLabel(_PLANE)
        self.plane.setEnabled(False)
        self.model = combo("the model, with its size and measured time per plane")
        self.device = combo("where the model runs")
        self.device.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Image"), 0, 0)
        grid.addWidget(self.image, 0, 1)
        grid.addWidget(self.plane, 0, 2)
        grid.addWidget(QLabel("Model"), 1, 0)
        row = line(self.model, self.device)
        row.setStretch(0, 1)
        grid.addLayout(row, 1, 1, 1, 2)
        self.form = MachineForm()
        grid.addWidget(self.form, 2, 0, 1, 3)
        self.form.given.connect(self._connect)
        self.form.left.connect(self.redraw)
        self.device.hide()
        self.image.activated.connect(self._choose_image)
        self.model.activated.connect(self._choose_model)
        self.device.activated.connect(self._choose_device)

    def refresh_plane(self) -> None:
        """Update the plane on screen alone, without listing models and devices again."""
        plane = plane_text(self._controller)
        if plane != self.shown.plane:
            self._shown = replace(self.shown, plane=plane)
            self._draw_plane(plane)

    def _state(self) -> ChoiceState:
        return choice_state_of(self._controller)

    def _draw(self, state: ChoiceState) -> None:
        fill(self.image, state.images, state.image)
        models = ((choice.text, choice.model) for choice in state.models)
        fill(self.model, (*models, (_OWN_FILE, None)), state.model)
        for row, choice in enumerate(state.models):
            self.model.setItemData(row, choice.tip, Qt.ItemDataRole.ToolTipRole)
        devices = tuple((name, name) for name in state.devices)
        fill(self.device, (*devices, (_OTHER, None)), state.device)
        self.device.setToolTip(f"where the model runs: {state.device}")
        self.device.setVisible(bool(devices))
        self._draw_plane(state.plane)

    def _draw_plane(self, plane: str) -> None:
        self.plane.setText(plane)
        self.plane.setToolTip(plane)
        self.plane.setVisible(bool(plane))

    def _choose_image(self, row: int) -> None:
        image = self.image.itemData(row)
        if isinstance(image, Image):
            self._controller.choose_image(image)
        self.redraw()

    def _choose_model(self, row: int) -> None:
        model = self.model.itemData(row)
        if model is None:
            kinds = "Models and checkpoints (*.safetensors *.pth *.pt config.json)"
            model, _ = QFileDialog.getOpenFileName(self, "Open a model", "", kinds)
            if not model:
                self.redraw()
                return
            self._attempt(partial(self._open, model))
            return
        self._controller.load_model(model=model)
        self.redraw()

    def _open(self, path: str) -> None:
        """Load a file: a taught model joins the user's list, a checkpoint is used this once."""
        if card_of(path) is not None:
            path = taught_library.bring(path).name
        else:
            self._controller.extra_model = path
        self._controller.load_model(model=path)

    def _choose_device(self, row: int) -> None:
        device, machines = self.device.itemData(row), self._controller.machines
        if device is None or (is_address(device) and not machines.has_token(device)):
            self.form.ask(device or "")
        elif is_address(device):
            self._attempt(partial(machines.connect, device))
        else:
            self.form.put_away()
            self._controller.load_model(device=device)
        self.redraw()

    def _connect(self, address: str, token: str) -> None:
        if self._attempt(partial(self._controller.machines.connect, address, token)):
            self.form.put_away()
