"""Up to three channels assigned to the model's colours; collapsed until somebody needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari.layers import Image
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_sam.gui.annotation import Annotation
from napari_sam.gui.channels import ChannelOption, options
from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Items, combo, fill, rule
from napari_sam.gui.placement import shape_of, told_geometry
from napari_sam.gui.section import Section

_COLOURS = ("red", "green", "blue")
_NOTHING = ("—", None)


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What can be assigned to each colour, and what is.

    Parameters
    ----------
    menus
        Lines of each colour's menu.
    picked
        What each is given.
    visible
        Whether there is a choice.
    is_axis
        Whether the channels are positions of an axis of the image.
    """

    menus: tuple[Items, ...]
    picked: tuple[ChannelOption | None, ...]
    visible: bool
    is_axis: bool


def channel_state_of(
    offered: Sequence[ChannelOption], picked: Sequence[ChannelOption | None]
) -> ChannelState:
    """Say what can be assigned to each colour.

    Parameters
    ----------
    offered
        Channels of the image, or images beside it.
    picked
        What red, green and blue are given; an option of another name may mean the same channel.
    """
    menus = []
    for given in picked:
        lines = [(x.text, given if x.same_as(given) else x) for x in offered]
        menus.append((_NOTHING, *lines))
    is_axis = bool(offered) and offered[0].index is not None
    return ChannelState(tuple(menus), tuple(picked), bool(offered), is_axis)


class ChannelSection(Section[ChannelState]):
    """What the model sees as red, green and blue.

    Parameters
    ----------
    controller
        Whose image.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._picked: list[ChannelOption | None] = [None, None, None]
        self._owner: Any = None
        self.fold = QCollapsible("What the model sees")
        self.menus = [combo(f"the channel that the model sees as {name}") for name in _COLOURS]
        inside = QWidget()
        grid = QGridLayout(inside)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        for row, (name, menu) in enumerate(zip(_COLOURS, self.menus, strict=True)):
            grid.addWidget(QLabel(name), row, 0)
            grid.addWidget(menu, row, 1)
            menu.activated.connect(partial(self._choose, row))
        self.note = QLabel("without colours, each channel is a plane of its own")
        self.note.setWordWrap(True)
        self.note.setEnabled(False)
        grid.addWidget(self.note, 3, 0, 1, 2)
        self.fold.addWidget(inside)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(rule())
        column.addWidget(self.fold)

    def _state(self) -> ChannelState:
        annotation = self._controller.annotation
        if annotation is not self._owner:
            self._owner, self._picked = annotation, [None, None, None]
        offered = options(annotation.image, self._controller.images()) if annotation else []
        if annotation is not None:
            self._picked = self._given(annotation, offered)
        if annotation is not None and annotation.session.closed is None:
            self._keep_up(annotation, offered)
        return channel_state_of(offered, self._picked)

    def _draw(self, state: ChannelState) -> None:
        self.setVisible(state.visible)
        self.note.setVisible(state.is_axis)
        for menu, lines, picked in zip(self.menus, state.menus, state.picked, strict=True):
            fill(menu, lines, picked)

    def _given(
        self, annotation: Annotation, offered: list[ChannelOption]
    ) -> list[ChannelOption | None]:
        """Return what is assigned, wherever that was done; a layer with other data still counts."""
        given: list[ChannelOption | None] = []
        for channel, picked in zip(annotation.channels or [None] * 3, self._picked, strict=True):
            if channel is None or (picked is not None and picked.gives(channel)):
                given.append(picked if channel is not None else None)
            else:
                given.append(next((x for x in offered if x.gives(channel)), picked))
        return given

    def _keep_up(self, annotation: Annotation, offered: list[ChannelOption]) -> None:
        """Follow the data of the layers assigned; take back those that don't fit any more."""
        picked, given = self._picked, annotation.channels or (None, None, None)
        gone = [x for x in picked if x and not any(x.same_as(option) for option in offered)]
        self._picked = [None if x in gone else x for x in picked]
        fresh = [x.channel().data if x else None for x in self._picked]
        if gone or any(
            data is not None and (channel is None or channel.data is not data)
            for data, channel in zip(fresh, given, strict=True)
        ):
            self._assign(annotation)
        for option in gone:
            self._controller.refused.emit(ValueError(self._why_gone(annotation.image, option)))

    def _why_gone(self, image: Image, option: ChannelOption) -> str:
        other = option.image
        if not any(other is layer for layer in self._controller.images()):
            return (
                f"expected '{other.name}' among the layers, which the model saw as a colour, got "
                "it removed; assign another one under 'What the model sees'"
            )
        if other is image:
            others = "another image beside" if option.index is None else f"'{option.text}' of"
            return (
                f"expected {others} '{image.name}' to make colours of, got none any more; "
                "the model sees the image as it is"
            )
        return (
            f"expected '{other.name}' to lie on '{image.name}' of shape {shape_of(image)}"
            f" with {told_geometry(image, other) or 'the same geometry'}, got shape "
            f"{shape_of(other)} with {told_geometry(other, image) or 'that geometry'}; "
            "the model doesn't see it any more: assign it again under 'What the model "
            "sees' when both agree"
        )

    def _choose(self, colour: int, row: int) -> None:
        annotation = self._controller.annotation
        if annotation is None:
            return
        self._picked[colour] = self.menus[colour].itemData(row)
        self._assign(annotation)
        self.refresh()

    def _assign(self, annotation: Annotation) -> None:
        red, green, blue = (picked.channel() if picked else None for picked in self._picked)
        annotation.channels = (red, green, blue)
