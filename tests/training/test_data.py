"""Reading, cropping and augmenting labelled planes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_sam.training.augment import augment_colours, crop_warped, to_rgb
from napari_sam.training.config import TrainConfig
from napari_sam.training.data import (
    HELD_OUT_SLICES,
    CropStream,
    Plane,
    read_planes,
    usual_diameter,
)


def test_last_slices_of_a_training_volume_are_held_out(packed_data: Path) -> None:
    train = {p.name for p in read_planes(packed_data, "train")}
    val = {p.name for p in read_planes(packed_data, "val")}
    assert {"a", "b", "v/0", "v/9"} <= train
    assert {"c", "v/10", "v/29"} <= val
    assert not train & val
    assert len([n for n in val if n.startswith("v/")]) == HELD_OUT_SLICES


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        read_planes(tmp_path, "train")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"items": 3}', '{"items": [{"id": "a"}]}', "[" * 100_000, "\udcff"],
)
def test_a_manifest_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        read_planes(tmp_path, "train")


def test_a_batch_depends_on_seed_and_index_alone(tiny_run: TrainConfig) -> None:
    planes = read_planes(tiny_run.data, "train")
    first, again = (CropStream(tiny_run, planes, start) for start in (0, 3))
    one = next(b for b in first if b.index == 3)
    two = next(iter(again))
    assert (one.images == two.images).all()
    assert (one.chosen == two.chosen).all()
    other = CropStream(replace(tiny_run, seed=1), planes).batch(3)
    assert (one.images != other.images).any()


def test_chosen_objects_are_in_the_crop(tiny_run: TrainConfig) -> None:
    stream = CropStream(tiny_run, read_planes(tiny_run.data, "train"))
    batch = stream.batch(0)
    for labels, chosen in zip(batch.labels, batch.chosen, strict=True):
        assert set(chosen.tolist()) <= set(labels.unique().tolist()) - {0}


def test_some_batches_have_fewer_and_larger_crops(tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, planes=8, large_share=0.5)
    stream = CropStream(config, read_planes(tiny_run.data, "train"))
    shapes = {tuple(stream.batch(i).labels.shape) for i in range(8)}
    assert shapes == {(8, 64, 64), (2, 128, 128)}


@pytest.mark.parametrize(("power", "share"), [(0.0, 1 / 2), (1.0, 64 / 66)])
def test_planes_of_many_objects_are_seen_more_often(
    tiny_run: TrainConfig, power: float, share: float
) -> None:
    one = np.zeros((64, 64), np.int32)
    one[20:30, 20:30] = 1
    many = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((8, 8), np.int32))
    planes = [
        Plane(np.full((64, 64), grey, np.uint8), labels, "dsb2018", "x", str(grey))
        for grey, labels in ((50, one), (200, many))
    ]
    config = replace(tiny_run, planes=8, crowded=power, scale=(1.0, 1.0), vary_colours=False)
    stream = CropStream(config, planes)
    crowds = [len(labels.unique()) > 5 for i in range(12) for labels in stream.batch(i).labels]
    assert np.mean(crowds) == pytest.approx(share, abs=0.12)


@pytest.mark.parametrize("diameter", [8.0, 24.0])
def test_crops_fitted_to_a_diameter_show_objects_of_about_that_size(
    tiny_run: TrainConfig, diameter: float
) -> None:
    config = replace(
        tiny_run,
        fitted_share=1.0,
        diameter=diameter,
        crop=128,
        scale=(0.1, 9.0),
        sources={"dsb2018": 1.0},
    )
    stream = CropStream(config, read_planes(tiny_run.data, "train"))
    seen = [usual_diameter(labels.numpy()) for i in range(3) for labels in stream.batch(i).labels]
    assert diameter / 2 < np.median(seen) < diameter * 2


def test_crops_from_afar_show_the_whole_plane(tiny_run: TrainConfig) -> None:
    """Six disks of 10 to 18 pixels on 96, shown on 64 cells or fewer: each is there."""
    config = replace(tiny_run, far_share=1.0, scale=(2.0, 3.0), sources={"dsb2018": 1.0})
    planes = [p for p in read_planes(tiny_run.data, "train") if p.labels.shape == (96, 96)]
    stream = CropStream(config, planes)
    for i in range(3):
        for labels in stream.batch(i).labels:
            assert len(labels.unique()) >= 4
            assert usual_diameter(labels.numpy()) < 14


@pytest.mark.parametrize(("share", "count"), [(1.0, 2), (0.0, 1)])
def test_pieces_of_one_body_are_split_in_a_share_of_the_crops(
    tiny_run: TrainConfig, share: float, count: int
) -> None:
    labels = np.zeros((200, 200), np.uint16)
    labels[90:106, 80:94] = labels[90:106, 102:116] = 7
    plane = Plane((100 * (labels > 0)).astype(np.uint8), labels, "dsb2018", "x", "two pieces")
    config = replace(tiny_run, split_share=share, scale=(0.6, 0.6), sources={"dsb2018": 1.0})
    stream = CropStream(config, [plane])
    crops = [labels for index in range(4) for labels in stream.batch(index).labels]
    # no crop reaches beyond the plane; some may show one piece alone
    assert max(len(crop.unique()) - 1 for crop in crops) == count


def test_usual_diameter_is_that_of_the_median_object() -> None:
    y, x = np.mgrid[:64, :64]
    labels = ((y - 20) ** 2 + (x - 20) ** 2 <= 100).astype(np.int32)
    labels[60:64, :3] = 2  # too small to count
    assert usual_diameter(labels) == pytest.approx(20, abs=0.5)
    assert usual_diameter(np.zeros((4, 4), np.int32)) == 0


def test_unknown_source_is_refused(tiny_run: TrainConfig) -> None:
    with pytest.raises(ValueError, match="martian"):
        CropStream(replace(tiny_run, sources={"martian": 1.0}), [])


@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_are_warped_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((120, 150), np.uint16)
    labels[30:70, 40:100] = 3
    labels[80:110, 20:60] = 5
    grey = np.choose(np.searchsorted([3, 5], labels) * (labels > 0) + (labels > 0), [0, 100, 200])
    image = np.repeat(grey[..., None], 3, 2).astype(np.float32)
    crop, picked = crop_warped(image, labels, 96, 1.3, rng)
    assert crop.shape == (96, 96, 3)
    greys = {0: 0, 3: 100, 5: 200}
    for mirrored in np.setdiff1d(picked, list(greys)):  # beyond the border
        greys[int(mirrored)] = int(np.median(crop[picked == mirrored]))
    assert set(greys.values()) == {0, 100, 200}
    expected = np.select([picked == label for label in greys], list(greys.values()))
    # interpolation differs in the pixels at an outline only
    assert (np.abs(crop[..., 0].astype(int) - expected) > 40).mean() < 0.05


def test_an_object_and_its_mirror_image_have_labels_of_their_own() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[20:30, 20:30] = 1
    image = np.repeat(255.0 * labels[..., None], 3, 2).astype(np.float32)
    total = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        _, picked = crop_warped(image, labels, 96, 0.5, rng)  # 192 plane pixels wide
        _, count = ndimage.label(picked)
        assert len(np.unique(picked)) - 1 == count
        total += count
    assert total > 24


def test_grey_planes_are_stretched_and_rgb_is_not() -> None:
    rng = np.random.default_rng(0)
    grey = to_rgb(np.linspace(1000, 3000, 10000).reshape(100, 100).astype(np.uint16), rng)
    assert grey.min() == 0
    assert grey.max() == 255
    colours = rng.integers(0, 90, (20, 20, 3)).astype(np.uint8)
    assert (to_rgb(colours, rng) == colours).all()


def test_colour_augmentation_keeps_shape_and_type() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    results = [augment_colours(image, np.random.default_rng(s)) for s in range(20)]
    assert all(r.shape == image.shape and r.dtype == np.uint8 for r in results)
    assert len({r.tobytes() for r in results}) > 10


def test_modalities_are_taken_by_the_beginning_of_their_name(tiny_run):
    planes = read_planes(tiny_run.data, "train")
    config = replace(tiny_run, modalities=("fluor",))
    (pool,) = CropStream(config, planes).pools.values()
    assert set(pool) == {"fluorescence_x"}


def test_colours_stay_where_they_are_not_to_vary(tiny_run, monkeypatch):
    monkeypatch.setattr("napari_sam.training.data.augment_colours", lambda image, rng: 0 * image)
    planes = read_planes(tiny_run.data, "train")
    assert not CropStream(tiny_run, planes).batch(0).images.any()
    assert CropStream(replace(tiny_run, vary_colours=False), planes).batch(0).images.any()


def test_a_share_of_the_real_crops_keeps_its_colours(tiny_run, monkeypatch):
    monkeypatch.setattr("napari_sam.training.data.augment_colours", lambda image, rng: 0 * image)
    planes = read_planes(tiny_run.data, "train")
    half = CropStream(replace(tiny_run, plain_share=0.5, planes=24), planes)
    plain = half.batch(0).images.flatten(1).any(1)
    assert 4 < plain.sum() < 20
    drawn = replace(tiny_run, plain_share=1.0, sources={"synthetic": 1.0})
    assert not CropStream(drawn, planes).batch(0).images.any()
