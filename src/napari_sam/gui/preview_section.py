"""Section of the dock for previews: on or off, which mask a click takes, and what it would do."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtWidgets import QLabel, QVBoxLayout

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import check, combo, fill, line, quietly
from napari_sam.gui.key_table import with_key
from napari_sam.gui.section import Section
from napari_sam.prompts import GRANULARITIES
from napari_sam.session import Preview

_BEST = "the best mask"
_MASKS = ((_BEST, ""), *((f"the {name}", name) for name in GRANULARITIES))


@dataclass(frozen=True, slots=True)
class PreviewState:
    """The state of the section.

    Parameters
    ----------
    enabled
        Whether an image is chosen.
    is_on
        Whether previews are on.
    granularity
        Which candidate of a first click becomes the mask; empty for the model's best.
    text
        What a click at the mouse would do, or why that isn't shown.
    """

    enabled: bool = False
    is_on: bool = True
    granularity: str = ""
    text: str = ""


def preview_state_of(controller: Controller) -> PreviewState:
    """Return the section's state."""
    annotation, hover = controller.annotation, controller.hover
    if annotation is None:
        return PreviewState()
    text, seconds = "", annotation.session.preview_seconds
    if hover.preview is not None:
        text = preview_text(hover.preview)
    elif not hover.is_on and hover.is_automatic and seconds is not None:
        text = f"preview is off because it takes {seconds:.2f} s"
    return PreviewState(True, hover.is_on, annotation.session.granularity, text)


def preview_text(preview: Preview) -> str:
    """Return what a click would do as text: ``click: begins object 4 · part, IoU 0.93``."""
    if preview.action == "go to":
        return f"click: goes to object {preview.object_id}"
    verb = "begins" if preview.action == "new" else "refines"
    parts = [f"click: {verb} object {preview.object_id}"]
    if preview.scores:
        which = f"{preview.granularity}, " if preview.granularity else ""
        parts.append(f"{which}IoU {preview.scores[preview.chosen]:.2f}")
    return " · ".join(parts)


class PreviewSection(Section[PreviewState]):
    """Switches previews, chooses which mask a first click takes, and shows what it would do."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.preview = check(
            "preview",
            with_key(
                "show the mask that a click would give while the mouse moves", "toggle_preview"
            ),
        )
        self.granularity = combo(
            with_key(
                "which of the masks that a first click may mean is used, by area",
                "next_candidate",
            )
        )
        self.granularity.setAccessibleName("which mask a click takes")
        self.text = QLabel()
        self.text.setEnabled(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = line(self.preview, QLabel("takes"), self.granularity)
        row.setStretch(2, 1)
        column.addLayout(row)
        column.addWidget(self.text)
        self.preview.toggled.connect(self._toggle)
        self.granularity.activated.connect(self._choose)
        controller.hover.changed.connect(self.refresh)

    def _state(self) -> PreviewState:
        return preview_state_of(self._controller)

    def _draw(self, state: PreviewState) -> None:
        self.setEnabled(state.enabled)
        with quietly(self.preview):
            self.preview.setChecked(state.is_on)
        fill(self.granularity, _MASKS, state.granularity)
        self.text.setText(state.text)

    def _toggle(self, on: bool) -> None:
        self._controller.hover.is_on = on
        self.redraw()

    def _choose(self, row: int) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.granularity = self.granularity.itemData(row)
        self.redraw()
