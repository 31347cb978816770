"""Section of the dock: the layer that masks go to, overlap with labels, and post-processing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from napari.layers import Labels
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Fold, Items, check, combo, fill, line, quietly
from napari_sam.gui.layers import fits
from napari_sam.gui.section import Section
from napari_sam.session import Overlap, PostProcessing

_NEW = ("a new layer", None)
_OVERLAPS: tuple[tuple[str, Overlap], ...] = (
    ("keep other labels", "keep"),
    ("overwrite other labels", "overwrite"),
    ("keep them, fill narrow gaps", "fill gaps"),
)


@dataclass(frozen=True, slots=True)
class MaskState:
    """The state of the section.

    Parameters
    ----------
    enabled
        Whether an image is chosen.
    layers, chosen
        Lines of the menu, and the layer that masks are written to; None for a new one.
    overlap
        What a mask does where other labels are.
    post_processing
        Filters applied to a mask before it is written.
    """

    enabled: bool = False
    layers: Items = (_NEW,)
    chosen: Labels | None = None
    overlap: Overlap = "keep"
    post_processing: PostProcessing = field(default_factory=PostProcessing)


def mask_state_of(controller: Controller) -> MaskState:
    """Return the section's state, with the layers that fit the image."""
    annotation = controller.annotation
    if annotation is None:
        return MaskState()
    items: list[tuple[str, object]] = [_NEW]
    for layer in controller.viewer.layers:
        does_fit = fits(layer, annotation.image)
        if does_fit or layer is annotation.labels:
            items.append((layer.name + ("" if does_fit else " (doesn't fit the image)"), layer))
    session = annotation.session
    return MaskState(
        True, tuple(items), annotation.labels, session.overlap, session.post_processing
    )


class MaskSection(Section[MaskState]):
    """Chooses the layer for masks, what they do to other labels, and post-processing."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.layer = combo("the Labels layer that masks are written to")
        self.overlap = combo("what masks do from now on where other labels are")
        self.fill_holes = check("fill holes", "except holes with a negative click")
        self.clicked = check("clicked part only", "remove parts without a positive click")
        self.smallest = QSpinBox()
        self.smallest.setAccessibleName("smallest part in pixels")
        self.smallest.setToolTip("smallest part in pixels; 0 keeps all")
        self.smallest.setRange(0, 1_000_000)
        self.smallest.setSuffix(" px")
        self.smoothing = QDoubleSpinBox()
        self.smoothing.setAccessibleName("smoothing of outlines in pixels")
        self.smoothing.setToolTip("standard deviation of the smoothing of outlines; 0 is off")
        self.smoothing.setRange(0, 100)
        self.smoothing.setSingleStep(0.5)
        self.smoothing.setDecimals(1)
        self.smoothing.setSuffix(" px")
        inside = QWidget()
        tidying = QVBoxLayout(inside)
        tidying.setContentsMargins(0, 0, 0, 0)
        tidying.addLayout(line(self.fill_holes, self.clicked))
        tidying.addLayout(line(QLabel("smallest part"), self.smallest))
        tidying.addLayout(line(QLabel("smoothing"), self.smoothing))
        self.fold = Fold("Clean up masks", inside)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = line(QLabel("Masks in"), self.layer)
        row.setStretch(1, 1)
        column.addLayout(row)
        row = line(QLabel("Masks"), self.overlap)
        row.setStretch(1, 1)
        column.addLayout(row)
        column.addWidget(self.fold)
        self.layer.activated.connect(self._choose)
        self.overlap.activated.connect(self._set_overlap)
        self.fill_holes.toggled.connect(partial(self._process, "fill_holes"))
        self.clicked.toggled.connect(partial(self._process, "clicked_component"))
        self.smallest.valueChanged.connect(partial(self._process, "smallest"))
        self.smoothing.valueChanged.connect(partial(self._process, "smoothing"))

    def _state(self) -> MaskState:
        return mask_state_of(self._controller)

    def _draw(self, state: MaskState) -> None:
        self.setEnabled(state.enabled)
        fill(self.layer, state.layers, state.chosen)
        fill(self.overlap, _OVERLAPS, state.overlap)
        how = state.post_processing
        self.fold.set_title("Clean up masks" + ("" if how.is_off else "  ●"))
        with quietly(self.fill_holes, self.clicked, self.smallest, self.smoothing):
            self.fill_holes.setChecked(how.fill_holes)
            self.clicked.setChecked(how.clicked_component)
            self.smallest.setValue(how.smallest)
            self.smoothing.setValue(how.smoothing)

    def _choose(self, row: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.labels = self.layer.itemData(row)
        self.redraw()

    def _set_overlap(self, row: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.overlap = self.overlap.itemData(row)
        self.redraw()

    def _process(self, name: str, value: Any) -> None:
        """Change the post-processing of later masks."""
        if self._controller.annotation:
            session = self._controller.annotation.session
            session.post_processing = replace(session.post_processing, **{name: value})
        self.refresh()
