"""An image file's pixels as the model was given them in the viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits, as_shown, normalise, robust_limits
from napari_sam.io import (
    ImageFile,
    PlaneIndex,
    PlaneObject,
    SavedPrompts,
    complete,
    dimensions,
    spell_objects,
)
from napari_sam.io.plane_array import rearranged
from napari_sam.plane_input import ColourInput, PlaneInput, checksum
from napari_sam.prompts import Prompts

LimitsOf = Callable[[tuple[int | None, ...]], Limits | None]
"""Gives a plane's contrast limits where nobody says them: complete, None on the axes it spans."""


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
    """What goes to the model of one plane.

    Parameters
    ----------
    pixels, limits
        For :meth:`~napari_sam.segmentation.protocol.Segmenter.embed`.
    channel_axis
        Axis of the image whose positions all belong to the plane; None for a plane alone.
    guessed
        Whether limits were found in the pixels, because nobody says those of the viewer.
    """

    pixels: NDArray[Any]
    limits: Limits | None
    channel_axis: int | None = None
    guessed: bool = False


def image_of_prompts(image: ImageFile, prompts: Mapping[PlaneObject, Prompts]) -> ImageFile:
    """Return the part of a file that prompts were given on: all of it, or one of its channels.

    Where the prompts have one coordinate less than the file, the viewer showed its channels as
    layers of their own; the layer's channel is known by the checksum of its pixels.

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
    """Reads planes of an image as the model was given them, and notes what could not be had.

    Parameters
    ----------
    image
        From :func:`image_of_prompts`.
    limits_of
        Limits where neither `contrast_limits` nor a plane's input say any.
    contrast_limits
        Those asked for; they come before those of the prompts.

    """

    def __init__(
        self, image: ImageFile, limits_of: LimitsOf, contrast_limits: Limits | None
    ) -> None:
        self._notes: dict[str, None] = {}
        self._unknown: dict[int, None] = {}  # objects whose contrast limits nobody says
        self._image = image
        self._limits_of = limits_of
        self._wanted = contrast_limits
        self._guessed = False
        self._channels: dict[str, tuple[int, int]] = {}  # of layers whose pixels were found

    @property
    def notes(self) -> list[str]:
        """What could not be had or isn't known, and what was used instead."""
        numbers = sorted(self._unknown)
        if not numbers:
            return [*self._notes]
        unknown = (
            f"the prompts don't say the contrast limits of {objects_in_words(numbers)}: robust "
            "limits of the pixels were used; give those of the viewer with --contrast LOW HIGH"
        )
        return [*self._notes, unknown]

    def note_object(self, number: int, shown: ModelInput) -> None:
        """Take note of an object that is predicted from what was read."""
        if shown.guessed:
            self._unknown[number] = None

    def read(self, plane: PlaneIndex, given: PlaneInput | None) -> ModelInput:
        """Read a plane's pixels and limits.

        Raises
        ------
        IndexError, UnreadableImageError
            As :meth:`ImageFile.section`.
        """
        at, self._guessed = complete(plane), False
        if given is None or given.is_plain:
            pixels = _projected(self._image, at, given)
            one = given.colours[0] if given else None
            limits = self._limits(at, given, one)
            if one is not None:
                if one.checksum and one.checksum != checksum(pixels):
                    self._note(
                        "the prompts were given on other pixels, such as those of another image: "
                        "the plane of the file was used"
                    )
                pixels, limits = as_shown(pixels, limits, one.gamma, one.inverted)
            return ModelInput(pixels, limits, guessed=self._guessed)
        if given.channel_axis is not None:
            return self._own_channels(at, given, given.channel_axis)
        return self._layers(at, given)

    def _own_channels(self, at: PlaneIndex, given: PlaneInput, axis: int) -> ModelInput:
        picked = [one.index for one in given.colours if one and one.index is not None]
        is_there = axis < len(at) and at[axis] is not None
        if not is_there or max(picked) >= self._image.data.shape[axis]:
            raise IndexError(
                f"the prompts combine the channels {picked} of axis {axis}, which the image of "
                f"shape {tuple(self._image.data.shape)} doesn't have"
            )

        def read(one: ColourInput) -> tuple[NDArray[Any], Limits | None]:
            place = (*at[:axis], one.index, *at[axis + 1 :])
            return _projected(self._image, place, given), self._limits(place, given, one)

        return ModelInput(_combined(given, read), None, axis, self._guessed)

    def _layers(self, at: PlaneIndex, given: PlaneInput) -> ModelInput:
        whole, own = self._image, None
        if isinstance(self._image, ChannelOfFile):
            whole, own = self._image.whole, self._image.axis
        pixels: dict[ColourInput, NDArray[Any]] = {}
        for one in given.colours:
            if one is not None:
                found = self._find_layer(whole, own, at, given, one)
                if found is None:
                    self._note(
                        f"the prompts were given with '{one.layer}' as a colour, which isn't in "
                        "the image: the image alone was used"
                    )
                    limits = self._limits(at, None, None)
                    return ModelInput(self._image.section(at), limits, guessed=self._guessed)
                pixels[one] = found

        def read(one: ColourInput) -> tuple[NDArray[Any], Limits | None]:
            return pixels[one], self._limits(at, given, one, pixels[one])

        return ModelInput(_combined(given, read), None, guessed=self._guessed)

    def _find_layer(
        self, whole: ImageFile, own: int | None, at: PlaneIndex, given: PlaneInput, one: ColourInput
    ) -> NDArray[Any] | None:
        """Return a layer's plane: the image's own, or that of another channel of the file."""
        if own is None:
            pixels = _projected(self._image, at, given)
            return pixels if checksum(pixels) == one.checksum else None
        places = [(own, i) for i in range(whole.data.shape[own])]
        known = self._channels.get(one.layer)
        for axis, index in [known] if known else places:
            pixels = _projected(whole, (*at[:axis], index, *at[axis:]), given, axis)
            if known or checksum(pixels) == one.checksum:
                self._channels[one.layer] = axis, index
                return pixels
        return None

    def _limits(
        self,
        at: PlaneIndex,
        given: PlaneInput | None,
        one: ColourInput | None,
        pixels: NDArray[Any] | None = None,
    ) -> Limits | None:
        if self._wanted is not None:
            return self._wanted
        if given is not None and given.known and one is not None:
            return one.limits
        # no limits are the model's own choice: of a plane alone robust ones, of uint8 RGB none
        if not (self._image.is_rgb and self._image.data.dtype == np.uint8):
            self._guessed = True
        return self._limits_of(at) if pixels is None else robust_limits(pixels)

    def _note(self, text: str) -> None:
        self._notes[text] = None


