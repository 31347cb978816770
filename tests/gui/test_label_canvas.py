"""Labels of a layer as a session reads and writes them, and what others do there."""

import numpy as np
import pytest
from napari.components import Dims
from napari.layers import Image, Labels

from napari_sam.gui.label_canvas import LayerCanvas
from napari_sam.session import ArraySource
from napari_sam.session.canvas import Write

SHAPE = (3, 20, 24)
WHOLE = slice(0, 20), slice(0, 24)


class Notes:
    """Stands for a session: remembers what a canvas reports."""

    def __init__(self, source: ArraySource) -> None:
        self.source, self.strokes, self.elsewhere, self.errors = source, [], [], []

    def paint(self, changes, text) -> None:
        self.strokes.append((changes, text))


@pytest.fixture
def canvas_on(qapp):
    """Make a canvas on labels: ``canvas_on(array, **options_of_ArraySource)``."""
    canvases = []

    def begin(data, layer=None, **options):
        layer = layer or Labels(data)
        image = Image(np.zeros(data.shape, np.uint8))
        notes = Notes(ArraySource(image.data, **options))
        canvas = LayerCanvas(
            image,
            lambda: notes.source,
            layer,
            lambda: Labels(np.zeros(data.shape, np.int32)),
            notes.paint,
            notes.elsewhere.append,
            notes.errors.append,
        )
        canvases.append(canvas)
        return canvas, layer, notes

    yield begin
    for canvas in canvases:
        canvas.close()


def square(row, column, size=4):
    where = np.zeros(SHAPE[1:], bool)
    where[row : row + size, column : column + size] = True
    return where


def fill(plane, where, value):
    return Write(plane, WHOLE, where, np.full(np.count_nonzero(where), value))


def history(layer):
    return len(layer._undo_history), len(layer._redo_history), len(layer._staged_history)


def play(canvas, changes, backwards):
    steps = reversed(changes) if backwards else changes
    canvas.write([x.backwards() if backwards else x.forwards() for x in steps])


@pytest.mark.parametrize("large", [1, 99])
@pytest.mark.parametrize("kind", ["numpy", "zarr"])
def test_what_is_written_is_read_and_leaves_nothing_to_undo_for_napari(
    canvas_on, monkeypatch, kind, large
):
    monkeypatch.setattr("napari_sam.gui.label_canvas._LARGE", large)
    monkeypatch.setattr("napari_sam.gui.label_canvas._SHARE", 0.0)
    data = np.zeros(SHAPE, np.int32)
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        data = zarr.create_array(zarr.storage.MemoryStore(), shape=SHAPE, dtype="int32")
    canvas, layer, notes = canvas_on(data)
    plane = (1, None, None)
    canvas.prepare(plane, 7)
    canvas.write([fill(plane, square(2, 3), 7), fill(plane, square(4, 5), 9)])
    expected = np.where(square(4, 5), 9, np.where(square(2, 3), 7, 0))
    np.testing.assert_array_equal(canvas.read(plane, WHOLE), expected)
    np.testing.assert_array_equal(
        canvas.read(plane, (slice(3, 6), slice(4, 8))), expected[3:6, 4:8]
    )
    assert not np.asarray(layer.data[0]).any()
    assert history(layer) == (0, 0, 0)
    layer.undo()
    layer.redo()
    np.testing.assert_array_equal(canvas.read(plane, WHOLE), expected)
    assert not notes.strokes
    assert not notes.elsewhere


def test_second_write_of_a_pixel_is_the_one_that_stays(canvas_on):
    canvas, layer, _ = canvas_on(np.full(SHAPE, 5, np.int32))
    plane = (0, None, None)
    canvas.write([fill(plane, square(0, 0), 0), fill(plane, square(0, 0), 5)])
    assert (layer.data == 5).all()


