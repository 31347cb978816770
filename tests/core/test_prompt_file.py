"""A prompts file is what napari saves for a Points layer, read strictly."""

import csv

import numpy as np
import pytest

from napari_sam.io import read_prompts, write_prompts
from napari_sam.prompts import Prompts


def write_table(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


PLANE_HEADING = ["index", "axis-0", "axis-1", "label", "object"]


@pytest.fixture
def table(tmp_path):
    return tmp_path / "prompts.csv"


def test_points_are_grouped_by_plane_and_object_in_order(table):
    write_table(
        table,
        ["index", "axis-0", "axis-1", "axis-2", "label", "object"],
        [0, 3.0, 10.5, 20.25, "positive", 2],
        [1, 3.0, 1, 2, "positive", 1],
        [2, 3.0, 11, 21, "negative", 2],
        [3, 4.0, 5, 6, "positive", 2],
    )
    prompts = read_prompts(table)
    assert list(prompts) == [((3,), 2), ((3,), 1), ((4,), 2)]
    np.testing.assert_array_equal(prompts[(3,), 2].points, [(10.5, 20.25), (11, 21)])
    np.testing.assert_array_equal(prompts[(3,), 2].point_labels, [1, 0])


def test_a_single_plane_has_an_empty_index(table):
    write_table(table, PLANE_HEADING, [0, 1, 2, "positive", 1])
    assert list(read_prompts(table)) == [((), 1)]


def test_the_index_column_orders_the_points(table):
    write_table(table, PLANE_HEADING, [1, 9, 9, "negative", 1], [0, 1, 2, "positive", 1])
    np.testing.assert_array_equal(read_prompts(table)[(), 1].point_labels, [1, 0])


def test_without_an_index_column_rows_order_the_points(table):
    write_table(table, PLANE_HEADING[1:], [9, 9, "negative", 1], [1, 2, "positive", 1])
    np.testing.assert_array_equal(read_prompts(table)[(), 1].point_labels, [0, 1])


@pytest.mark.parametrize(("position", "plane"), [(2.4, 2), (2.5, 3), (3.49, 3), (-0.2, 0)])
def test_a_point_between_slices_belongs_to_the_nearer(table, position, plane):
    write_table(
        table, ["axis-0", "axis-1", "axis-2", "label", "object"], [position, 1, 2, "positive", 1]
    )
    assert list(read_prompts(table)) == [((plane,), 1)]


def test_what_spreadsheets_do_is_understood(table):
    rows = ["index,axis-0,axis-1,label,object,note", "0,1,2, Positive ,1.0,x"]
    table.write_text("\ufeff" + "\r\n".join([*rows, ",,,,,", ""]), encoding="utf-8")
    assert list(read_prompts(table)) == [((), 1)]


def test_a_table_without_rows_holds_no_prompts(table):
    write_table(table, PLANE_HEADING)
    assert read_prompts(table) == {}


def test_prompts_survive_a_round_trip(table, rng):
    prompts = {
        ((plane, 7), number): Prompts(rng.uniform(0, 50, (4, 2)), rng.integers(0, 2, 4))
        for plane in (0, 3)
        for number in (5, 1)
    }
    write_prompts(table, prompts)
    again = read_prompts(table)
    assert list(again) == list(prompts)
    for key, expected in prompts.items():
        np.testing.assert_array_equal(again[key].points, expected.points)
        np.testing.assert_array_equal(again[key].point_labels, expected.point_labels)


@pytest.mark.parametrize(
    ("heading", "named"),
    [
        (["index", "axis-0", "axis-1"], "label, object"),
        (["index", "axis-0", "axis-1", "label"], "object"),
        (["index", "axis-0", "label", "object"], "axis-1"),
        (["y", "x", "label", "object"], "axis-0, axis-1"),
        (["axis-0", "axis-1", "axis-3", "label", "object"], "axis-2"),
        ([], "axis-0, axis-1, label, object"),
    ],
)
def test_missing_columns_are_named(table, heading, named):
    write_table(table, heading)
    with pytest.raises(ValueError, match=f"lacks the columns {named};"):
        read_prompts(table)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([0, "nan", 2, "positive", 1], "finite number as axis-0, got 'nan'"),
        ([0, 1, "inf", "positive", 1], "finite number as axis-1, got 'inf'"),
        ([0, 1, "", "positive", 1], "finite number as axis-1, got ''"),
        ([0, 1, "two", "positive", 1], "finite number as axis-1, got 'two'"),
        ([0, 1, 2, "maybe", 1], "positive or negative as label, got 'maybe'"),
        ([0, 1, 2, "", 1], "positive or negative as label, got ''"),
        ([0, 1, 2, "positive", 0], "whole number from 1 as object, got '0'"),
        ([0, 1, 2, "positive", 1.5], r"whole number from 1 as object, got '1\.5'"),
        ([0, 1, 2, "positive", "nan"], "finite number as object"),
        ([0, 1, 2, "positive"], "expected 5 values as in the heading, got 4"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(table, row, reason):
    write_table(table, PLANE_HEADING, [0, 1, 2, "positive", 1], row)
    with pytest.raises(ValueError, match=f"line 3: {reason}|line 3: .*{reason}"):
        read_prompts(table)


def test_a_column_given_twice_is_refused(table):
    write_table(table, [*PLANE_HEADING, "label"])
    with pytest.raises(ValueError, match="label more than once"):
        read_prompts(table)


def test_an_image_is_no_table(table):
    table.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe" * 9)
    with pytest.raises(ValueError, match="as a table of prompts"):
        read_prompts(table)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_prompts(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("prompts", "reason"),
    [
        ({((), 1): Prompts(box=(0, 0, 5, 5))}, "points only"),
        ({((), 1): Prompts([(1, 1)], [1]), ((2,), 1): Prompts()}, "one length"),
    ],
)
def test_what_a_table_cannot_hold_is_refused_and_the_old_file_kept(table, prompts, reason):
    write_prompts(table, {((), 4): Prompts([(1, 1)], [1])})
    with pytest.raises(ValueError, match=reason):
        write_prompts(table, prompts)
    assert list(read_prompts(table)) == [((), 4)]


def test_only_csv_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.csv"):
        write_prompts(tmp_path / "prompts.txt", {})


def test_a_points_layer_saved_by_napari_is_read(table):
    write_points = pytest.importorskip("napari_builtins.io").napari_write_points
    meta = {
        "properties": {
            "label": np.array(["positive", "negative"], dtype=object),
            "object": np.array([3, 3]),
        }
    }
    write_points(str(table), np.array([[4.0, 10.5, 11.0], [4.0, 1.0, 2.0]]), meta)
    prompts = read_prompts(table)
    assert list(prompts) == [((4,), 3)]
    np.testing.assert_array_equal(prompts[(4,), 3].points, [(10.5, 11), (1, 2)])
