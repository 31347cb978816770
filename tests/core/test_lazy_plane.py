"""Large planes on disk are read where they are looked at, and mean what they mean in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from component_segmenter import disks
from core.bright_model import Bright

from napari_sam import plane_input
from napari_sam.lazy_plane import LazyPlane
from napari_sam.plane_input import checksum
from napari_sam.planes import array_source
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.session import ArrayCanvas, ArraySource, Session

SHAPE = (900, 1200)


class OnDisk:
    """An array that tells what is read of it."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype
        self.read: list[int] = []

    def __getitem__(self, at):
        part = self.pixels[at]
        self.read.append(part.size)
        return part


@pytest.fixture(autouse=True)
def _small_planes_are_large(monkeypatch):
    for module in (array_source, plane_input):
        monkeypatch.setattr(module, "LARGE", 100_000)


@pytest.fixture
def pixels():
    return disks(SHAPE, (300, 400, 12), (600, 900, 9), (30, 30, 6))


def click(data) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint16)
    segmenter = TiledSegmenter(Bright(), tile=128)
    source = ArraySource(data, contrast_limits=(0, 255))
    session = Session(segmenter, source, canvas=ArrayCanvas(labels))
    session.add_point((), (300, 400))
    assert session.wait(10)
    return labels


def test_a_click_reads_its_surroundings_and_gives_the_same_mask(pixels):
    data = OnDisk(pixels)
    labels = click(data)
    assert labels.any()
    assert np.array_equal(labels, click(pixels))
    assert data.read
    assert max(data.read) <= 256 * 256  # blocks that stand for the plane, and tiles


def test_it_is_the_same_plane_whether_it_is_in_memory_or_not(pixels):
    lazy, in_memory = (
        ArraySource(data, contrast_limits=(0, 255)).read_described((None, None))
        for data in (OnDisk(pixels), pixels)
    )
    assert isinstance(lazy[0], LazyPlane)
    assert np.array_equal(np.asarray(lazy[0]), in_memory[0])
    assert lazy[1:] == in_memory[1:]
    changed = pixels.copy()
    changed[0, 0] = 7
    assert checksum(changed) != checksum(pixels)
    assert checksum(pixels).startswith("part-")
    assert checksum(pixels[:99, :99]).startswith("crc-")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("limits", [(0, 255), (-300, 40_000), (17, 18.5)])
def test_the_model_sees_the_same_grey_values_everywhere(dtype, limits):
    rng = np.random.default_rng(5)
    ends = np.iinfo(dtype)
    pixels = rng.integers(ends.min, ends.max, (400, 500), dtype, endpoint=True)
    lazy, _ = ArraySource(OnDisk(pixels), contrast_limits=limits).read((None, None))
    assert isinstance(lazy, LazyPlane)
    segmenter = TiledSegmenter(Bright(), tile=128)
    seen, expected = (segmenter.embed(one, limits).pixels for one in (lazy, pixels))
    for _ in range(20):
        (top, bottom), (left, right) = (np.sort(rng.integers(0, n + 1, 2)) for n in pixels.shape)
        part = slice(int(top), int(bottom)), slice(int(left), int(right))
        assert np.array_equal(seen[part], expected[part])


def test_a_plane_that_fits_into_one_tile_is_embedded_whole(pixels):
    plane, limits = ArraySource(OnDisk(pixels), contrast_limits=(0, 255)).read((None, None))
    assert isinstance(plane, LazyPlane)
    segmenter = TiledSegmenter(Bright(), tile=max(SHAPE))
    lazy, whole = (segmenter.embed(one, limits) for one in (plane, pixels))
    assert lazy.frame == whole.frame
    assert all(map(torch.equal, lazy.features, whole.features))


@pytest.mark.parametrize("place", [None, (0, 0), (333, 777)])
def test_a_blank_plane_is_known(place):
    pixels = np.full(SHAPE, 9, np.uint16)
    if place is not None:
        pixels[place] = 10
    plane, _ = ArraySource(OnDisk(pixels), contrast_limits=(0, 99)).read((None, None))
    assert isinstance(plane, LazyPlane)
    assert plane.is_blank() == (place is None)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (np.zeros(SHAPE, np.float32), {"contrast_limits": (0, 1)}),
        (np.zeros(SHAPE, np.uint8), {"autocontrast": True}),
        (np.zeros(SHAPE, np.uint8), {"contrast_limits": (0, 9), "gamma": 2.0}),
        (np.zeros((*SHAPE, 3), np.uint8), {"rgb": True}),
    ],
)
def test_what_needs_all_pixels_is_read_whole(data, options):
    pixels, _ = ArraySource(OnDisk(data), **options).read((None, None))
    assert isinstance(pixels, np.ndarray)


def test_planes_of_a_stack_and_of_other_views_are_read_in_parts(pixels):
    stack = np.stack([pixels, 255 - pixels])
    source = ArraySource(OnDisk(stack), contrast_limits=(0, 255))
    plane, _ = source.read((1, None, None))
    assert np.array_equal(plane[10:20, 30:50], stack[1, 10:20, 30:50])