def test_planes_across_other_axes_are_written_where_they_lie(canvas_on):
    canvas, layer, _ = canvas_on(np.zeros(SHAPE, np.int32), displayed=(0, 2))
    plane = (None, 4, None)
    where = np.zeros((3, 24), bool)
    where[1:, 5:8] = True
    canvas.write([Write(plane, (slice(0, 3), slice(0, 24)), where, np.full(6, 3))])
    assert (layer.data[1:, 4, 5:8] == 3).all()
    assert np.count_nonzero(layer.data) == 6
    assert canvas.planes() == [(None, i, None) for i in range(20)]


class FullDisk(np.ndarray):
    """Labels that take a number of assignments and no more."""

    left = 99

    def __setitem__(self, at, value):
        if self.left == 0:
            self.left = 99
            raise OSError(28, "No space left on device")
        self.left -= 1
        super().__setitem__(at, value)


def test_refused_write_leaves_every_pixel_as_it_was(canvas_on):
    data = np.ones(SHAPE, np.int32).view(FullDisk)
    canvas, layer, _ = canvas_on(data)
    layer.data.left = 1
    plane = (0, None, None)
    with pytest.raises(OSError, match=r"No space left.*is as it was"):
        canvas.write([fill(plane, square(0, 0), 4), fill((1, None, None), square(0, 0), 5)])
    assert (np.asarray(layer.data) == 1).all()
    assert history(layer) == (0, 0, 0)
    canvas.write([fill(plane, square(0, 0), 4)])
    assert (layer.data[0, :4, :4] == 4).all()


def test_numbers_the_labels_no_longer_hold_are_refused_not_wrapped(canvas_on):
    canvas, layer, _ = canvas_on(np.zeros(SHAPE, np.uint8))
    with pytest.raises(OSError, match="which ends at 255"):
        canvas.write([fill((0, None, None), square(0, 0), 300)])
    with pytest.raises(ValueError, match="which ends at 255"):
        canvas.prepare((0, None, None), 300)
    assert not layer.data.any()


def test_layer_is_made_when_the_first_plane_is_prepared(canvas_on):
    canvas = canvas_on(np.zeros(SHAPE, np.int32))[0]
    made = LayerCanvas(canvas._image, canvas._source, None, canvas._make, print, print, print)
    assert made.layer is None
    assert not made.read((0, None, None), WHOLE).any()
    made.prepare((0, None, None), 1)
    assert made.layer.data.shape == SHAPE
    made.close()


@pytest.mark.parametrize(
    ("mode", "label", "text"),
    [
        ("paint", 6, "a brush stroke"),
        ("paint", 0, "erasing"),
        ("erase", 0, "erasing"),
        ("fill", 6, "a fill"),
        ("polygon", 6, "a polygon"),
        ("pan_zoom", 6, "painting"),
    ],
)
def test_stroke_is_reported_with_the_labels_before(canvas_on, qtbot, mode, label, text):
    data = np.zeros(SHAPE, np.int32)
    data[1, 5:9, 5:9] = 2
    before = data.copy()
    canvas, layer, notes = canvas_on(data)
    layer.mode, layer.brush_size = mode, 5
    if mode == "fill":
        layer.fill((1, 6, 6), label)
    elif mode == "polygon":
        layer.paint_polygon([(1, 4, 4), (1, 4, 12), (1, 12, 8)], label)
    else:
        with layer.block_history():
            layer.paint((1, 6, 6), label)
            layer.paint((1, 6, 8), label)
    qtbot.wait(1)
    ((changes, name),) = notes.strokes
    assert name == text
    assert [change.plane for change in changes] == [(1, None, None)]
    after = data.copy()
    assert (after != before).any()
    assert history(layer) == (0, 0, 0)
    play(canvas, changes, backwards=True)
    np.testing.assert_array_equal(data, before)
    play(canvas, changes, backwards=False)
    np.testing.assert_array_equal(data, after)
    assert len(notes.strokes) == 1


