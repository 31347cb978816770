"""Planes of an image file as the model was given them in the viewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from numpy.typing import NDArray

from napari_sam.image import Limits
from napari_sam.io import (
    ImageFile,
    PlaneIndex,
    PlaneObject,
    SavedPrompts,
    complete,
    dimensions,
    format_objects,
)
from napari_sam.io.plane_array import rearranged
from napari_sam.plane_input import ColourInput, PlaneInput
from napari_sam.planes import ArraySource, Channel, Slab, plane_axes
from napari_sam.planes.slabs import Projection
from napari_sam.prompts import Prompts


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ChannelOfFile(ImageFile):
    """One channel of a file whose channels were layers of their own in the viewer.

    Parameters
    ----------
    whole
        The file with all of its channels.
    axis, index
        Which of its axes and which position.
    """

    whole: ImageFile
    axis: int
    index: int


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The model's input for one plane.

    Parameters
    ----------
    pixels, limits
        For :meth:`~napari_sam.segmentation.protocol.Segmenter.embed`.
    channel_axis
        Axis of the image along which all positions belong to the plane; None for no such axis.
    guessed
        Whether the limits were computed from the pixels because the viewer's aren't recorded.
    """

    pixels: NDArray[Any]
    limits: Limits | None
    channel_axis: int | None = None
    guessed: bool = False


def image_of_prompts(image: ImageFile, prompts: Mapping[PlaneObject, Prompts]) -> ImageFile:
    """Return the part of a file that prompts were given on: all of it, or one of its channels.

    If the prompts have one coordinate less than the file, the viewer showed each channel as a
    layer; the layer's channel is found by the checksum of its pixels.

    Raises
    ------
    ValueError
        If the numbers of axes differ otherwise, or no channel has those pixels.
    """
    expected = len(image.axes.removesuffix("S"))
    differing = next((key for key in prompts if dimensions(key[0]) != expected), None)
    if differing is None:
        return image
    got = dimensions(differing[0])
    found = None
    if got == expected - 1 and isinstance(prompts, SavedPrompts):
        found = _find_channel(image, prompts.inputs.items())
    if found is None:
        axes = image.axes.removesuffix("S")
        hint = "save the Points layer that belongs to this image"
        if got == expected - 1:
            hint += ", or choose the channel it was clicked on (--channel)"
        raise ValueError(
            f"expected prompts with {expected} coordinates, as the image has the axes {axes}, got "
            f"{got} for object {differing[1]}; {hint}"
        )
    return _channel(image, *found)


