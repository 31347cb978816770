"""The samples inside the package: complete, licensed, and clicked where objects are."""

import doctest
import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import napari_sam.io.image_file
from napari_sam import samples
from napari_sam.io import read_image

LABELS = Path(__file__).parent / "data"
FOLDER = files("napari_sam") / "data" / "samples"


@pytest.fixture(params=samples.NAMES)
def sample(request):
    return samples.load(request.param)


def test_there_is_a_plane_a_stack_and_colour():
    axes = {name: samples.load(name).axes for name in samples.NAMES}
    assert axes == {
        "nuclei": "YX",
        "histology": "YXS",
        "phase_contrast": "YX",
        "ovule_3d": "ZYX",
        "embryo_3d": "ZYX",
        "neurites_3d": "ZYX",
    }


def test_pixels_are_in_memory_and_hold_an_image(sample):
    assert isinstance(sample.data, np.ndarray)
    assert sample.data.dtype == (np.uint16 if sample.name == "embryo_3d" else np.uint8)
    assert all(plane.std() > 5 for _, plane in sample.planes())


def test_every_pixel_size_is_in_micrometres(sample):
    if sample.name in ("phase_contrast", "ovule_3d", "embryo_3d", "neurites_3d"):
        assert sample.unit == "µm"
        assert set(sample.pixel_size) >= {"Y", "X"}
        assert set(sample.pixel_size) == set(sample.axes)
    else:
        assert (sample.pixel_size, sample.unit) == (None, None)


def test_every_click_is_inside_the_object_it_names(sample):
    labels = read_image(LABELS / f"{sample.name}.tif")
    assert len(sample.prompts) >= 10
    for (plane, number), prompts in sample.prompts.items():
        assert prompts.point_labels.tolist() == [1]
        row, column = prompts.points[0].astype(int)
        assert labels.plane(plane)[row, column] == number


def test_clicks_on_stacks_cover_several_planes():
    for name in ("ovule_3d", "embryo_3d", "neurites_3d"):
        assert len({plane for plane, _ in samples.load(name).prompts}) >= 3


def test_licence_and_credit_stand_beside_the_images(sample):
    notices = (FOLDER / "LICENCES.md").read_text(encoding="utf-8")
    assert f"`{sample.name}.tif`" in notices
    assert sample.licence in {"CC0-1.0", "MIT", "CC-BY-3.0"}
    assert sample.licence.replace("-BY-", " BY ").replace("CC0-", "CC0 ") in notices
    assert sample.title == samples.title(sample.name)
    assert sample.credit


def test_the_samples_stay_small_and_each_has_its_two_files():
    packed = [file for file in FOLDER.iterdir() if file.name.endswith((".tif", ".csv"))]
    assert {file.name for file in packed} == {
        f"{name}{suffix}" for name in samples.NAMES for suffix in (".tif", ".csv")
    }
    assert sum(len(file.read_bytes()) for file in packed) < 4_000_000


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"nuclei, histology, phase_contrast.*got 'cells'"):
        samples.load("cells")


def test_no_two_samples_are_the_same():
    digests = {hashlib.sha256((FOLDER / f"{n}.tif").read_bytes()).digest() for n in samples.NAMES}
    assert len(digests) == len(samples.NAMES)


@pytest.mark.parametrize("module", [samples, napari_sam.io.image_file])
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