def test_long_stroke_is_kept_in_several_rectangles(canvas_on, monkeypatch):
    monkeypatch.setattr("napari_sam.gui.label_canvas._TILE", 8)
    data = np.zeros(SHAPE, np.int32)
    canvas, layer, notes = canvas_on(data)
    layer.brush_size = 5
    with layer.block_history():
        for i in range(18):
            layer.paint((0, i, i), 1 + i % 2)
    after = data.copy()
    ((changes, _),) = notes.strokes
    assert sum(change.area for change in changes) == np.count_nonzero(after)
    assert max(max(change.region[2:]) for change in changes) == 8
    play(canvas, changes, backwards=True)
    assert not data.any()
    play(canvas, changes, backwards=False)
    np.testing.assert_array_equal(data, after)


def test_stroke_goes_as_far_as_its_own_pixels(canvas_on):
    canvas, layer, notes = canvas_on(np.zeros(SHAPE, np.int32))
    layer.preserve_labels = True
    layer.data[0, 10, 10] = 3
    layer.paint((0, 10, 10), 6)
    canvas.settle()
    ((changes, _),) = notes.strokes
    assert changes[0].area == np.count_nonzero(layer.data == 6)
    assert layer.data[0, 10, 10] == 3


def test_brush_of_three_dimensions_is_reported_plane_by_plane(canvas_on):
    data = np.zeros(SHAPE, np.int32)
    canvas, layer, notes = canvas_on(data)
    layer.n_edit_dimensions, layer.brush_size = 3, 5
    layer.paint((1, 10, 10), 4)
    canvas.settle()
    ((changes, _),) = notes.strokes
    assert [change.plane[0] for change in changes] == [0, 1, 2]
    play(canvas, changes, backwards=True)
    assert not data.any()


def test_stroke_on_a_rolled_plane_belongs_to_that_plane(canvas_on):
    data = np.zeros(SHAPE, np.int32)
    canvas, layer, notes = canvas_on(data, displayed=(0, 2))
    layer._slice_dims(
        Dims(ndim=3, order=(1, 0, 2), range=[(0, n - 1, 1) for n in SHAPE], point=(0, 7, 0))
    )
    layer.paint((1, 7, 10), 4)
    canvas.settle()
    ((changes, _),) = notes.strokes
    assert [change.plane for change in changes] == [(None, 7, None)]
    play(canvas, changes, backwards=True)
    assert not data.any()


def test_pixels_set_by_another_program_through_the_layer_are_reported_too(canvas_on):
    data = np.zeros(SHAPE, np.int32)
    canvas, layer, notes = canvas_on(data)
    places = np.array([0, 0, 2]), np.array([1, 1, 5]), np.array([2, 3, 6])
    layer.data_setitem(places, np.array([5, 6, 7]))
    canvas.settle()
    ((changes, text),) = notes.strokes
    assert text == "painting"
    assert [(c.plane[0], c.area, c.after.tolist()) for c in changes] == [
        (0, 2, [5, 6]),
        (2, 1, [7]),
    ]
    play(canvas, changes, backwards=True)
    assert not data.any()


def test_stroke_being_made_is_reported_before_anything_is_written(canvas_on):
    data = np.zeros(SHAPE, np.int32)
    canvas, layer, notes = canvas_on(data)
    plane = (0, None, None)
    with layer.block_history():
        layer.paint((0, 4, 4), 3)
        canvas.prepare(plane, 8)
        assert len(notes.strokes) == 1
        canvas.write([fill(plane, square(10, 10), 8)])
        layer.paint((0, 4, 12), 3)
    assert len(notes.strokes) == 2
    assert history(layer) == (0, 0, 0)
    for changes, _ in reversed(notes.strokes):
        play(canvas, changes, backwards=True)
    assert (data[0] == np.where(square(10, 10), 8, 0)).all()


def test_stroke_that_the_store_refused_is_not_reported(canvas_on):
    data = np.zeros(SHAPE, np.int32).view(FullDisk)
    canvas, layer, notes = canvas_on(data)
    layer.data.left = 0
    with pytest.raises(OSError, match="No space"):
        layer.data_setitem((np.array([0]), np.array([1]), np.array([2])), 5)
    canvas.settle()
    assert not notes.strokes
    assert history(layer) == (0, 0, 0)


