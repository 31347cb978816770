"""A prompts file is what napari saves for a Points layer, read strictly."""

import csv

import numpy as np
import pytest

from napari_sam.io import format_objects, read_boxes, read_prompts, with_boxes, write_prompts
from napari_sam.plane_input import COLUMNS, ColourInput, PlaneInput, checksum
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


INPUT = PlaneInput((1, 2), (ColourInput((48.5, 3721.0), checksum="crc-0012abcd"),))


def spell(given):
    return [given.words()[name] for name in COLUMNS]


@pytest.mark.parametrize(
    "given",
    [
        INPUT,
        PlaneInput((0, 2), (ColourInput((-1e-07, 0.25)),)),
        PlaneInput((1, 2), (ColourInput(None, checksum="crc-1"),)),
        PlaneInput((1, 2), (ColourInput(),), known=False),
        PlaneInput((1, 2), (ColourInput((0.5, 9.0), gamma=0.45, inverted=True),)),
        PlaneInput((1, 2), (ColourInput(None, gamma=2.0),)),
        PlaneInput((1, 2), (None, ColourInput((0.0, 9.0), 1, inverted=True), None), 0),
        PlaneInput((1, 2), (ColourInput(),), None, True, "mean", ((0, 3, 7),)),
        PlaneInput((1, 2), (ColourInput((0.0, 9.0), 2), None, ColourInput((1.0, 2.0), 0)), 0),
        PlaneInput((1, 2), (None, ColourInput((0.0, 9.0), None, "GFP; 2, x"), None)),
    ],
)
def test_what_the_model_was_given_survives_a_round_trip(table, given):
    heading = ["axis-0", "axis-1", "axis-2", "label", "object"]
    write_table(table, [*heading, *COLUMNS], [4, 5, 6, "positive", 1, *spell(given)])
    (found,) = read_prompts(table).inputs.values()
    assert found == given
    write_prompts(table, read_prompts(table))
    assert list(read_prompts(table).inputs.values()) == [given]


def test_a_plane_of_other_axes_is_spelled_whole(table):
    heading = ["axis-0", "axis-1", "axis-2", "label", "object", "displayed"]
    write_table(table, heading, [4, 5, 6, "positive", 1, "rows 0 columns 2"])
    ((key, prompts),) = read_prompts(table).items()
    assert key == ((None, 5, None), 1)
    assert prompts.points.tolist() == [[4, 6]]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("displayed", "rows 2 columns 1"),
        ("displayed", "rows 0 columns 5"),
        ("contrast", "12"),
        ("contrast", "9 to 3"),
        ("contrast", "1 to 2 gamma 0"),
        ("contrast", "1 to 2|3 to 4"),
        ("channels", "axis 0: a|b|"),
        ("channels", "red"),
        ("projected", "mode of 1 to 2 on axis 0"),
        ("boxes", "objects 5..2"),
        ("boxes", "objects 1..999999999999"),
        ("candidate", "-1"),
        ("candidate", "wholly"),
    ],
)
def test_a_fact_that_makes_no_sense_is_named_with_its_line(table, column, value):
    write_table(table, [*PLANE_HEADING, column], [0, 1, 2, "positive", 1, value])
    with pytest.raises(ValueError, match=f"line 2: expected .*{column}"):
        read_prompts(table)


@pytest.mark.parametrize(("separator", "point"), [(";", ","), (";", "."), ("\t", ",")])
def test_a_table_of_another_language_is_understood(table, separator, point):
    rows = [[*PLANE_HEADING, "contrast"], ["0", "1.5", "2.25", "positive", "1", "0.5 to 99.5"]]
    lines = [separator.join(cell.replace(".", point) for cell in row) for row in rows]
    table.write_text("\n".join(lines))
    ((key, prompts),) = read_prompts(table).items()
    assert prompts.points.tolist() == [[1.5, 2.25]]
    assert read_prompts(table).inputs[key].colours[0].limits == (0.5, 99.5)


def test_pixels_are_known_whatever_type_holds_them(rng):
    pixels = rng.integers(0, 4000, (30, 40), np.uint16)
    assert checksum(pixels) == checksum(pixels.astype(float)) == checksum(pixels.T.copy().T)
    assert checksum(pixels) == checksum(pixels.astype(">u2"))
    assert checksum(pixels) != checksum(pixels + 1)
    assert checksum(pixels) != checksum(pixels.reshape(40, 30))


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_checksum_that_files_hold_stays_the_same_however_it_is_taken(monkeypatch, block):
    monkeypatch.setattr("napari_sam.plane_input._BLOCK", block)
    pixels = np.arange(600, dtype=np.float64).reshape(20, 30)
    pixels[3, 4] = np.nan
    assert checksum(pixels) == "crc-ca96d9bb"
    assert checksum(np.stack([pixels] * 3, axis=-1)) == "crc-d46d63fa"


