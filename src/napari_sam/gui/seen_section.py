"""What the model sees: its very input, and a badge where what is embedded is something else."""

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
    """What is told of the model's input.

    Parameters
    ----------
    badge
        Why masks may not come of what the layer shows; empty where they do.
    note
        What stands in the picture's place while there is none.
    facts
        What is in the picture.
    visible
        Whether there is an image.
    """

    badge: str = ""
    note: str = ""
    facts: tuple[str, ...] = ()
    visible: bool = True


def seen_state_of(
    embedded: str, is_restretched: bool, outdated: int, facts: tuple[str, ...]
) -> SeenState:
    """Say how the model's input relates to what the layer shows.

    Parameters
    ----------
    embedded
        State of the plane on screen: ``ready``, ``queued``, ``failed`` or ``none``; empty where no
        plane is on screen.
    is_restretched
        Whether the layer is shown in another way, which the model has not been given yet.
    outdated
        How many masks of the plane were made from another input.
    facts
        What is known of the input.
    """
    badge = ""
    if is_restretched or (embedded == "queued" and outdated):
        badge = "The layer is shown in another way: the plane is read again"
    elif outdated:
        masks = "1 mask was" if outdated == 1 else f"{outdated} masks were"
        badge = (
            f"{masks} made from another input than this; the next prompt of an object brings its "
            "mask up to date"
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
    """The model's input, collapsed until somebody wants to see it.

    Parameters
    ----------
    controller
        Whose image.
    channels
        Which channels the model is given; shown in the same fold.
    """

    def __init__(self, controller: Controller, channels: ChannelSection) -> None:
        super().__init__(controller)
        self._asked: Hashable = None  # what the picture is of, or is to be of
        self._seen: Seen | None = None
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        self.badge = _text("why masks may come of another input")
        self.picture = _Picture()
        self.facts = _text("what the model was given")
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
        """Have the picture of what is on screen made, unless it is there or being made."""
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
    """A picture that is as wide as the dock lets it be."""

    def __init__(self) -> None:
        super().__init__()
        self._full: QPixmap | None = None
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("the model's input")

    def show_pixels(self, pixels: NDArray[np.uint8] | None) -> None:
        """Show `(h, w, 3)` colours, or nothing."""
        self._full = None
        if pixels is not None:
            h, w, _ = pixels.shape
            image = QImage(pixels.tobytes(), w, h, 3 * w, QImage.Format.Format_RGB888)
            self._full = QPixmap.fromImage(image)  # copies
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fill the width."""
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
