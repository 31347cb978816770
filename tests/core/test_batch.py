"""Files in, labels out: replayed prompts, folders that go on, nothing done twice."""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import small_models
import tifffile
import zarr
from component_segmenter import ComponentSegmenter, disks

from napari_sam.batch import (
    BatchSummary,
    ManifestWarning,
    PromptCount,
    count_prompts,
    embed_files,
    find_images,
    label_everything,
    label_objects,
    segment_all_files,
    segment_files,
)
from napari_sam.io import ImageFile, SavedPrompts, read_image, write_labels, write_prompts
from napari_sam.plane_input import ColourInput, PlaneInput, checksum
from napari_sam.prompts import Prompts
from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.protocol import Cancelled

SHAPE = (40, 50)
PLANE = disks(SHAPE, (12, 12, 6), (28, 35, 8))
CLICKS = {
    ((), 3): Prompts([(12, 12)], [1]),
    ((), 7): Prompts([(28, 35)], [1]),
}


@pytest.fixture
def segmenter():
    return ComponentSegmenter(dense=True)


def folder(tmp_path, *names, planes=None) -> Path:
    """A folder with images and a prompts file for each."""
    images = tmp_path / "images"
    images.mkdir()
    for i, name in enumerate(names):
        write_labels(images / name, PLANE if planes is None else planes[i])
        write_prompts((images / name).with_suffix(".csv"), CLICKS)
    return images


def labels_of(path) -> np.ndarray:
    return np.asarray(read_image(path).data)


# One image --------------------------------------------------------------------------------------


def test_objects_keep_their_numbers_and_pixels(segmenter):
    labels = label_objects(segmenter, ImageFile(PLANE, "YX"), CLICKS)
    assert labels.dtype == np.uint16
    assert np.array_equal(labels == 3, disks(SHAPE, (12, 12, 6)) > 0)
    assert np.array_equal(labels == 7, disks(SHAPE, (28, 35, 8)) > 0)


def test_number_beyond_16_bits_is_kept(segmenter):
    prompts = {((), 70_000): Prompts([(12, 12)], [1])}
    labels = label_objects(segmenter, ImageFile(PLANE, "YX"), prompts)
    assert labels.max() == 70_000


@pytest.mark.parametrize("number", [2**32, 2**63 + 1])
def test_number_beyond_32_bits_goes_through_to_the_files(segmenter, tmp_path, number):
    images = folder(tmp_path, "a.tif")
    write_prompts(images / "a.csv", {((), number): CLICKS[(), 3]})
    summary = segment_files(segmenter, images, tmp_path / "out", overlay=True, measurements=True)
    assert not summary.failed
    labels = labels_of(tmp_path / "out/a_labels.tif")
    assert labels.dtype == np.uint64
    assert int(labels.max()) == number
    assert f"\npixel,{number}," in (tmp_path / "out/a_measurements.csv").read_text("utf-8")


def test_number_that_no_label_can_hold_is_refused(segmenter):
    with pytest.raises(ValueError, match=r"below 2\*\*64, got 18446744073709551616; number"):
        label_objects(segmenter, ImageFile(PLANE, "YX"), {((), 2**64): CLICKS[(), 3]})
    assert segmenter.embedded == []


def test_earlier_object_keeps_its_pixels_unless_overwriting(segmenter):
    twice = {((), 1): Prompts([(12, 12)], [1]), ((), 2): Prompts([(13, 13)], [1])}
    image = ImageFile(PLANE, "YX")
    assert set(np.unique(label_objects(segmenter, image, twice))) == {0, 1}
    assert set(np.unique(label_objects(segmenter, image, twice, overwrite=True))) == {0, 2}


def test_prompts_are_replayed_click_by_click():
    seen = []

    class Watching(ComponentSegmenter):
        def decode(self, embedding, prompts, multimask="auto", progress=None):
            seen.append((len(prompts.points), prompts.mask is not None))
            return super().decode(embedding, prompts, multimask)

    clicks = Prompts([(12, 12), (14, 12), (30, 12)], [1, 1, 0])
    label_objects(Watching(), ImageFile(PLANE, "YX"), {((), 1): clicks})
    assert seen == [(1, False), (2, True), (3, True)]


