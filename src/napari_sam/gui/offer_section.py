"""Section of the dock that offers labels of another program as masks; hidden if there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

from napari.layers import Layer
from qtpy.QtWidgets import QLabel, QVBoxLayout

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, line
from napari_sam.gui.label_offers import Offer, find_offer, labels_of
from napari_sam.gui.section import Section


@dataclass(frozen=True, slots=True)
class OfferState:
    """The state of the section.

    Parameters
    ----------
    offer
        The layer that is offered; None if there is none.
    text
        A sentence about the layer.
    """

    offer: Offer | None = None
    text: str = ""


def offer_state_of(controller: Controller, is_declined: Callable[[Layer], bool]) -> OfferState:
    """Return the section's state.

    Parameters
    ----------
    controller
        The controller of the viewer.
    is_declined
        Returns whether the user has declined a layer before.
    """
    annotation = controller.annotation
    if annotation is None:
        return OfferState()
    image, masks, plane = annotation.image, annotation.labels, annotation.displayed()
    offer = find_offer(controller.viewer.layers, image, plane, masks, is_declined)
    if offer is None:
        return OfferState()
    does = "looks like labels of" if offer.is_image else "has labels that fit"
    return OfferState(offer, f"'{offer.layer.name}' {does} '{offer.image.name}'")


class OfferSection(Section[OfferState]):
    """Offers labels of another program as masks."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._declined: WeakSet[Layer] = WeakSet()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.use = button(
            "Correct these", "write masks to these labels; a click on a label corrects it"
        )
        self.decline = button("No", "leave the layer as it is, and don't ask again")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        row = line(self.use, self.decline)
        row.setStretch(0, 1)
        column.addLayout(row)
        self.use.clicked.connect(self._use)
        self.decline.clicked.connect(self._decline)

    def _state(self) -> OfferState:
        return offer_state_of(self._controller, self._declined.__contains__)

    def _draw(self, state: OfferState) -> None:
        self.setVisible(state.offer is not None)
        self.text.setText(state.text)

    def _use(self) -> None:
        offer = self.shown.offer
        if offer is None:
            return
        self._controller.choose_image(offer.image)
        annotation = self._controller.annotation
        if annotation is None:
            return
        labels = offer.layer
        if offer.is_image:
            labels = annotation.add_labels(labels_of(offer.layer))
            self._declined.add(offer.layer)
            offer.layer.visible = False  # the new labels show the same
        annotation.labels = labels
        annotation.click_here()
        if annotation.labels is labels:  # not if the annotation has refused them
            self._attempt(annotation.session.adopt_labels)
        self.refresh()

    def _decline(self) -> None:
        if self.shown.offer is not None:
            self._declined.add(self.shown.offer.layer)
        self.refresh()
