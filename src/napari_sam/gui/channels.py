"""What the model sees as red, green and blue: channels of an image, or images beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari.components import ViewerModel
from napari.layers import Image
from psygnal import Signal

from napari_sam.gui.delay import Delay
from napari_sam.gui.placement import connect, finest, geometry_text, lies_on, shape_of
from napari_sam.gui.planes import Colours, channel_axis, is_inverted, limits_of
from napari_sam.session import Channel

STYLE_EVENTS = ("contrast_limits", "gamma", "colormap", "auto_contrast")
"""Events of an image layer after which it is displayed differently."""


@dataclass(frozen=True, slots=True)
class ChannelOption:
    """A channel that can be assigned; options of the same channel are equal, whatever the name.

    Parameters
    ----------
    text
        Name to show.
    image, index
        The layer of the channel, and the position on that layer's channel axis; None for a layer
        that is one channel as a whole.
    """

    text: str = field(compare=False)
    image: Image
    index: int | None = None

    def channel(self) -> Channel:
        """Return the channel for the model, with the layer's present contrast and gamma."""
        image, limits, name = self.image, None, ""
        if self.index is None:
            limits, name = limits_of(image), image.name
        style = float(image.gamma), is_inverted(image)
        return Channel(finest(image), self.index or 0, limits, name, *style)


Chosen = tuple[ChannelOption | None, ChannelOption | None, ChannelOption | None]


class ChannelChoice:
    """The channels that the model sees of an image, updated when their layers change.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.

    Attributes
    ----------
    changed
        Signal: other channels are chosen, or the layer of one has other data.
    restyled
        Signal: the layer of a channel is displayed differently.
    gone
        Signal: the layer of a channel was removed or no longer fits, so that the channel is no
        longer assigned; emits the error.
    """

    changed = Signal()
    restyled = Signal()
    gone = Signal(object)

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer, self._image = viewer, image
        self._chosen: Chosen | None = None
        self._watched: list[Image] = []
        self._checking = Delay(0, self._check)  # of several changes in a row, after the last

    @property
    def chosen(self) -> Chosen | None:
        """The channels for red, green and blue; None for the image as it is."""
        return self._chosen

    @chosen.setter
    def chosen(self, chosen: Chosen | None) -> None:
        self._chosen = chosen if chosen and any(chosen) else None
        self._watch([x.image for x in self._chosen or () if x])
        self.changed.emit()

    def colours(self) -> Colours | None:
        """Return the channels for the model, as the layers show them now."""
        if self._chosen is None:
            return None
        red, green, blue = (x.channel() if x else None for x in self._chosen)
        return red, green, blue

    def close(self) -> None:
        """Disconnect from the layers."""
        self._watch([])
        self._checking.close()

    def _check(self) -> None:
        """Use the data that the layers have now; unassign channels that no longer fit."""
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        offered = options(self._image, images)
        before = self._chosen or (None, None, None)
        red, green, blue = (option if option in offered else None for option in before)
        self.chosen = red, green, blue
        for option in dict.fromkeys(x for x in before if x and x not in offered):
            self.gone.emit(ValueError(why_gone(self._image, option, images)))

    def _watch(self, images: list[Image]) -> None:
        """Connect to the layers of channels, and to the image itself if there are any."""
        removed = self._viewer.layers.events.removed
        if self._watched:
            removed.disconnect(self._checking.start)
        for image in self._watched:
            self._connect(image, "disconnect")
        beside = [image for image in dict.fromkeys(images) if image is not self._image]
        self._watched = [self._image, *beside] if images else []
        for image in self._watched:
            self._connect(image, "connect")
        if self._watched:
            removed.connect(self._checking.start)

    def _connect(self, image: Image, verb: str) -> None:
        getattr(image.events.data, verb)(self._checking.start)
        connect(image, self._checking.start, verb)
        for name in STYLE_EVENTS if image is not self._image else ():
            getattr(getattr(image.events, name), verb)(self.restyled.emit)


def options(image: Image, images: list[Image]) -> list[ChannelOption]:
    """List the channels that an image's planes can be made of; empty where there is no choice.

    Parameters
    ----------
    image
        The image annotated. If it seems to have a channel axis, its positions are the options.
    images
        Images of the viewer. Otherwise those of the same shape that lie on it are the options.
    """
    if image.rgb:
        return []
    axis = channel_axis(image)
    if axis is not None:
        count = shape_of(image)[axis]
        return [ChannelOption(f"channel {i}", image, i) for i in range(count)]
    shape = shape_of(image)
    beside = [x for x in images if not x.rgb and shape_of(x) == shape and lies_on(x, image)]
    return [ChannelOption(x.name, x) for x in beside] if len(beside) > 1 else []


def why_gone(image: Image, option: ChannelOption, images: list[Image]) -> str:
    """Return a message: why a channel can't be assigned to an image any more, and what to do.

    Parameters
    ----------
    image, option
        The image, and the channel that was assigned.
    images
        Images of the viewer.
    """
    other = option.image
    if not any(other is layer for layer in images):
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
        f" with {geometry_text(image, other) or 'the same geometry'}, got shape "
        f"{shape_of(other)} with {geometry_text(other, image) or 'that geometry'}; "
        "the model doesn't see it any more: assign it again under 'What the model "
        "sees' when both agree"
    )