def test_many_objects_of_a_plane_are_decoded_in_parts_and_can_be_cancelled(segmenter):
    decoded = []

    class Watching(ComponentSegmenter):
        def decode(self, embedding, prompts, multimask="auto"):
            decoded.append(prompts)
            return super().decode(embedding, prompts, multimask)

    reported = []

    def stop(fraction):
        reported.append(fraction)
        if fraction >= 0.5:
            raise Cancelled

    many = {((), number): Prompts([(12, 12)], [1]) for number in range(1, 301)}
    with pytest.raises(Cancelled):
        label_objects(Watching(), ImageFile(PLANE, "YX"), many, progress=stop)
    assert reported == sorted(reported)
    assert len(set(reported)) >= 5
    assert 100 < len(decoded) < 200


@pytest.mark.parametrize("wrong", [Prompts([(500, 3)], [1]), Prompts(box=(90, 90, 99, 99))])
def test_prompts_outside_the_image_are_refused_before_any_work(segmenter, wrong):
    stack = ImageFile(np.stack([PLANE] * 2), "ZYX")
    with pytest.raises(ValueError, match="40 x 50"):
        label_objects(segmenter, stack, {((0,), 3): CLICKS[(), 3], ((1,), 3): wrong})
    with pytest.raises(IndexError, match=r"plane \(2,\) of object 7"):
        label_objects(segmenter, stack, {((0,), 3): CLICKS[(), 3], ((2,), 7): CLICKS[(), 7]})
    assert segmenter.embedded == []


def test_only_planes_with_prompts_are_read_and_embedded(segmenter):
    stack = np.stack([PLANE] * 6)
    prompts = {((4,), 3): CLICKS[(), 3], ((1,), 7): CLICKS[(), 7], ((4,), 7): CLICKS[(), 7]}
    labels = label_objects(segmenter, ImageFile(stack, "ZYX"), prompts)
    assert len(segmenter.embedded) == 2
    assert sorted(np.unique(np.nonzero(labels)[0])) == [1, 4]
    assert set(np.unique(labels[4])) == {0, 3, 7}


