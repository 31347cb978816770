"""Measurements agree with shapes whose size is known, in the units asked for."""

from __future__ import annotations

import csv
from io import StringIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import block

from napari_sam.batch import measure_labels
from napari_sam.io import ImageFile
from napari_sam.measurements import join_tables, measure_objects, measure_volumes, table_to_csv

PLANE = block((40, 50), (3, np.s_[10:20, 5:25]), (8, np.s_[30:34, 30:34]))


def test_plane_is_measured_in_physical_units():
    image = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
    table = measure_objects(PLANE, image, (0.5, 0.5))
    assert table["label"].tolist() == [3, 8]
    assert table["area"].tolist() == [200 * 0.25, 16 * 0.25]
    assert table["centroid_y"][0] == pytest.approx(14.5 * 0.5)
    assert table["centroid_x"][0] == pytest.approx(14.5 * 0.5)
    assert table["intensity_mean"][0] == image[10:20, 5:25].mean()
    assert (table["intensity_min"][1], table["intensity_max"][1]) == (1530, 1683)
    assert table["perimeter"][1] == pytest.approx(6.0)


@pytest.mark.parametrize(("dtype", "large"), [("u4", 2**32 - 1), ("i8", 2**40), ("u8", 2**64 - 1)])
def test_numbers_of_any_size_are_measured_as_small_ones_are(dtype, large):
    labels = PLANE.astype(dtype)
    labels[labels == 8] = large
    table, expected = measure_objects(labels, PLANE), measure_objects(PLANE, PLANE)
    assert table["label"].tolist() == [3, large]
    for name in set(expected) - {"label"}:
        np.testing.assert_array_equal(table[name], expected[name])
    everywhere = measure_objects(np.full((5, 6), large, dtype), np.ones((5, 6)))
    assert (everywhere["label"].tolist(), everywhere["area"].tolist()) == ([large], [30])


def test_bounding_box_ends_at_the_last_pixel():
    table = measure_objects(PLANE, PLANE, (2.0, 2.0))
    names = ("bbox_y_min", "bbox_x_min", "bbox_y_max", "bbox_x_max")
    assert [table[name][0] for name in names] == [10, 5, 19, 24]


def test_volume_is_measured_with_the_distance_of_slices():
    labels = block((6, 20, 20), (5, np.s_[1:4, 2:6, 2:6]))
    table = measure_objects(labels, labels.astype(float), (2.0, 0.5, 0.5))
    assert table["volume"].tolist() == [3 * 4 * 4 * 0.5]
    assert table["centroid_z"].tolist() == [4.0]
    assert "area" not in table
    assert "perimeter" not in table


@pytest.mark.parametrize("samples", [(), (3,)])
def test_a_volume_read_plane_by_plane_is_measured_as_one_in_memory(samples):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (4, 9, 8)).astype(np.int32)
    labels[2] = 0
    image = 1e6 + rng.random((4, 9, 8, *samples))
    expected = measure_objects(labels, image, (2.0, 0.5, 0.25))
    table = measure_volumes(zip(labels, image, strict=True), (2.0, 0.5, 0.25))
    assert [*table] == [*expected]
    for name, column in expected.items():
        np.testing.assert_allclose(table[name], column, rtol=1e-9, err_msg=name)
    alone = measure_volumes(((plane, None) for plane in labels), (2.0, 0.5, 0.25))
    assert [*alone] == [name for name in expected if not name.startswith("intensity")]


def test_oblong_pixels_have_no_perimeter():
    assert "perimeter" not in measure_objects(PLANE, PLANE, (0.5, 0.7))


def test_colours_are_measured_one_by_one():
    image = np.stack([PLANE, 2 * PLANE, 3 * PLANE], -1)
    table = measure_objects(PLANE, image)
    assert [table[f"intensity_mean_{i}"][0] for i in range(3)] == [3, 6, 9]


def test_no_objects_give_an_empty_table_with_columns():
    table = measure_objects(np.zeros((8, 8), int), np.zeros((8, 8)))
    assert len(table["label"]) == 0
    assert table_to_csv(table).startswith("label,area,centroid_y")


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.01, 100), st.floats(0.01, 100))
def test_area_of_a_block_is_its_sides_times_the_pixel(height, width, dy, dx):
    labels = block((16, 16), (1, np.s_[2 : 2 + height, 3 : 3 + width]))
    table = measure_objects(labels, labels, (dy, dx))
    assert table["area"][0] == pytest.approx(height * dy * width * dx)


@pytest.mark.parametrize(
    ("labels", "image", "sizes", "needed"),
    [
        (PLANE.astype(float), PLANE, None, "whole numbers"),
        (PLANE, PLANE[1:], None, "image of the labels' shape"),
        (PLANE, PLANE, (1.0,), "2 positive pixel sizes"),
        (PLANE, PLANE, (0.0, 1.0), "2 positive pixel sizes"),
        (PLANE[0], PLANE[0], None, "2 or 3 dimensions"),
    ],
)
def test_what_does_not_fit_is_refused(labels, image, sizes, needed):
    with pytest.raises(ValueError, match=needed):
        measure_objects(labels, image, sizes)


def test_time_points_and_channels_have_lines_of_their_own():
    labels = block((2, 3, 4, 9, 9), (1, np.s_[:, :, 1:3, 2:5, 2:5]))
    image = ImageFile(labels, "TCZYX", {"Z": 3.0, "Y": 0.5, "X": 0.5}, "µm")
    table = measure_labels(image, labels)
    assert table["t"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["c"].tolist() == [0, 1, 2, 0, 1, 2]
    assert set(table["unit"]) == {"µm"}
    assert table["volume"].tolist() == [2 * 9 * 3.0 * 0.25] * 6


def test_a_missing_pixel_size_leaves_all_in_pixels():
    labels = block((4, 9, 9), (1, np.s_[1:3, 2:5, 2:5]))
    table = measure_labels(ImageFile(labels, "ZYX", {"Y": 0.5, "X": 0.5}, "µm"), labels)
    assert (table["unit"][0], table["volume"][0]) == ("pixel", 18)


def test_text_reads_back():
    table = join_tables([({"t": i}, measure_objects(PLANE, PLANE, (1 / 3, 1 / 3))) for i in (0, 1)])
    rows = list(csv.DictReader(StringIO(table_to_csv(table))))
    assert [(row["t"], row["label"]) for row in rows] == [
        ("0", "3"), ("0", "8"), ("1", "3"), ("1", "8"),
    ]  # fmt: skip
    assert float(rows[0]["area"]) == pytest.approx(200 / 9, rel=1e-5)