def test_colours_of_one_image_get_the_same_labels(canvas_on):
    data = np.zeros(SHAPE, np.int32)
    data[1, 2, 3] = 9  # of one channel alone
    before = data.copy()
    canvas, layer, notes = canvas_on(data, channel_axis=0)
    plane = (0, None, None)
    canvas.write([fill(plane, square(0, 0, 6), 2)])
    assert (data[[0, 2], :6, :6] == 2).all()
    assert data[1, 2, 3] == 9
    assert np.count_nonzero(data[1] == 2) == 35
    layer.paint((1, 15, 15), 4)
    canvas.settle()
    ((changes, _),) = notes.strokes
    assert [change.plane for change in changes] == [plane]
    assert (data[0] == data[2]).all()
    assert (data[:, 15, 15] == 4).all()
    play(canvas, changes, backwards=True)
    canvas.write([fill(plane, square(0, 0, 6), 0)])
    np.testing.assert_array_equal(data, before)


def test_of_two_sessions_the_chosen_one_records_a_stroke(canvas_on):
    data = np.zeros(SHAPE, np.int32)
    one, layer, first = canvas_on(data)
    other, _, second = canvas_on(data, layer=layer)
    one.choose()
    layer.paint((0, 4, 4), 3)
    other.choose()  # which is notified first
    layer.paint((0, 14, 4), 3)
    one.write([fill((1, None, None), square(0, 0), 8)])
    assert len(first.strokes) == len(second.strokes) == 1
    assert len(first.elsewhere) == len(second.elsewhere) == 1
    one.close()
    layer.paint((0, 4, 14), 3)
    other.settle()
    assert len(first.strokes) == len(first.elsewhere) == 1
    assert len(second.strokes) == 2


def test_array_that_replaces_another_is_compared_with_it(canvas_on):
    data = np.zeros(SHAPE, np.int32)
    canvas, layer, notes = canvas_on(data)
    layer.data = data.astype(np.int64)
    assert notes.elsewhere == []
    layer.data = np.where(np.arange(3)[:, None, None] == 1, 5, layer.data)
    (changes,) = notes.elsewhere
    assert [(change.plane[0], change.area) for change in changes] == [(1, 480)]
    play(canvas, changes, backwards=True)
    assert not np.asarray(layer.data).any()
    layer.paint((0, 4, 4), 3)
    layer.data = np.zeros((5, 20, 24), np.int32)
    assert len(notes.strokes) == 1
    assert notes.elsewhere[1:] == [None]


def test_large_arrays_are_not_compared(canvas_on, monkeypatch):
    monkeypatch.setattr("napari_sam.gui.label_canvas._COMPARED", 1000)
    _, layer, notes = canvas_on(np.zeros(SHAPE, np.int32))
    layer.data = np.ones(SHAPE, np.int32)
    assert notes.elsewhere == [None]


def test_plane_that_labels_do_not_reach_yet_is_empty(canvas_on):
    canvas, _, _ = canvas_on(np.ones(SHAPE, np.int32))
    assert canvas.read((2, None, None), WHOLE).all()
    assert not canvas.read((3, None, None), WHOLE).any()


@pytest.mark.parametrize(("share", "refreshed"), [(0.5, 400), (0.01, 3 * 20 * 24)])
def test_only_the_rectangle_that_changed_is_shown_anew(canvas_on, monkeypatch, share, refreshed):
    monkeypatch.setattr("napari_sam.gui.label_canvas._LARGE", 10)
    monkeypatch.setattr("napari_sam.gui.label_canvas._SHARE", share)
    canvas, layer, _ = canvas_on(np.zeros(SHAPE, np.int32))
    areas = []
    layer.events.labels_update.connect(lambda event: areas.append(event.data.size))
    layer.events.set_data.connect(lambda event: areas.append(layer.data.size))
    where = square(0, 0, 20)
    where[2:18, 2:18] = False
    canvas.write([fill((0, None, None), where, 7)])
    assert areas == [refreshed]
    np.testing.assert_array_equal(layer.data[0] == 7, where)