def test_each_channel_has_contrast_limits_of_its_own(segmenter):
    stack = np.stack([np.stack([PLANE, PLANE]), np.stack([PLANE, PLANE]) // 5]).astype(np.uint16)
    prompts = {((c, z), 1): CLICKS[(), 3] for c in range(2) for z in range(2)}
    labels = label_objects(segmenter, ImageFile(stack, "CZYX"), prompts)
    assert len(set(segmenter.limits)) == 2
    assert np.array_equal(labels[0], labels[1])


def test_prompts_of_another_dimension_are_refused(segmenter):
    with pytest.raises(ValueError, match="prompts with 3 coordinates"):
        label_objects(segmenter, ImageFile(PLANE[None], "ZYX"), CLICKS)


def test_prompts_on_a_missing_plane_are_refused(segmenter):
    with pytest.raises(IndexError, match="plane \\(5,\\) of object 1 lies outside"):
        label_objects(segmenter, ImageFile(PLANE[None], "ZYX"), {((5,), 1): CLICKS[(), 3]})


def spied(segmenter, image, prompts, limits=None):
    messages = []
    labels = label_objects(segmenter, image, prompts, limits, notify=messages.append)
    return labels, messages


def test_contrast_of_the_prompts_is_used_unless_another_is_asked_for(segmenter):
    given = PlaneInput((0, 1), (ColourInput((1.0, 99.0)),))
    saved = SavedPrompts(CLICKS, dict.fromkeys(CLICKS, given))
    _, messages = spied(segmenter, ImageFile(PLANE, "YX"), saved)
    assert (segmenter.limits, messages) == ([(1, 99)], [])
    spied(segmenter, ImageFile(PLANE, "YX"), saved, (2, 50))
    assert segmenter.limits[-1] == (2, 50)


def test_gamma_and_inversion_of_the_prompts_are_used(segmenter):
    given = PlaneInput((0, 1), (ColourInput((0.0, 200.0), gamma=2.0, inverted=True),))
    saved = SavedPrompts(CLICKS, dict.fromkeys(CLICKS, given))
    _, messages = spied(segmenter, ImageFile(PLANE, "YX"), saved)
    expected = 1 - np.clip(PLANE / 200.0, 0, 1) ** 2
    np.testing.assert_allclose(segmenter.embedded[-1][..., 0], expected * 255, atol=0.6)
    assert (segmenter.limits, messages) == ([(0, 1)], [])


def test_prompts_on_other_pixels_than_the_plane_s_are_noted(segmenter):
    given = PlaneInput((0, 1), (ColourInput((0.0, 200.0), checksum=checksum(PLANE // 2)),))
    saved = SavedPrompts(CLICKS, dict.fromkeys(CLICKS, given))
    _, (note,) = spied(segmenter, ImageFile(PLANE, "YX"), saved)
    assert "another image" in note
    assert "the plane of the file was used" in note


def test_prompts_without_their_contrast_are_noted(segmenter):
    stack = np.stack([PLANE.astype(np.uint16) * 3] * 2)
    prompts = {((1,), 3): CLICKS[(), 3]}
    _, (note,) = spied(segmenter, ImageFile(stack, "ZYX"), prompts)
    assert "robust limits of the pixels were used" in note
    assert "--contrast" in note


@pytest.mark.parametrize(("pixels", "axes"), [(PLANE, "YX"), (np.stack([PLANE] * 3, -1), "YXS")])
def test_contrast_of_a_plane_alone_is_noted_as_unknown_unless_there_is_none(
    segmenter, pixels, axes
):
    _, messages = spied(segmenter, ImageFile(pixels, axes), CLICKS)
    assert [note[:44] for note in messages] == (
        ["the prompts don't say the contrast limits of"] if axes == "YX" else []
    )


def test_channels_of_an_axis_that_is_not_there_are_refused_by_its_number(segmenter):
    given = PlaneInput((0, 1), (ColourInput((0.0, 9.0), 0), None, None), channel_axis=5)
    saved = SavedPrompts(CLICKS, dict.fromkeys(CLICKS, given))
    with pytest.raises(IndexError, match=r"channels \[0\] of axis 5, which the image"):
        label_objects(segmenter, ImageFile(PLANE, "YX"), saved)


def test_a_plane_of_other_axes_is_cut_out_of_the_stack(segmenter):
    stack = np.stack([np.zeros_like(PLANE), PLANE, PLANE])
    given = PlaneInput((0, 2), (ColourInput((0.0, 255.0)),))
    key = (None, 12, None), 5
    saved = SavedPrompts({key: Prompts([(1, 12)], [1])}, {key: given})
    labels, _ = spied(segmenter, ImageFile(stack, "ZYX"), saved)
    assert np.array_equal(labels[:, 12] == 5, stack[:, 12] > 0)
    assert not np.delete(labels, 12, axis=1).any()


def test_several_planes_are_projected_as_they_were(segmenter):
    stack = np.stack([np.zeros_like(PLANE), PLANE, np.zeros_like(PLANE)])
    given = PlaneInput((1, 2), (ColourInput((0.0, 255.0)),), None, True, "max", ((0, 1, 2),))
    saved = SavedPrompts({((2,), 3): CLICKS[(), 3]}, {((2,), 3): given})
    labels, _ = spied(segmenter, ImageFile(stack, "ZYX"), saved)
    assert np.array_equal(labels[2] == 3, disks(SHAPE, (12, 12, 6)) > 0)
    assert not labels[:2].any()


def test_prompts_of_one_channel_find_it_by_its_pixels(segmenter):
    file = np.stack([PLANE // 2, PLANE, np.zeros_like(PLANE)])
    given = PlaneInput((0, 1), (ColourInput((0.0, 200.0), checksum=checksum(PLANE)),))
    saved = SavedPrompts(CLICKS, dict.fromkeys(CLICKS, given))
    labels, messages = spied(segmenter, ImageFile(file, "CYX"), saved)
    assert labels.shape == SHAPE
    assert set(np.unique(labels)) == {0, 3, 7}
    assert not messages
    with pytest.raises(ValueError, match=r"choose the channel it was clicked on \(--channel\)"):
        label_objects(segmenter, ImageFile(file // 3, "CYX"), saved)


def test_a_colour_that_is_in_no_file_is_reported(segmenter):
    colours = (ColourInput((0.0, 9.0), None, "gfp", "crc-00000000"), None, None)
    saved = SavedPrompts(CLICKS, dict.fromkeys(CLICKS, PlaneInput((0, 1), colours)))
    labels, messages = spied(segmenter, ImageFile(PLANE, "YX"), saved)
    assert set(np.unique(labels)) == {0, 3, 7}
    assert any("'gfp' as a colour, which isn't in the image" in note for note in messages)


def test_everything_in_a_z_stack_is_linked_but_channels_are_not(segmenter):
    stack = np.stack([np.stack([PLANE] * 3)] * 2)
    labels = label_everything(segmenter, ImageFile(stack, "CZYX"))
    assert labels.shape == stack.shape
    assert labels.max() == 2
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels > 0, stack > 0)
    assert (labels[0, :, 12, 12] == labels[0, 0, 12, 12]).all()


# Many files -------------------------------------------------------------------------------------


def test_folder_is_segmented_from_prompts_beside_the_images(segmenter, tmp_path):
    images = folder(tmp_path, "a.tif", "b.tif")
    summary = segment_files(segmenter, images, tmp_path / "out", overlay=True)
    assert [p.name for p in summary.done] == ["a.tif", "b.tif"]
    assert not summary.failed
    for name in "ab":
        assert set(np.unique(labels_of(tmp_path / f"out/{name}_labels.tif"))) == {0, 3, 7}
        picture = labels_of(tmp_path / f"out/{name}_overlay.png")
        assert picture.shape == (*SHAPE, 3)


def test_axes_and_pixel_sizes_are_kept(segmenter, tmp_path):
    size = {"Z": 0.5, "Y": 0.1, "X": 0.1}
    write_labels(tmp_path / "stack.tif", np.stack([PLANE] * 3), "ZYX", size, "µm")
    write_prompts(tmp_path / "clicks.csv", {((1,), 3): CLICKS[(), 3]})
    out = tmp_path / "labels.tif"
    segment_files(segmenter, tmp_path / "stack.tif", out, tmp_path / "clicks.csv")
    labels = read_image(out)
    assert (labels.axes, labels.pixel_size, labels.unit) == ("ZYX", size, "µm")
    assert np.asarray(labels.data)[1].any()


def test_second_run_skips_what_is_done_and_unchanged(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif", "b.tif"), tmp_path / "out"
    segment_files(segmenter, images, out)
    runs = len(segmenter.embedded)
    again = segment_files(segmenter, images, out)
    assert again == BatchSummary(skipped=(images / "a.tif", images / "b.tif"))
    assert len(segmenter.embedded) == runs


def changed_image(images, out):
    write_labels(images / "a.tif", PLANE[::-1])
    os.utime(images / "a.tif", (1, 1))


def changed_prompts(images, out):
    write_prompts(images / "a.csv", {((), 9): CLICKS[(), 3]})


def removed_labels(images, out):
    (out / "a_labels.tif").unlink()


@pytest.mark.parametrize("change", [changed_image, changed_prompts, removed_labels])
def test_what_changed_is_done_again_alone(segmenter, tmp_path, change):
    images, out = folder(tmp_path, "a.tif", "b.tif"), tmp_path / "out"
    segment_files(segmenter, images, out)
    change(images, out)
    summary = segment_files(segmenter, images, out)
    assert [p.name for p in summary.done] == ["a.tif"]
    assert [p.name for p in summary.skipped] == ["b.tif"]


def test_other_model_or_contrast_is_another_result(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif"), tmp_path / "out"
    segment_files(segmenter, images, out)
    assert segment_files(ComponentSegmenter(key="other"), images, out).done
    assert segment_files(ComponentSegmenter(key="other"), images, out).skipped
    limited = segment_files(ComponentSegmenter(key="other"), images, out, contrast_limits=(0, 99))
    assert limited.done


def test_manifest_cut_short_loses_only_its_last_line(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif", "b.tif"), tmp_path / "out"
    segment_files(segmenter, images, out)
    (manifest,) = out.glob("*.jsonl")
    manifest.write_text(manifest.read_text().rstrip()[:-10])
    with pytest.warns(ManifestWarning, match=r"jsonl: line 8 can't be read"):
        summary = segment_files(segmenter, images, out)
    assert [p.name for p in summary.done] == ["b.tif"]
    with pytest.warns(ManifestWarning):
        assert len(segment_files(segmenter, images, out).skipped) == 2


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b"5",
        b'{"result": ["a"], "fingerprint": "b"}',
        b'{"result": 5, "fingerprint": "b"}',
    ],
)
def test_damaged_line_of_the_manifest_is_skipped_and_the_file_named(segmenter, tmp_path, damage):
    images, out = folder(tmp_path, "a.tif", "b.tif"), tmp_path / "out"
    segment_files(segmenter, images, out)
    (manifest,) = out.glob("*.jsonl")
    manifest.write_bytes(damage + b"\n" + damage + manifest.read_bytes())
    with pytest.warns(ManifestWarning, match=r"jsonl: line 1 and 1 more lines"):
        summary = segment_files(segmenter, images, out)
    assert len(summary.skipped) == 2


def test_folder_in_place_of_the_manifest_blocks_nothing(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif", "b.tif"), tmp_path / "out"
    (out / "napari-sam-batch.jsonl").mkdir(parents=True)
    with pytest.warns(
        ManifestWarning, match="batch.jsonl: it is no file; move it away"
    ) as messages:
        summary = segment_files(segmenter, images, out)
    assert len(summary.done) == 2
    assert len(messages) == 1


def leave(path: Path, days: float = 2) -> Path:
    path.write_bytes(b"half of it")
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))
    return path


def test_leftovers_of_killed_runs_are_swept_by_the_next(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif"), tmp_path / "out"

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_sam.batch.labelling.write_labels", kill)
        with pytest.raises(Killed):
            segment_files(segmenter, images, out)
    gone = [leave(out / f".0123abcd-a_{name}") for name in ("labels.tif", "overlay.png")]
    kept = [
        leave(out / ".0123abcd-a_labels.tif.bak"),
        leave(out / ".0123abcd-b_labels.tif"),
        leave(out / ".4567abcd-a_labels.tif", days=0.5),
        leave(out / "notes.txt"),
    ]
    assert segment_files(segmenter, images, out).done
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_nothing_is_swept_while_another_run_is_busy(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif", "b.tif"), tmp_path / "out"
    segment_files(segmenter, images, out)
    left = leave(out / ".0123abcd-a_labels.tif")
    (images / "a.csv").write_bytes((images / "a.csv").read_bytes() + b"\n")
    (images / "b.csv").write_bytes((images / "b.csv").read_bytes() + b"\n")
    seen = []

    def another(path, fraction):
        if path.name == "b.tif" and not seen:
            leave(left)
            segment_files(segmenter, images / "a.tif", out)
            seen.append(left.exists())

    segment_files(segmenter, images, out, progress=another)
    assert seen == [True]
    segment_files(segmenter, images, out)
    assert not left.exists()


def test_zarr_labels_that_a_killed_run_moved_aside_are_put_back(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif"), tmp_path / "out"
    segment_files(segmenter, images, out, suffix=".zarr")
    labels = labels_of(out / "a_labels.zarr")
    (out / "a_labels.zarr").rename(out / ".old~a_labels.zarr")
    assert segment_files(segmenter, images, out, suffix=".zarr").skipped
    assert np.array_equal(labels_of(out / "a_labels.zarr"), labels)


def damaged_chunks(images):
    path, codec = images / "b.zarr", numcodecs.Zlib()
    zarr.create_array(path, data=PLANE, zarr_format=2, compressors=codec)
    (path / "0.0").write_bytes(bytes(50))
    write_prompts(images / "b.csv", CLICKS)


def archive_of_arrays(images):
    np.savez(images / "b.npz", PLANE)
    (images / "b.npz").rename(images / "b.npy")
    write_prompts(images / "b.csv", CLICKS)


def strange_metadata(images):
    (images / "b.zarr").mkdir()
    (images / "b.zarr" / "zarr.json").write_text("[]")
    write_prompts(images / "b.csv", CLICKS)


@pytest.mark.parametrize("make", [damaged_chunks, archive_of_arrays, strange_metadata])
def test_no_damage_of_a_file_ends_the_batch(segmenter, tmp_path, make):
    images = folder(tmp_path, "a.tif", "c.tif")
    make(images)
    summary = segment_files(segmenter, images, tmp_path / "out")
    assert [p.name for p in summary.done] == ["a.tif", "c.tif"]
    (failure,) = summary.failed
    assert failure.image.stem == "b"


def test_unforeseen_error_of_one_image_is_reported_with_its_kind(tmp_path):
    class Faulty(ComponentSegmenter):
        def decode(self, embedding, prompts, multimask="auto"):
            raise AttributeError("no such thing")

    images = folder(tmp_path, "a.tif", "b.tif")
    summary = segment_files(Faulty(), images, tmp_path / "out")
    assert [failure.reason for failure in summary.failed] == ["AttributeError no such thing"] * 2


def test_broken_file_is_reported_and_stops_nothing(segmenter, tmp_path):
    images = folder(tmp_path, "a.tif", "b.tif", "c.tif")
    (images / "b.tif").write_bytes((images / "b.tif").read_bytes()[:100])
    (images / "c.csv").unlink()
    summary = segment_files(segmenter, images, tmp_path / "out")
    assert [p.name for p in summary.done] == ["a.tif"]
    reasons = {failure.image.name: failure.reason for failure in summary.failed}
    assert set(reasons) == {"b.tif", "c.tif"}
    assert "prompts file" in reasons["c.tif"]
    assert not (tmp_path / "out/b_labels.tif").exists()


def test_cancelled_batch_keeps_what_is_finished(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif", "b.tif"), tmp_path / "out"

    def stop(path, fraction):
        if fraction > 0.6:
            raise Cancelled

    with pytest.raises(Cancelled):
        segment_files(segmenter, images, out, progress=stop)
    assert [p.name for p in segment_files(segmenter, images, out).skipped] == ["a.tif"]


def test_progress_rises_to_one_and_names_the_image(segmenter, tmp_path):
    seen = []
    images = folder(tmp_path, "a.tif", "b.tif")
    segment_files(segmenter, images, tmp_path / "out", progress=lambda p, f: seen.append((p, f)))
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {path.name for path, _ in seen} == {"a.tif", "b.tif"}


def test_everything_in_files_is_segmented_and_resumed(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif", planes=[np.stack([PLANE] * 3)]), tmp_path / "out"
    summary = segment_all_files(segmenter, images, out, overlay=True)
    assert summary.done
    labels = labels_of(out / "a_labels.tif")
    assert labels.shape == (3, *SHAPE)
    assert labels.max() == 2
    assert (out / "a_overlay.png").exists()
    assert segment_all_files(segmenter, images, out, overlay=True).skipped
    assert segment_all_files(segmenter, images, out, proposal_iou_thresh=0.1).done


def test_everything_is_measured_in_the_units_of_the_file(segmenter, tmp_path):
    image = tmp_path / "cells.tif"
    write_labels(image, PLANE, "YX", {"Y": 0.5, "X": 0.5}, "µm")
    segment_all_files(segmenter, [image], tmp_path / "out")
    with (tmp_path / "out/cells_measurements.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = labels_of(tmp_path / "out/cells_labels.tif")
    assert {row["unit"] for row in rows} == {"µm"}
    for row in rows:
        pixels = np.count_nonzero(labels == int(row["label"]))
        assert float(row["area"]) == pytest.approx(pixels * 0.25)


def test_what_goes_beside_labels_is_added_without_touching_them(segmenter, tmp_path):
    images, out = folder(tmp_path, "a.tif"), tmp_path / "out"
    segment_all_files(segmenter, images, out, measurements=False)
    edited = labels_of(out / "a_labels.tif").copy()
    edited[:4] = 9
    write_labels(out / "a_labels.tif", edited)
    assert segment_all_files(segmenter, images, out, overlay=True).done
    assert np.array_equal(labels_of(out / "a_labels.tif"), edited)
    assert "\npixel,9,200," in (out / "a_measurements.csv").read_text("utf-8")
    assert (out / "a_overlay.png").exists()


def test_what_goes_beside_labels_is_added_to_images_with_an_axis_of_one(segmenter, tmp_path):
    image, out = tmp_path / "a.zarr", tmp_path / "out"
    write_labels(image, np.stack([PLANE] * 3)[None], "CZYX")
    segment_all_files(segmenter, [image], out, measurements=False)
    later = segment_all_files(segmenter, [image], out, overlay=True)
    assert not later.failed
    assert (out / "a_overlay.png").exists()
    at_once = tmp_path / "at_once"
    segment_all_files(segmenter, [image], at_once)
    name = "a_measurements.csv"
    assert (out / name).read_text("utf-8") == (at_once / name).read_text("utf-8")


def test_wrong_setting_is_refused_before_any_work(segmenter, tmp_path):
    with pytest.raises(TypeError, match="nonsense"):
        segment_all_files(segmenter, folder(tmp_path, "a.tif"), tmp_path / "out", nonsense=1)
    assert segmenter.embedded == []


def test_embedding_files_fills_the_cache_with_every_plane(tmp_path, rng, monkeypatch):
    planes = [rng.integers(0, 256, (3, *SHAPE), dtype=np.uint8) for _ in range(2)]
    images = folder(tmp_path, "a.tif", "b.tif", planes=planes)
    encoder, encoded = small_models.segmenter(small_models.VIT), []
    encode = encoder.embed_pixels

    def counted(pixels, *about):
        encoded.append(pixels)
        return encode(pixels, *about)

    monkeypatch.setattr(encoder, "embed_pixels", counted)
    cached = CachedSegmenter(encoder, tmp_path / "cache")
    assert len(embed_files(cached, images).done) == 2
    assert len(encoded) == 6
    embed_files(CachedSegmenter(encoder, tmp_path / "cache"), images)
    assert len(encoded) == 6


def test_zarr_comes_and_goes(segmenter, tmp_path):
    images = folder(tmp_path, "a.zarr")
    summary = segment_files(segmenter, images, tmp_path / "out", suffix=".zarr")
    assert summary.done, summary.failed
    assert labels_of(tmp_path / "out/a_labels.zarr").max() == 7
    assert segment_files(segmenter, images, tmp_path / "out", suffix=".zarr").skipped


# Names ------------------------------------------------------------------------------------------


def test_prompts_are_counted_without_those_that_cannot_be_read(tmp_path):
    images = folder(tmp_path, "a.tif", "b.tif", "c.tif", "d.tif")
    (images / "b.csv").write_text("nonsense")
    (images / "c.csv").unlink()
    clicks = Prompts([(12, 12), (14, 12)], [1, 0])
    write_prompts(images / "d.csv", {((0,), 1): clicks, ((1,), 1): clicks, ((1,), 2): clicks})
    assert count_prompts(find_images(images)) == PromptCount(planes=3, objects=5, clicks=8)


def test_folders_files_and_patterns_are_found_once(tmp_path):
    images = folder(tmp_path, "b.tif", "a.tif")
    (images / "notes.txt").write_text("not an image")
    (images / ".hidden.tif").write_text("not an image")
    expected = [images / "a.tif", images / "b.tif"]
    assert find_images(images) == expected
    assert find_images([images / "b.tif", str(images)]) == expected[::-1]
    assert find_images(str(tmp_path / "*" / "[ab].tif")) == expected


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing.tif", FileNotFoundError, "found nothing there"),
        ("*.png", ValueError, "that match"),
        ("", ValueError, "expected images"),
    ],
)
def test_names_without_images_are_refused(tmp_path, name, error, message):
    with pytest.raises(error, match=message):
        find_images(str(tmp_path / name))


def test_images_of_one_name_are_refused(segmenter, tmp_path):
    images = folder(tmp_path, "a.tif")
    other = tmp_path / "other"
    other.mkdir()
    write_labels(other / "a.tif", PLANE)
    with pytest.raises(ValueError, match="would both be"):
        segment_files(segmenter, [images, other], tmp_path / "out")


def test_result_never_replaces_an_image(segmenter, tmp_path):
    images = folder(tmp_path, "a.tif", "a_labels.tif")
    before = (images / "a_labels.tif").read_bytes()
    with pytest.raises(ValueError, match="would replace an image"):
        segment_files(segmenter, images, images)
    with pytest.raises(ValueError, match="would replace an image"):
        segment_files(segmenter, images / "a.tif", images / "a.tif")
    assert (images / "a_labels.tif").read_bytes() == before


def test_one_label_file_for_several_images_is_refused(segmenter, tmp_path):
    with pytest.raises(ValueError, match="a folder for the results of 2 images"):
        segment_files(segmenter, folder(tmp_path, "a.tif", "b.tif"), tmp_path / "labels.tif")


def test_unknown_label_format_is_refused(segmenter, tmp_path):
    with pytest.raises(ValueError, match=r"\.tif.*'\.png'"):
        segment_files(segmenter, folder(tmp_path, "a.tif"), tmp_path / "out", suffix=".png")


# Axes and channels --------------------------------------------------------------------------------


@pytest.fixture
def channels(tmp_path):
    """An image with its samples behind the columns; the discs are in the second channel."""
    images = tmp_path / "images"
    images.mkdir()
    np.save(images / "a.npy", np.stack([PLANE * 0, PLANE], axis=2))
    write_prompts(images / "a.csv", CLICKS)
    return images / "a.npy"


def test_prompts_are_run_on_the_channel_asked_for(segmenter, channels, tmp_path):
    summary = segment_files(
        segmenter, channels, tmp_path / "out", axes="yxc", channel=1, measurements=True
    )
    assert summary.done == (channels,), summary.failed
    labels = labels_of(tmp_path / "out/a_labels.tif")
    assert labels.shape == SHAPE
    assert np.array_equal(labels == 3, disks(SHAPE, (12, 12, 6)) > 0)


def test_everything_in_one_channel_is_segmented_and_another_is_another_result(
    segmenter, channels, tmp_path
):
    def count(channel):
        segment_all_files(segmenter, channels, tmp_path / "out", channel=channel)
        return labels_of(tmp_path / "out/a_labels.tif").max()

    assert (count(1), count(0), count(1)) == (2, 0, 2)
    again = segment_all_files(segmenter, channels, tmp_path / "out", channel=1)
    assert again.skipped == (channels,)


def test_image_without_the_channel_fails_and_the_others_go_on(segmenter, channels, tmp_path):
    write_labels(channels.with_name("b.tif"), PLANE)
    summary = segment_all_files(segmenter, channels.parent, tmp_path / "out", channel=1)
    assert summary.done == (channels,)
    (failure,) = summary.failed
    assert "an image with channels" in failure.reason


def test_one_channel_is_embedded(tmp_path, channels, segmenter):
    embed_files(segmenter, channels, channel=1)
    assert len(segmenter.embedded) == 1


def test_infinite_pixel_size_is_none_and_measurements_are_in_pixels(segmenter, tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        PLANE,
        metadata={"axes": "YX", "PhysicalSizeX": np.inf, "PhysicalSizeY": np.inf},
    )
    summary = segment_all_files(segmenter, tmp_path / "a.ome.tif", tmp_path / "out")
    assert summary.failed == ()
    with (tmp_path / "out/a_measurements.csv").open() as file:
        assert {row["unit"] for row in csv.DictReader(file)} == {"pixel"}
