"""Section of the dock that embeds all planes of a stack in advance, and shows the progress."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtWidgets import QVBoxLayout

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, caption, line
from napari_sam.gui.section import Section
from napari_sam.gui.status import StripState
from napari_sam.gui.status_section import StatusSection
from napari_sam.gui.wording import time_left_text
from napari_sam.session.read_all import ReadProgress


@dataclass(frozen=True, slots=True)
class AheadState:
    """The state of the section.

    Parameters
    ----------
    offer
        Text of the button that begins; empty if all planes are embedded.
    progress
        Progress as text; empty while planes aren't being embedded in advance.
    """

    offer: str = ""
    progress: str = ""


def ahead_state_of(strip: StripState | None, progress: ReadProgress | None) -> AheadState:
    """Return the section's state.

    Parameters
    ----------
    strip
        The planes along the axis that is scrolled; None if there is a single plane.
    progress
        Progress of embedding all planes; None while that isn't running.
    """
    if progress is not None:
        parts = [f"Reading ahead: {progress.done} of {progress.count}"]
        parts += [] if progress.seconds_left is None else [time_left_text(progress.seconds_left)]
        return AheadState("", " · ".join(parts))
    if strip is None or all(state == "ready" for state in strip.states):
        return AheadState()
    return AheadState(f"Read all {len(strip.states)} planes ahead")


class AheadSection(Section[AheadState]):
    """Embeds all planes of a stack in advance; hidden if there is nothing to embed.

    Parameters
    ----------
    controller
        The controller of the viewer.
    status
        Shows which planes are embedded; it must be refreshed before this section.
    """

    def __init__(self, controller: Controller, status: StatusSection) -> None:
        super().__init__(controller)
        self._status = status
        self.begin = button(
            "",
            "embed all planes in the background, those near the plane on screen first; then a "
            "click on any of them is answered at once",
        )
        self.progress = caption("progress of reading ahead")
        self.stop = button("Stop", "stop reading ahead; planes that are ready stay so")
        row = line(self.progress, self.stop)
        row.setStretch(0, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.begin)
        column.addLayout(row)
        self.begin.clicked.connect(self._begin)
        self.stop.clicked.connect(self._stop)

    def _state(self) -> AheadState:
        annotation = self._controller.annotation
        if annotation is None or self._controller.segmenter is None:
            return AheadState()
        return ahead_state_of(self._status.shown[1], annotation.session.read_progress)

    def _draw(self, state: AheadState) -> None:
        self.setVisible(bool(state.offer or state.progress))
        self.begin.setVisible(bool(state.offer))
        self.begin.setText(state.offer)
        for part in (self.progress, self.stop):
            part.setVisible(bool(state.progress))
        self.progress.setText(state.progress)
        self.progress.setToolTip(state.progress)

    def _begin(self) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._attempt(annotation.read_all_planes)

    def _stop(self) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            annotation.session.read_all(())
