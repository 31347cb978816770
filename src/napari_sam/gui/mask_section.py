"""Where masks are written, and whether they may take pixels of other labels."""

from __future__ import annotations

from dataclasses import dataclass

from napari.layers import Labels
from qtpy.QtWidgets import QLabel, QVBoxLayout

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Items, check, combo, fill, line, quietly
from napari_sam.gui.layers import fits
from napari_sam.gui.section import Section

_NEW = ("a new layer", None)


@dataclass(frozen=True, slots=True)
class MaskState:
    """Where masks can go, and where they go.

    Parameters
    ----------
    enabled
        Whether there is an image.
    layers, chosen
        Lines of the menu, and the layer that is written to; None for a new one.
    overwrite
        Whether a mask may take pixels of other labels.
    """

    enabled: bool = False
    layers: Items = (_NEW,)
    chosen: Labels | None = None
    overwrite: bool = False


def mask_state_of(controller: Controller) -> MaskState:
    """List the layers that the masks of the image fit into."""
    annotation = controller.annotation
    if annotation is None:
        return MaskState()
    items: list[tuple[str, object]] = [_NEW]
    for layer in controller.viewer.layers:
        does_fit = fits(layer, annotation.image)
        if does_fit or layer is annotation.labels:
            items.append((layer.name + ("" if does_fit else " (doesn't fit the image)"), layer))
    return MaskState(True, tuple(items), annotation.labels, annotation.session.overwrite)


class MaskSection(Section[MaskState]):
    """Where masks are written, and whether they may take pixels of other labels."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.layer = combo("the Labels layer that masks are written to")
        self.overwrite = check(
            "may overwrite other labels", "masks may take pixels of other labels from now on"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = line(QLabel("Masks in"), self.layer)
        row.setStretch(1, 1)
        column.addLayout(row)
        column.addWidget(self.overwrite)
        self.layer.activated.connect(self._choose)
        self.overwrite.toggled.connect(self._set_overwrite)

    def _state(self) -> MaskState:
        return mask_state_of(self._controller)

    def _draw(self, state: MaskState) -> None:
        self.setEnabled(state.enabled)
        fill(self.layer, state.layers, state.chosen)
        with quietly(self.overwrite):
            self.overwrite.setChecked(state.overwrite)

    def _choose(self, row: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.labels = self.layer.itemData(row)
        self.redraw()

    def _set_overwrite(self, on: bool) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.overwrite = on
        self.refresh()
