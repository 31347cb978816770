"""What can't be done is reported, and nothing is lost by it."""

import dask.array as da
import numpy as np
import pytest
import zarr
from qtpy.QtCore import Qt

from napari_sam.prompts import Prompts

SHAPE = (40, 50)


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


def test_labels_of_another_shape_are_refused(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.click((20, 30))
    mine = me.annotation.labels
    me.annotation.labels = me.viewer.add_labels(np.zeros((7, 7), int), name="small")
    assert "expected labels of shape (40, 50)" in errors[0]
    assert me.annotation.labels is mine


def test_labels_that_cannot_be_written_are_not_offered(user_and_errors, rng):
    me, _ = user_and_errors(grey(rng, *SHAPE))
    me.viewer.add_labels(da.zeros(SHAPE, dtype=int), name="lazy")
    me.viewer.add_labels(np.zeros((7, 7), int), name="small")
    me.viewer.add_labels(np.zeros(SHAPE, int), name="fits")
    me.settle()
    menu = me.dock.masks.layer
    offered = [menu.itemText(i) for i in range(menu.count())]
    assert offered == ["a new layer", me.annotation.labels.name, "fits"]


def test_click_beyond_the_last_plane_reports_where_the_image_ends(user_and_errors, rng):
    axes = ("z", "y", "x")
    me, errors = user_and_errors(grey(rng, 5, *SHAPE), name="short", axis_labels=axes)
    points = me.annotation.points
    me.viewer.add_image(grey(rng, 9, *SHAPE), name="long", axis_labels=axes)
    me.viewer.layers.selection.active = points
    me.scroll_to(7)
    me.click((7, 20, 30))
    assert "on a plane of 'short', got one where it has none (z 7 of 0 to 4)" in errors[-1]
    assert not len(me.annotation.points.data)
    me.viewer.dims.ndisplay = 3
    me.annotation.points.add([(2, 20, 30)])
    assert "got the 3-D view; go back to the slice first" in errors[-1]


def test_labels_too_small_for_the_next_object(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0] = 255
    me.annotation.labels = me.viewer.add_labels(labels)
    me.annotation.click_here()
    assert me.session.object_id == 256
    me.click((20, 30))
    assert "which ends at 255" in errors[-1]
    assert me.session.mask(256, ()).any()
    assert me.labels.sum() == 255


@pytest.mark.parametrize(("dtype", "highest"), [(np.int64, 2**40), (np.uint64, 2**63 + 5)])
def test_numbers_go_on_above_labels_of_any_type(user_and_errors, rng, dtype, highest):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    labels = np.zeros(SHAPE, dtype)
    labels[0, 0] = highest
    me.annotation.labels = me.viewer.add_labels(labels)
    me.annotation.click_here()
    me.click((20, 30))
    me.press(Qt.Key.Key_N)
    me.press(Qt.Key.Key_U)
    me.drag((30, 5), (38, 15))
    assert np.unique(me.labels).tolist() == [0, highest, highest + 1, highest + 2]
    assert me.annotation.points.features["object"].tolist() == [highest + 1]
    me.session.find_all(points_per_side=3)
    assert me.session.wait(20)
    assert me.labels.max() > highest + 2
    assert not errors


def test_labels_without_a_number_left_are_refused(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.annotation.labels = me.viewer.add_labels(np.full(SHAPE, 2**64 - 1, np.uint64))
    assert "from 1 to 2^64 - 1, got 18446744073709551616" in errors[0]
    assert me.annotation.labels is None or me.annotation.labels.data.max() == 0


class FullDisk(np.ndarray):
    """Labels on a disk that is full after half of a write."""

    full = False

    def __setitem__(self, at, values) -> None:
        if not FullDisk.full:
            super().__setitem__(at, values)
            return
        FullDisk.full = False
        half = tuple(i[: len(i) // 2] for i in at)
        super().__setitem__(half, values if np.ndim(values) == 0 else values[: len(half[0])])
        raise OSError(28, "No space left on device")


def test_mask_that_cannot_be_written_is_reported_and_nothing_is_half_done(
    user_and_errors, rng, monkeypatch
):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    layer = me.viewer.add_labels(np.zeros(SHAPE, np.int32).view(FullDisk))
    assert isinstance(layer.data, FullDisk)
    me.annotation.labels = layer
    me.annotation.click_here()
    me.click((20, 30))
    before = me.labels.copy()
    monkeypatch.setattr(FullDisk, "full", True)
    me.click((20, 34))
    assert "No space left on device; " in errors[-1]
    assert "is as it was" in errors[-1]
    np.testing.assert_array_equal(me.labels, before)
    me.click((22, 34))
    assert me.labels[22, 34] == 1
    me.session.undo()
    np.testing.assert_array_equal(me.labels, before)


def test_read_only_labels_are_not_offered_and_refused_when_picked(user_and_errors, rng, tmp_path):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    fixed = np.zeros(SHAPE, np.int32)
    fixed.flags.writeable = False
    np.save(tmp_path / "mapped.npy", np.zeros(SHAPE, np.int32))
    mapped = np.load(tmp_path / "mapped.npy", mmap_mode="r")
    zarr.create_array(tmp_path / "z.zarr", shape=SHAPE, dtype="int32")
    stored = zarr.open_array(tmp_path / "z.zarr", mode="r")
    for name, data in {"fixed": fixed, "mapped": mapped, "stored": stored}.items():
        layer = me.viewer.add_labels(data, name=name)
        me.annotation.labels = layer
        assert f"expected labels that can be written, got '{name}'" in errors[-1]
        assert me.annotation.labels is not layer
    me.settle()
    menu = me.dock.masks.layer
    offered = {menu.itemText(i) for i in range(menu.count())}
    assert not offered & {"fixed", "mapped", "stored"}


def test_labels_that_became_read_only_are_reported_at_the_click(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.click((20, 30))
    before = me.labels.copy()
    me.annotation.labels.data.flags.writeable = False
    me.click((20, 34))
    assert "read-only" in errors[-1]
    np.testing.assert_array_equal(me.labels, before)


def test_existing_labels_are_kept_and_numbered_on(user_and_errors, rng):
    me, _ = user_and_errors(grey(rng, *SHAPE))
    labels = np.zeros(SHAPE, np.int32)
    labels[:, 25:] = 7
    me.annotation.labels = me.viewer.add_labels(labels)
    me.annotation.click_here()
    me.click((20, 24))
    assert me.session.object_id == 8
    assert (me.labels[:, 25:] == 7).all()
    assert (me.labels == 8).any()


def test_blank_image_is_embedded(user_and_errors):
    me, errors = user_and_errors(np.zeros(SHAPE))
    assert "Ready" in me.dock.status.text.text()
    assert not errors


def test_pixels_that_are_not_finite_are_noticed_once(user, rng, segmenter, capsys):
    data = rng.random((3, *SHAPE))
    data[:, 5, 5] = np.nan
    me = user(data, contrast_limits=(0, 1))
    me.scroll_to(2)
    assert np.isfinite(segmenter.embedded[-1]).all()
    assert capsys.readouterr().out.count("NaN, infinite or masked") == 1


def test_image_that_cannot_be_embedded_is_reported(user_and_errors, rng, segmenter):
    segmenter.error = ValueError("expected a plane of at least 2 x 2 pixels, got one")
    me, _ = user_and_errors(grey(rng, *SHAPE))
    assert me.dock.status.text.text() == "This plane could not be read"
    segmenter.error = None
    me.dock.status.button.click()
    me.settle()
    assert "Ready" in me.dock.status.text.text()


def test_label_that_is_no_sign_is_put_back(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.click((20, 30))
    features = me.annotation.points.features.copy()
    features.loc[0, "label"] = "maybe"
    me.annotation.points.features = features
    me.settle()
    assert "'positive' or 'negative', got 'maybe'" in errors[0]
    assert me.annotation.points.features["label"].tolist() == ["positive"]


def test_image_that_changes_its_shape_is_not_mixed_with_the_old(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.click((20, 30))
    me.annotation.image.data = grey(rng, 10, 10)
    me.settle()
    assert "keep its shape" in errors[-1]
    assert me.labels[20, 30] == 1


class Unreadable(np.ndarray):
    """Labels in a store that fails: when they are read, and when a mask is to be written."""

    failing = 0

    def __getitem__(self, at):
        if Unreadable.failing:
            Unreadable.failing -= 1
            raise RuntimeError("chunk 7 is damaged")
        return super().__getitem__(at)


def test_labels_that_cannot_be_read_are_reported_and_the_mask_goes_to_the_next(
    user_and_errors, rng, monkeypatch
):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.annotation.labels = me.viewer.add_labels(np.zeros(SHAPE, np.int32).view(Unreadable))
    me.annotation.click_here()
    monkeypatch.setattr(Unreadable, "failing", 2)
    me.session.add_point((), (20, 30))
    assert me.session.wait(10)
    assert "RuntimeError: chunk 7 is damaged; pick other labels under 'Masks in'" in errors[-1]
    me.annotation.labels = me.viewer.add_labels(np.zeros(SHAPE, np.int32))
    assert me.labels[20, 30] == 1


def test_error_of_many_masks_at_once_is_reported_once(user_and_errors, rng, monkeypatch):
    monkeypatch.setattr("napari_sam.gui.controller._APART", 60.0)
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.annotation.labels = me.viewer.add_labels(np.zeros(SHAPE, np.uint8))
    me.session.add_prompts({(300 + i, ()): Prompts([(20, 3 * i)], [1]) for i in range(9)})
    me.settle()
    (text,) = errors
    assert "which ends at 255" in text
    monkeypatch.setattr("napari_sam.gui.controller._APART", 0.0)
    me.session.object_id = 400
    me.annotation.click_here()
    me.click((20, 30))
    assert len(errors) == 2
