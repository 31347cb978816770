"""Section of the dock that assigns up to three channels to the model's colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from qtpy.QtWidgets import QGridLayout, QLabel

from napari_sam.gui.channels import ChannelOption, options
from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Items, combo, fill
from napari_sam.gui.section import Section

_COLOURS = ("red", "green", "blue")
_NOTHING = ("—", None)


@dataclass(frozen=True, slots=True)
class ChannelState:
    """The state of the section.

    Parameters
    ----------
    menu
        Lines of each colour's menu.
    picked
        The channel assigned to each colour; None for none.
    visible
        Whether there is a choice.
    is_axis
        Whether the channels are positions of an axis of the image.
    """

    menu: Items
    picked: tuple[ChannelOption | None, ...]
    visible: bool
    is_axis: bool


def channel_state_of(
    offered: Sequence[ChannelOption], picked: Sequence[ChannelOption | None]
) -> ChannelState:
    """Return the section's state.

    Parameters
    ----------
    offered
        Channels of the image, or images beside it.
    picked
        The channels assigned to red, green and blue.
    """
    menu = (_NOTHING, *((option.text, option) for option in offered))
    is_axis = bool(offered) and offered[0].index is not None
    return ChannelState(menu, tuple(picked), bool(offered), is_axis)


class ChannelSection(Section[ChannelState]):
    """Chooses the channels that the model sees as red, green and blue.

    Parameters
    ----------
    controller
        The controller of the viewer.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.menus = [combo(f"the channel that the model sees as {name}") for name in _COLOURS]
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        for row, (name, menu) in enumerate(zip(_COLOURS, self.menus, strict=True)):
            grid.addWidget(QLabel(name), row, 0)
            grid.addWidget(menu, row, 1)
            menu.activated.connect(partial(self._choose, row))
        self.note = QLabel("without colours, each channel is a separate plane")
        self.note.setWordWrap(True)
        self.note.setEnabled(False)
        grid.addWidget(self.note, 3, 0, 1, 2)

    def _state(self) -> ChannelState:
        annotation = self._controller.annotation
        if annotation is None:
            return channel_state_of([], [None] * 3)
        offered = options(annotation.image, self._controller.images())
        return channel_state_of(offered, annotation.channels or [None] * 3)

    def _draw(self, state: ChannelState) -> None:
        self.setVisible(state.visible)
        self.note.setVisible(state.is_axis)
        for menu, picked in zip(self.menus, state.picked, strict=True):
            fill(menu, state.menu, picked)

    def _choose(self, colour: int, row: int) -> None:
        annotation = self._controller.annotation
        if annotation is None:
            return
        picked = list(annotation.channels or [None] * 3)
        picked[colour] = self.menus[colour].itemData(row)
        red, green, blue = picked
        annotation.channels = (red, green, blue)
        self.refresh()
