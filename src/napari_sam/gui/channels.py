"""What the model sees as red, green and blue: channels of an image, or images beside it."""

from __future__ import annotations

from dataclasses import dataclass

from napari.layers import Image

from napari_sam.gui.placement import finest, lies_on, shape_of
from napari_sam.gui.planes import channel_axis, channel_now, limits_of
from napari_sam.session import Channel


@dataclass(frozen=True, slots=True)
class ChannelOption:
    """A channel that can be assigned.

    Parameters
    ----------
    text
        Its name.
    image, index
        The layer it is in, and the position on that layer's channel axis; None for a layer that
        is one channel as a whole.
    """

    text: str
    image: Image
    index: int | None = None

    def channel(self) -> Channel:
        """Return what the model is given, shown as the layer shows it now."""
        limits, name = None, ""
        if self.index is None:
            limits, name = limits_of(self.image), self.image.name
        channel = Channel(finest(self.image), self.index or 0, limits, name)
        return channel_now(channel, [self.image])

    def gives(self, channel: Channel) -> bool:
        """Whether it is this channel, however it is shown."""
        return finest(self.image) is channel.data and (self.index or 0) == channel.index

    def same_as(self, other: ChannelOption | None) -> bool:
        """Whether both mean the same channel."""
        return other is not None and (self.image, self.index) == (other.image, other.index)


def options(image: Image, images: list[Image]) -> list[ChannelOption]:
    """List the channels that an image's planes can be made of; empty where there is no choice.

    Parameters
    ----------
    image
        The image annotated: positions of its channel axis, if it seems to have one.
    images
        Images of the viewer: those of the same shape that lie on it, if it has none.
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
