"""Section of the dock that shows the model's input, and whether masks were made from another."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QImage, QPixmap, QResizeEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_sam.engine import Outcome
from napari_sam.gui.channel_section import ChannelSection
from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Fold, rule
from napari_sam.gui.section import Section
from napari_sam.session.seen import Seen, seen_of

_TITLE = "What the model sees"
_TALLEST = 260  # pixels of the dock


@dataclass(frozen=True, slots=True)
class SeenState:
    """The state of the section.

    Parameters
    ----------
    badge
        Why masks may not correspond to the layer as it is shown; empty if they do.
    note
        Text in place of the picture while there is none.
    facts
        Facts about the picture, a line each.
    visible
        Whether an image is chosen.
    """

    badge: str = ""
    note: str = ""
    facts: tuple[str, ...] = ()
    visible: bool = True


def seen_state_of(
    embedded: str, is_restretched: bool, outdated: int, facts: tuple[str, ...]
) -> SeenState:
    """Return the section's state.

    Parameters
    ----------
    embedded
        State of the plane on screen: ``ready``, ``queued``, ``failed`` or ``none``; empty if no
        plane is on screen.
    is_restretched
        Whether contrast or colours have changed and the model hasn't got them yet.
    outdated
        Number of masks on the plane that were made from another input.
    facts
        Facts about the input, a line each.
    """
    badge = ""
    if is_restretched or (embedded == "queued" and outdated):
        badge = "The layer's contrast has changed: the plane is read again"
    elif outdated:
        masks = "1 mask was" if outdated == 1 else f"{outdated} masks were"
        badge = (
            f"{masks} made from another input than this; the next prompt of an object updates its "
            "mask"
        )
    notes = {
        "": "no plane of the image is on screen",
        "queued": "being read",
        "failed": "could not be read",
        "none": "not read yet",
        "ready": "",
    }
    return SeenState(badge, notes[embedded], facts if embedded == "ready" else ())


class SeenSection(Section[SeenState]):
    """Shows the model's input; collapsed at first.

    Parameters
    ----------
    controller
        The controller of the viewer.
    channels
        The section of the channels that the model gets, shown in the same fold.
    """

    def __init__(self, controller: Controller, channels: ChannelSection) -> None:
        super().__init__(controller)
        self._asked: Hashable = None  # embedding and place of the picture shown or being made
        self._seen: Seen | None = None
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        self.badge = _text("why masks may be from another input")
        self.picture = _Picture()
        self.facts = _text("facts about the model's input")
        for widget in (self.badge, self.picture, self.facts, channels):
            column.addWidget(widget)
        self.fold = Fold(_TITLE, inside)
        self.fold.toggled.connect(self._toggled)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(rule())
        outer.addWidget(self.fold)

    def _toggled(self, expanded: bool) -> None:
        self.refresh()

    def _state(self) -> SeenState:
        annotation = self._controller.annotation
        if annotation is None:
            return SeenState(visible=False)
        session, plane = annotation.session, annotation.displayed()
        if plane is None:
            return seen_state_of("", annotation.is_restretched, 0, ())
        if self.fold.is_expanded:
            self._ask()
        embedded = session.embeddings.state(plane)
        outdated = len(session.made_of_other_input(plane))
        facts = self._seen.facts if self._seen is not None else ()
        return seen_state_of(embedded, annotation.is_restretched, outdated, facts)

    def _draw(self, state: SeenState) -> None:
        self.setVisible(state.visible)
        self.fold.set_title(_TITLE + ("  ⚠" if state.badge else ""))
        self.fold.setToolTip(state.badge)
        self.badge.setText(state.badge)
        self.badge.setVisible(bool(state.badge))
        self.facts.setText("\n".join(state.facts) or state.note)
        seen = self._seen if state.facts else None
        self.picture.show_pixels(None if seen is None else seen.picture.pixels)

    def _ask(self) -> None:
        """Request a picture of the input for the plane on screen, unless it is up to date."""
        annotation = self._controller.annotation
        assert annotation is not None
        session, plane = annotation.session, annotation.displayed()
        embedding = None if plane is None else session.embeddings.get(plane)
        given = session.embeddings.input_of(embedding)
        if plane is None or embedding is None or given is None:
            self._asked = self._seen = None
            return
        h, w = embedding.frame.plane_shape
        place = session.focus or ((h - 1) / 2, (w - 1) / 2)
        asked = (id(embedding), place)
        if asked == self._asked:
            return
        self._asked = asked
        self._controller.engine.chore(
            ("seen", self),
            partial(seen_of, embedding, given, session.embeddings.source, plane, place),
            partial(self._made, asked),
            awaited=False,
        )

    def _made(self, asked: Hashable, outcome: Outcome) -> None:
        if asked != self._asked:
            return
        if outcome.error is not None:
            self._asked = self._seen = None
            return
        self._seen = outcome.value
        self._shown = None  # another picture may have the same facts
        self.refresh()


class _Picture(QLabel):
    """A picture that fills the width of the dock."""

    def __init__(self) -> None:
        super().__init__()
        self._full: QPixmap | None = None
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("the model's input")

    def show_pixels(self, pixels: NDArray[np.uint8] | None) -> None:
        """Show `(h, w, 3)` colours from 0 to 255, or with None nothing."""
        self._full = None
        if pixels is not None:
            h, w, _ = pixels.shape
            image = QImage(pixels.tobytes(), w, h, 3 * w, QImage.Format.Format_RGB888)
            self._full = QPixmap.fromImage(image)  # copies
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Scale the picture to the new width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setVisible(self._full is not None)
        if self._full is None:
            return
        fitted = self._full.scaled(
            QSize(max(1, self.width()), _TALLEST),
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        self.setPixmap(fitted)
        self.setFixedHeight(fitted.height())


def _text(name: str) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setAccessibleName(name)
    return label
