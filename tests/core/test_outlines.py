"""Outlines are valid polygons whose pixels are the objects'; run lengths are pycocotools'."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco
from shapely.geometry import MultiPolygon
from shapely.geometry import Polygon as Shape

from napari_sam.io.outlines import fill, outlines
from napari_sam.io.run_length import decode, encode

planes = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)
)


def shape_of(polygons) -> MultiPolygon:
    return MultiPolygon(
        [Shape(p.shell[:, ::-1], [hole[:, ::-1] for hole in p.holes]) for p in polygons]
    )


def filled(rings, shape) -> np.ndarray:
    (row, column), mask = fill(rings, shape)
    full = np.zeros(shape, bool)
    full[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
    return full


@settings(max_examples=30, deadline=None)
@given(planes)
def test_outlines_are_valid_and_hold_exactly_the_object(labels):
    found = outlines(labels)
    assert [*found] == [i for i in np.unique(labels).tolist() if i]
    for label, polygons in found.items():
        shape = shape_of(polygons)
        assert shape.is_valid, shapely.is_valid_reason(shape)
        assert shape.area == np.count_nonzero(labels == label)
        np.testing.assert_array_equal(
            filled([ring for one in polygons for ring in one.rings], labels.shape), labels == label
        )


def test_an_island_in_a_hole_is_a_polygon_of_its_own():
    labels = np.ones((7, 7), np.int32)
    labels[1:6, 1:6] = 0
    labels[3, 3] = 1
    outer, inner = outlines(labels)[1]
    assert len(outer.holes) == 1
    assert inner.holes == ()
    assert inner.shell.tolist() == [[3, 3], [3, 4], [4, 4], [4, 3]]


def test_numbers_of_64_bits_keep_their_outline():
    labels = np.zeros((4, 5), np.uint64)
    labels[1:3, 2:4] = 2**63 + 1
    assert [*outlines(labels)] == [2**63 + 1]


def test_lines_beyond_the_plane_are_cut_at_its_border():
    square = np.array([[-5.0, -5.0], [-5.0, 2.0], [1e12, 2.0], [1e12, -5.0]])
    np.testing.assert_array_equal(filled([square], (3, 4)), np.arange(4) < np.full((3, 1), 2))
    with pytest.raises(ValueError, match="finite"):
        fill([np.array([[0.0, np.nan], [1, 1], [2, 2]])], (3, 4))


@settings(max_examples=30, deadline=None)
@given(planes)
def test_run_lengths_are_those_of_pycocotools(labels):
    mask = labels > 0
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert encode(mask, (0, 0), mask.shape) == expected
    (row, column), found = decode(expected, mask.shape)
    full = np.zeros_like(mask)
    full[row : row + found.shape[0], column : column + found.shape[1]] = found
    np.testing.assert_array_equal(full, mask)
    if found.size:
        assert encode(found, (row, column), mask.shape) == expected


@pytest.mark.parametrize("counts", ["", "52", "é", "oooooooooooooooooo0", [5, -1], [4, 100], "T"])
def test_damaged_run_lengths_are_refused(counts):
    with pytest.raises(ValueError, match="run"):
        decode(counts, (5, 5))