class InputReader:
    """Read planes of an image as the model was given them, and note what is missing.

    Parameters
    ----------
    image
        From :func:`image_of_prompts`.
    contrast_limits
        Limits that override those of the prompts. Without both, one robust pair is computed for
        all planes of a channel.
    """

    def __init__(self, image: ImageFile, contrast_limits: Limits | None) -> None:
        self._notes: dict[str, None] = {}
        self._unknown: dict[int, None] = {}  # objects whose contrast limits aren't recorded
        self._image = image
        self._wanted = contrast_limits
        self._guessed = False
        self._found: dict[int | None, ArraySource] = {}  # by channel: what limits are found in
        self._layers: dict[str, int] = {}  # channels of layers whose pixels were found

    @property
    def notes(self) -> list[str]:
        """Messages about inputs that are missing or unknown, and those used instead."""
        numbers = sorted(self._unknown)
        if not numbers:
            return [*self._notes]
        unknown = (
            f"the prompts don't say the contrast limits of {objects_in_words(numbers)}: robust "
            "limits of the pixels were used; give those of the viewer with --contrast LOW HIGH"
        )
        return [*self._notes, unknown]

    def note_object(self, number: int, shown: ModelInput) -> None:
        """Note an object that is predicted from an input, for :attr:`notes`."""
        if shown.guessed:
            self._unknown[number] = None

    def read(self, plane: PlaneIndex, given: PlaneInput | None = None) -> ModelInput:
        """Read a plane's pixels and limits.

        Raises
        ------
        IndexError, UnreadableImageError
            As :meth:`ImageFile.part`.
        """
        at, self._guessed = complete(plane), False
        if given is None or given.is_plain:
            return self._plain(at, given)
        if given.channel_axis is not None:
            return self._own_channels(at, given, given.channel_axis)
        return self._of_layers(at, given)

    def _plain(self, at: PlaneIndex, given: PlaneInput | None) -> ModelInput:
        one = given.colours[0] if given else None
        source = _source(self._image, at, given, one, self._limits(at, given, one))
        pixels, limits, described = source.read_described(at)
        (seen,) = described.colours
        if one is not None and seen is not None and _differ(one.checksum, seen.checksum):
            self._note(
                "the prompts were given on other pixels, such as those of another image: "
                "the plane of the file was used"
            )
        return ModelInput(pixels, limits, guessed=self._guessed)

    def _own_channels(self, at: PlaneIndex, given: PlaneInput, axis: int) -> ModelInput:
        picked = [one.index for one in given.colours if one and one.index is not None]
        is_there = axis < len(at) and at[axis] is not None
        if not is_there or max(picked) >= self._image.data.shape[axis]:
            raise IndexError(
                f"the prompts combine the channels {picked} of axis {axis}, which the image of "
                f"shape {tuple(self._image.data.shape)} doesn't have"
            )
        images = [None if one is None else self._image for one in given.colours]
        return ModelInput(self._combined(at, given, images), None, axis, self._guessed)

    def _of_layers(self, at: PlaneIndex, given: PlaneInput) -> ModelInput:
        images: list[ImageFile | None] = []
        for one in given.colours:
            found = None if one is None else self._find_layer(at, given, one)
            images.append(found)
            if one is not None and found is None:
                self._note(
                    f"the prompts were given with '{one.layer}' as a colour, which isn't in "
                    "the image: the image alone was used"
                )
                return self._plain(at, None)
        return ModelInput(self._combined(at, given, images), None, guessed=self._guessed)

    def _combined(
        self, at: PlaneIndex, given: PlaneInput, images: Sequence[ImageFile | None]
    ) -> NDArray[Any]:
        """Read red, green and blue of channels, each of an image of the same axes."""

        def channel(one: ColourInput | None, image: ImageFile | None) -> Channel | None:
            if one is None or image is None:
                return None
            limits, data = self._said_limits(given, one), PixelsOfFile(image)
            return Channel(data, one.index or 0, limits, "", one.gamma, one.inverted)

        red, green, blue = map(channel, given.colours, images)
        axis, slab = given.channel_axis, _slab_of(self._image, at, given)
        source = ArraySource(
            PixelsOfFile(self._image),
            self._image.is_rgb,
            plane_axes(at),
            channel_axis=axis,
            channels=(red, green, blue),
            slab=slab,
        )
        return source.read(at)[0]

    def _find_layer(self, at: PlaneIndex, given: PlaneInput, one: ColourInput) -> ImageFile | None:
        """Return a layer's pixels: the image's own, or another channel of the file."""
        if not isinstance(self._image, ChannelOfFile):
            return self._image if _checksum(self._image, at, given) == one.checksum else None
        whole, axis = self._image.whole, self._image.axis
        if one.layer in self._layers:
            return _channel(whole, axis, self._layers[one.layer])
        for index in range(whole.data.shape[axis]):
            channel = _channel(whole, axis, index)
            if _checksum(channel, at, given) == one.checksum:
                self._layers[one.layer] = index
                return channel
        return None

    def _limits(
        self, at: PlaneIndex, given: PlaneInput | None, one: ColourInput | None
    ) -> Limits | None:
        if given is not None and one is not None and (given.known or self._wanted is not None):
            return self._said_limits(given, one)
        if self._wanted is not None:
            return self._wanted
        axis = self._image.plane_axes.find("C")
        channel = None if axis < 0 else at[axis] or 0
        if channel not in self._found:
            image = self._image if channel is None else self._image.channel(channel)
            self._found[channel] = ArraySource(PixelsOfFile(image), image.is_rgb)
        limits = self._found[channel].limits
        # no limits are the model's own choice: of uint8 RGB none
        self._guessed |= limits is not None
        return limits

    def _said_limits(self, given: PlaneInput, one: ColourInput) -> Limits | None:
        if self._wanted is not None:
            return self._wanted
        self._guessed |= not given.known
        return one.limits if given.known else None

    def _note(self, text: str) -> None:
        self._notes[text] = None


