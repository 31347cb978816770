"""What a batch gives the model is what the viewer gave it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_sam.batch.model_input import InputReader
from napari_sam.image import ImageWarning
from napari_sam.io import ImageFile
from napari_sam.planes import ArraySource, Channel, Slab

STACK = np.random.default_rng(0).random((2, 6, 20, 30))
BYTES = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
CHANNELS = (Channel(STACK, 1, (0.1, 0.8), gamma=0.7), None, Channel(STACK, 0))


def slab(projection: str, before: float, after: float, offset: float = 0.0) -> Slab:
    return Slab(projection, (0, before, 0, 0), (0, after, 0, 0), (0, offset, 0, 0))


SEEN = {
    "a plane": ArraySource(STACK, contrast_limits=(0.2, 0.9)),
    "robust limits": ArraySource(STACK[0]),
    "rolled": ArraySource(STACK, displayed=(1, 3), contrast_limits=(0.2, 0.9)),
    "inverted": ArraySource(STACK, contrast_limits=(0, 1), gamma=2.0, inverted=True),
    "every plane by itself": ArraySource(STACK, autocontrast=True),
    "colours": ArraySource(BYTES, True),
    "stretched colours": ArraySource(BYTES, True, contrast_limits=(10, 99)),
    "a mean": ArraySource(STACK, contrast_limits=(0, 1), slab=slab("mean", 2, 1)),
    "a maximum": ArraySource(STACK, contrast_limits=(0, 1), slab=slab("max", 1, 3)),
    "beside its plane": ArraySource(
        STACK, contrast_limits=(0, 9), slab=slab("sum", -0.5, 2.6, 0.4)
    ),
    "channels": ArraySource(STACK, channel_axis=0, channels=CHANNELS),
    "a slab of channels": ArraySource(
        STACK, channel_axis=0, channels=CHANNELS, slab=slab("mean", 1, 1)
    ),
}


@pytest.mark.parametrize("name", SEEN)
def test_batch_reads_what_the_viewer_read(name):
    source = SEEN[name]
    plane = source.plane_of([1] * len(source._free_axes()))
    pixels, limits, described = source.read_described(plane)
    image = ImageFile(source.data, "QTZYX"[-np.ndim(source.data) :])
    if source.rgb:
        image = ImageFile(source.data, "TYXS")
    reader = InputReader(image, None)
    shown = reader.read(plane, described)
    assert shown.pixels.dtype == pixels.dtype
    assert np.array_equal(shown.pixels, pixels)
    assert shown.limits == limits
    assert shown.channel_axis == source.channel_axis
    assert reader.notes == []


def test_unknown_limits_are_found_as_the_viewer_finds_them():
    source = ArraySource(STACK, channel_axis=0, channels=(Channel(STACK, 0), None, None))
    pixels, _, described = source.read_described((0, 1, None, None))
    unknown = replace(described, known=False)
    shown = InputReader(ImageFile(STACK, "QZYX"), None).read((0, 1, None, None), unknown)
    assert shown.guessed
    assert np.array_equal(shown.pixels, pixels)


def test_slice_beyond_the_image_is_refused():
    source = SEEN["a mean"]
    *_, described = source.read_described((0, 4, None, None))
    with pytest.raises(IndexError, match="up to plane 5 of axis 1, which the image of shape"):
        InputReader(ImageFile(STACK[:, :5], "TZYX"), None).read((0, 4, None, None), described)


def test_masked_pixels_of_colours_are_black_in_a_stack_too():
    masked = np.ma.array(BYTES, mask=np.zeros_like(BYTES))
    masked[1, 2, 3] = np.ma.masked
    with pytest.warns(ImageWarning, match="3 pixels"):
        pixels, limits = ArraySource(masked, True).read((1, None, None))
    assert (pixels.dtype, limits) == (np.uint8, None)
    assert not pixels[2, 3].any()