@pytest.mark.parametrize("numbers", [[], [5], [1, 2, 3, 7], [2, 1], [1, 1, 2]])
def test_objects_of_boxes_are_spelled_in_runs(table, numbers):
    write_table(table, [*PLANE_HEADING, "boxes"], [0, 1, 2, "positive", 1, format_objects(numbers)])
    assert read_prompts(table).boxed == tuple(numbers)


@pytest.fixture
def shapes(tmp_path):
    """Write boxes as napari's own writer does."""

    def write(*corners):
        write_shapes = pytest.importorskip("napari_builtins.io").napari_write_shapes
        path = tmp_path / "boxes.csv"
        write_shapes(str(path), [np.array(c, float) for c in corners], {})
        return path

    return write


def rectangle(z, r0, c0, r1, c1):
    return [(z, r0, c0), (z, r0, c1), (z, r1, c1), (z, r1, c0)]


def test_a_shapes_layer_saved_by_napari_is_read(shapes):
    xz = [(2, 7, 3), (2, 7, 9), (8, 7, 9), (8, 7, 3)]
    boxes = read_boxes(shapes(rectangle(4, 10, 12, 20, 30.5), xz))
    assert boxes == (((4,), (10, 12, 20, 30.5)), ((None, 7, None), (2, 3, 8, 9)))


def test_boxes_go_to_the_objects_that_the_prompts_name(table, shapes):
    heading = ["axis-0", "axis-1", "axis-2", "label", "object", "contrast", "boxes"]
    write_table(
        table,
        heading,
        [4, 15, 20, "positive", 3, "5.0 to 90.0", "objects 3 2"],
        [4, 50, 50, "positive", 5, "5.0 to 90.0", "objects 3 2"],
    )
    boxes = read_boxes(shapes(rectangle(4, 10, 12, 20, 30), rectangle(9, 1, 2, 3, 4)))
    saved = with_boxes(read_prompts(table), boxes)
    assert list(saved) == [((9,), 2), ((4,), 3), ((4,), 5)]
    assert saved[(4,), 3].box == (10, 12, 20, 30)
    assert saved[(4,), 3].points.tolist() == [[15, 20]]
    assert saved.inputs[(9,), 2].colours[0].limits == (5, 90)
    assert not saved.notes


def test_boxes_that_nothing_is_known_of_are_objects_of_their_own(table, shapes):
    boxes = read_boxes(shapes(rectangle(4, 10, 12, 20, 30), rectangle(4, 1, 2, 3, 4)))
    assert list(with_boxes({}, boxes)) == [((4,), 1), ((4,), 2)]
    write_table(table, ["axis-0", "axis-1", "axis-2", "label", "object"], [4, 5, 6, "positive", 1])
    saved = with_boxes(read_prompts(table), boxes)
    assert list(saved) == [((4,), 1), ((4,), 2), ((4,), 3)]
    assert "lowest free number" in saved.notes[0]


def test_strokes_and_lassos_of_a_shapes_layer_are_no_boxes(tmp_path):
    write_shapes = pytest.importorskip("napari_builtins.io").napari_write_shapes
    data = [rectangle(4, 10, 12, 20, 30), [(4, 1, 1), (4, 9, 5)], [(4, 1, 1), (4, 9, 5), (4, 2, 7)]]
    path = tmp_path / "shapes.csv"
    types = {"shape_type": ["rectangle", "path", "polygon"]}
    write_shapes(str(path), [np.array(one, float) for one in data], types)
    boxes = read_boxes(path)
    assert boxes == (((4,), (10, 12, 20, 30)),)
    assert "2 strokes and lassos are left out" in with_boxes({}, boxes).notes[0]


def test_points_and_boxes_files_are_not_confused(table, shapes):
    with pytest.raises(ValueError, match="give it as boxes"):
        read_prompts(shapes(rectangle(4, 1, 2, 3, 4)))
    write_prompts(table, {((), 1): Prompts([(1, 1)], [1])})
    with pytest.raises(ValueError, match="for a Shapes layer"):
        read_boxes(table)


def test_a_heading_of_very_many_columns_is_reported_in_short(table):
    table.write_text(",".join(f"axis-{i}" for i in range(20_000)))
    with pytest.raises(ValueError, match="lacks the columns label, object;") as caught:
        read_prompts(table)
    assert len(str(caught.value)) < 500
    assert "and 19988 more" in str(caught.value)


def test_large_object_numbers_are_kept_apart(tmp_path):
    numbers = [2**53, 2**53 + 1, 2**64 - 1]
    rows = "".join(f"3,4,positive,{number}\n" for number in numbers)
    (tmp_path / "a.csv").write_text(f"axis-0,axis-1,label,object\n{rows}")
    assert [number for _, number in read_prompts(tmp_path / "a.csv")] == numbers