def objects_in_words(numbers: Sequence[int]) -> str:
    """Return numbers of objects as text for a message, such as ``objects 1 to 3, 7``."""
    if len(numbers) == 1:
        return f"object {numbers[0]}"
    head, *runs = format_objects(numbers).split()
    return f"{head} {', '.join(runs)}".replace("..", " to ")


class PixelsOfFile:
    """The pixels of a file as an array that is read where it is indexed."""

    def __init__(self, image: ImageFile) -> None:
        self._image = image
        self.shape = tuple(image.data.shape)
        self.dtype = image.data.dtype

    def __getitem__(self, at: tuple[Any, ...]) -> NDArray[Any]:
        return self._image.part(at)


def _source(
    image: ImageFile,
    at: PlaneIndex,
    given: PlaneInput | None,
    one: ColourInput | None,
    limits: Limits | None,
) -> ArraySource:
    """Return a source that reads a plane of a file as it was given to the model."""
    colour = ColourInput() if one is None else one
    return ArraySource(
        PixelsOfFile(image),
        image.is_rgb,
        plane_axes(at),
        limits,
        slab=_slab_of(image, at, given),
        gamma=colour.gamma,
        inverted=colour.inverted,
    )


def _slab_of(image: ImageFile, at: PlaneIndex, given: PlaneInput | None) -> Slab | None:
    """Return the range of planes that were projected to a plane, if there were several."""
    if given is None or not given.spans:
        return None
    for axis, _, last in given.spans:
        if axis >= len(at) or last >= image.data.shape[axis]:
            raise IndexError(
                f"the prompts were given on a slice up to plane {last} of axis {axis}, which the "
                f"image of shape {tuple(image.data.shape)} doesn't have; give the prompts that "
                "belong to this image"
            )
    return Slab.of_spans(cast("Projection", given.projection), at, given.spans)


def _differ(recorded: str, seen: str) -> bool:
    """Whether checksums, made in the same way, are those of different pixels."""
    return recorded.partition("-")[0] == seen.partition("-")[0] and recorded != seen


def _checksum(image: ImageFile, at: PlaneIndex, given: PlaneInput) -> str:
    """Return the checksum of a plane's pixels, as they were projected, before any stretching."""
    one = _source(image, at, given, None, (0.0, 1.0)).read_described(at)[2].colours[0]
    return "" if one is None else one.checksum


def _find_channel(
    image: ImageFile, inputs: Iterable[tuple[PlaneObject, PlaneInput]]
) -> tuple[int, int] | None:
    """Return the axis and position whose pixels are those of some plane's input."""
    for (plane, _), given in inputs:
        sums = [one.checksum for one in given.colours if one is not None and one.checksum]
        if given.channel_axis is not None or not sums:
            continue
        for axis, index in _places(image):
            at = complete(plane)
            if not _fits(image, (*at[:axis], index, *at[axis:])):
                continue
            if _checksum(_channel(image, axis, index), at, given) in sums:
                return axis, index
        return None
    return None


def _places(image: ImageFile) -> Iterator[tuple[int, int]]:
    """Yield every axis and position that a layer could be, those of channels first."""
    axes = image.plane_axes
    for axis in sorted(range(len(axes)), key=lambda axis: axes[axis] != "C"):
        for index in range(image.data.shape[axis]):
            yield axis, index


def _fits(image: ImageFile, place: PlaneIndex) -> bool:
    lengths = image.data.shape[: len(place)]
    return all(i is None or i < n for i, n in zip(place, lengths, strict=True))


def _channel(image: ImageFile, axis: int, index: int) -> ChannelOfFile:
    letter = image.axes[axis]
    rest = image.axes.replace(letter, "")
    sizes = {a: n for a, n in (image.pixel_size or {}).items() if a != letter}
    return ChannelOfFile(
        rearranged(image.data, image.axes, rest, {letter: index}),
        rest,
        sizes or None,
        image.unit,
        whole=image,
        axis=axis,
        index=index,
    )