def objects_in_words(numbers: Sequence[int]) -> str:
    """Spell numbers of objects for a sentence, such as ``objects 1 to 3, 7``."""
    if len(numbers) == 1:
        return f"object {numbers[0]}"
    head, *runs = spell_objects(numbers).split()
    return f"{head} {', '.join(runs)}".replace("..", " to ")


def _projected(
    image: ImageFile, at: PlaneIndex, given: PlaneInput | None, inserted: int | None = None
) -> NDArray[Any]:
    """Read a plane, or what several of them are projected to.

    `inserted` is an axis of the image that the input doesn't count.
    """
    if given is None or not given.spans:
        return image.section(at)
    spans = {
        axis + (inserted is not None and axis >= inserted): range(first, last + 1)
        for axis, first, last in given.spans
    }
    places = product(*(spans.get(axis, (i,)) for axis, i in enumerate(at)))
    return np.asarray(
        getattr(np, given.projection)(np.stack([image.section(place) for place in places]), 0)
    )


def _combined(
    given: PlaneInput, read: Callable[[ColourInput], tuple[NDArray[Any], Limits | None]]
) -> NDArray[np.uint8]:
    """Make red, green and blue of channels, each stretched by its own limits."""
    made: list[NDArray[np.uint8] | None] = []
    for one in given.colours:
        if one is None:
            made.append(None)
            continue
        pixels, limits = as_shown(*read(one), one.gamma, one.inverted)
        made.append(normalise(pixels, limits)[..., 0])
    shape = next(colour.shape for colour in made if colour is not None)
    black = np.zeros(shape, np.uint8)
    return np.stack([black if colour is None else colour for colour in made], axis=-1)


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
            place = (*at[:axis], index, *at[axis:])
            if _fits(image, place) and checksum(_projected(image, place, given, axis)) in sums:
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
