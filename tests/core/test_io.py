"""Images and label images survive a round trip; broken files say what is wrong."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import imageio.v3
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from napari_sam import io
from napari_sam.image import ImageWarning
from napari_sam.io import ImageFile, UnreadableImageError, read_image, write_labels
from napari_sam.io.image_file import arrange, guess_axes
from napari_sam.io.units import pixel_sizes
from napari_sam.prompts import Prompts


@pytest.fixture
def stack(rng):
    return rng.integers(0, 4000, (3, 5, 20, 30), dtype=np.uint16)


class Strange(Exception):
    """Of a decoder that nobody has heard of."""


def open_files() -> set[str]:
    return {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}


def assert_same_planes(image: ImageFile, expected: np.ndarray) -> None:
    assert tuple(image.data.shape) == expected.shape
    for index, plane in image.planes():
        np.testing.assert_array_equal(plane, expected[index])
        assert plane.flags.writeable
        assert plane.dtype.isnative


class TestTiff:
    @pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
    def test_imagej_hyperstack_keeps_axes_sizes_and_unit(self, tmp_path, stack, compression):
        tifffile.imwrite(
            tmp_path / "a.tif",
            stack,
            imagej=True,
            compression=compression,
            resolution=(1 / 0.25, 1 / 0.5),
            metadata={"axes": "TZYX", "unit": "micron", "spacing": 2.0, "finterval": 30.0},
        )
        image = read_image(tmp_path / "a.tif")
        assert image.axes == "TZYX"
        assert image.unit == "µm"
        assert image.pixel_size == pytest.approx({"T": 30.0, "Z": 2.0, "Y": 0.5, "X": 0.25})
        assert_same_planes(image, stack)

    @pytest.mark.parametrize("axes", ["TZYX", "CZYX", "ZCYX"])
    def test_ome_axes_in_any_order_and_sizes_in_any_unit(self, tmp_path, stack, axes):
        tifffile.imwrite(
            tmp_path / "a.ome.tif",
            stack,
            compression="zlib",
            metadata={
                "axes": axes,
                "PhysicalSizeX": 250,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.5,
                "PhysicalSizeYUnit": "µm",
                "PhysicalSizeZ": 0.002,
                "PhysicalSizeZUnit": "mm",
            },
        )
        image = read_image(tmp_path / "a.ome.tif")
        assert image.axes == axes
        assert image.pixel_size == pytest.approx({"Z": 2.0, "Y": 0.5, "X": 0.25})
        assert image.unit == "µm"
        assert_same_planes(image, stack)

    def test_only_the_planes_asked_for_are_read(self, tmp_path, stack, monkeypatch):
        tifffile.imwrite(tmp_path / "a.tif", stack, compression="zlib", metadata={"axes": "TZYX"})
        image = read_image(tmp_path / "a.tif")
        read = []
        original = tifffile.TiffFrame.asarray
        monkeypatch.setattr(
            tifffile.TiffFrame,
            "asarray",
            lambda self, **options: read.append(self.index) or original(self, **options),
        )
        np.testing.assert_array_equal(image.plane((2, 1)), stack[2, 1])
        assert read == [11]

    def test_uncompressed_pixels_are_mapped(self, tmp_path, stack):
        tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "TZYX"})
        image = read_image(tmp_path / "a.tif")
        assert isinstance(image.data, np.memmap)
        assert_same_planes(image, stack)

    def test_big_endian_pixels_come_in_the_machines_order(self, tmp_path, stack):
        tifffile.imwrite(tmp_path / "a.tif", stack, byteorder=">", metadata={"axes": "TZYX"})
        assert_same_planes(read_image(tmp_path / "a.tif"), stack)

    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_colour_samples_come_last(self, tmp_path, rng, planar):
        pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        stored = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
        tifffile.imwrite(
            tmp_path / "a.tif",
            stored,
            photometric="rgb",
            planarconfig=planar,
            compression="zlib",
        )
        image = read_image(tmp_path / "a.tif")
        assert (image.axes, image.is_rgb, image.plane_shape) == ("YXS", True, (20, 30))
        np.testing.assert_array_equal(image.plane(), pixels)

    def test_pyramid_opens_at_its_finest_level(self, tmp_path, rng):
        pixels = rng.integers(0, 255, (128, 128), dtype=np.uint8)
        with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
            tiff.write(pixels, subifds=1, tile=(64, 64), compression="zlib")
            tiff.write(pixels[::2, ::2], subfiletype=1, tile=(64, 64), compression="zlib")
        np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif").plane(), pixels)

    def test_dimensions_without_names_get_distinct_letters(self, tmp_path, stack):
        tifffile.imwrite(tmp_path / "a.tif", stack, metadata=None)
        image = read_image(tmp_path / "a.tif")
        assert image.axes.endswith("YX")
        assert len(set(image.axes)) == len(image.axes)

    def test_screen_resolution_is_no_pixel_size(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "a.tif",
            np.zeros((8, 8), np.uint8),
            resolution=(72, 72),
            resolutionunit="INCH",
            metadata=None,
        )
        assert read_image(tmp_path / "a.tif").pixel_size is None

    @pytest.mark.parametrize("kept", [0.02, 0.3, 0.6])
    @pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}])
    def test_truncated_file_is_refused_when_opened(self, tmp_path, stack, options, kept):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, stack, metadata={"axes": "TZYX"}, **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(UnreadableImageError, match=r"a\.tif"):
            read_image(path)

    def test_broken_description_costs_the_pixel_size_only(self, tmp_path, stack):
        path = tmp_path / "a.ome.tif"
        tifffile.imwrite(path, stack, metadata={"axes": "TZYX", "PhysicalSizeX": 2.0})
        path.write_bytes(path.read_bytes().replace(b'PhysicalSizeX="2.0"', b'PhysicalSizeX="2.x"'))
        with pytest.warns(ImageWarning, match="pixel sizes in its description cannot be read"):
            image = read_image(path)
        assert image.pixel_size is None
        np.testing.assert_array_equal(image.plane(next(image.plane_indices())), stack[0, 0])

    def test_a_plane_too_large_for_the_memory_is_reported(self, tmp_path, stack, monkeypatch):
        tifffile.imwrite(tmp_path / "a.tif", stack, compression="zlib", metadata={"axes": "TZYX"})
        image = read_image(tmp_path / "a.tif")

        def refuse(self, **options):
            raise MemoryError

        monkeypatch.setattr(tifffile.TiffFrame, "asarray", refuse)
        with pytest.raises(UnreadableImageError, match="plane"):
            image.plane((1, 1))

    @pytest.mark.parametrize("options", [{}, {"imagej": True}])
    def test_a_file_cut_behind_its_last_pixel_is_still_complete(self, tmp_path, stack, options):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, stack, metadata={"axes": "TZYX"}, **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.95)])
        assert_same_planes(read_image(path), stack)

    def test_damaged_plane_is_named_and_the_others_are_read(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, stack, compression="zlib", metadata={"axes": "TZYX"})
        with tifffile.TiffFile(path) as tiff:
            offset = tiff.pages[6].dataoffsets[0]
        content = bytearray(path.read_bytes())
        content[offset : offset + 40] = b"\xff" * 40
        path.write_bytes(content)
        image = read_image(path)
        np.testing.assert_array_equal(image.plane((0, 0)), stack[0, 0])
        with pytest.raises(UnreadableImageError, match="plane 6"):
            image.plane((1, 1))

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
    @pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
    def test_no_file_stays_open(self, tmp_path, stack, options):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, stack, metadata={"axes": "TZYX"}, **options)
        image = read_image(path)
        image.plane((0, 1))
        if isinstance(image.data, np.memmap):
            del image
        assert str(path) not in open_files()

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
    def test_no_file_stays_open_after_a_failure(self, tmp_path):
        path = tmp_path / "a.tif"
        path.write_bytes(b"II*\0" + b"\xff" * 300)
        with pytest.raises(UnreadableImageError):
            read_image(path)
        assert str(path) not in open_files()


class TestPictures:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_grey_png_keeps_its_depth(self, tmp_path, rng, dtype):
        pixels = rng.integers(0, np.iinfo(dtype).max, (20, 30), dtype=dtype)
        imageio.v3.imwrite(tmp_path / "a.png", pixels)
        image = read_image(tmp_path / "a.png")
        assert image.axes == "YX"
        np.testing.assert_array_equal(image.plane(), pixels)

    @pytest.mark.parametrize("samples", [3, 4])
    def test_colour_png_has_samples_last(self, tmp_path, rng, samples):
        pixels = rng.integers(0, 255, (20, 30, samples), dtype=np.uint8)
        imageio.v3.imwrite(tmp_path / "a.png", pixels)
        image = read_image(tmp_path / "a.png")
        assert image.axes == "YXS"
        np.testing.assert_array_equal(image.plane(), pixels)

    def test_transparency_of_a_grey_png_is_dropped(self, tmp_path, rng):
        pixels = rng.integers(0, 255, (20, 30, 2), dtype=np.uint8)
        imageio.v3.imwrite(tmp_path / "a.png", pixels)
        image = read_image(tmp_path / "a.png")
        assert image.axes == "YX"
        np.testing.assert_array_equal(image.plane(), pixels[..., 0])

    def test_suffix_in_capitals_is_read(self, tmp_path):
        imageio.v3.imwrite(tmp_path / "A.JPG", np.full((16, 16, 3), 90, np.uint8))
        assert read_image(tmp_path / "A.JPG").plane_shape == (16, 16)

    @pytest.mark.parametrize("suffix", [".png", ".jpg"])
    @pytest.mark.parametrize("kept", [0.0, 0.1, 0.7])
    def test_truncated_picture_is_refused(self, tmp_path, rng, suffix, kept):
        path = tmp_path / f"a{suffix}"
        imageio.v3.imwrite(path, rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(UnreadableImageError, match="as a picture"):
            read_image(path)

    def test_a_picture_too_large_for_its_decoder_is_refused_with_advice(
        self, tmp_path, monkeypatch
    ):
        imageio.v3.imwrite(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
        monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(UnreadableImageError, match="save it as TIFF"):
            read_image(tmp_path / "a.png")


class TestNpy:
    def test_pixels_are_mapped_and_axes_guessed(self, tmp_path, stack):
        np.save(tmp_path / "a.npy", stack)
        image = read_image(tmp_path / "a.npy")
        assert image.axes == "TZYX"
        assert isinstance(image.data, np.memmap)
        assert_same_planes(image, stack)

    @pytest.mark.parametrize("garbage", [b"{'descr': '<u2', 'shape': (3, ", b"\xff" * 30, b"1+1"])
    def test_broken_heading_is_refused(self, tmp_path, stack, garbage):
        path = tmp_path / "a.npy"
        np.save(path, stack)
        content = path.read_bytes()
        path.write_bytes(content[:10] + garbage + content[10 + len(garbage) :])
        with pytest.raises(UnreadableImageError, match="as NPY"):
            read_image(path)

    @pytest.mark.parametrize("kept", [0.0, 0.001, 0.5])
    def test_truncated_file_is_refused(self, tmp_path, stack, kept):
        path = tmp_path / "a.npy"
        np.save(path, stack)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(UnreadableImageError, match="as NPY"):
            read_image(path)

    def test_pickled_objects_are_never_loaded(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[{}, {}]], dtype=object), allow_pickle=True)
        with pytest.raises(UnreadableImageError, match="as NPY"):
            read_image(tmp_path / "a.npy")

    def test_archive_of_arrays_under_its_name_is_refused(self, tmp_path, stack):
        np.savez(tmp_path / "a.npz", stack)
        (tmp_path / "a.npz").rename(tmp_path / "a.npy")
        with pytest.raises(UnreadableImageError, match="NPZ"):
            read_image(tmp_path / "a.npy")

    @pytest.mark.parametrize(
        ("pixels", "reason"),
        [
            (np.zeros(5), "at least 2 dimensions"),
            (np.zeros((0, 5)), "no pixels"),
            (np.array([["a", "b"]]), "expected numbers"),
        ],
    )
    def test_arrays_that_are_no_images_are_refused(self, tmp_path, pixels, reason):
        np.save(tmp_path / "a.npy", pixels)
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(tmp_path / "a.npy")


def write_ome_zarr(path, pixels, version, axes, scale, units=None):
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    for level, step in enumerate((1, 2)):
        coarse = pixels[..., ::step, ::step]
        array = group.create_array(str(level), shape=coarse.shape, dtype=coarse.dtype)
        array[...] = coarse
    units = units or {}
    multiscales = [
        {
            "axes": [
                {"name": axis} | ({"unit": units[axis]} if axis in units else {}) for axis in axes
            ],
            "datasets": [
                {
                    "path": str(level),
                    "coordinateTransformations": [{"type": "scale", "scale": scale}],
                }
                for level in (0, 1)
            ],
            "version": "0.4",
        }
    ]
    if version == "0.4":
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}


class TestZarr:
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_ome_zarr_opens_its_finest_level_with_axes_and_sizes(self, tmp_path, stack, version):
        write_ome_zarr(
            tmp_path / "a.ome.zarr",
            stack,
            version,
            "czyx",
            [1.0, 500.0, 250.0, 250.0],
            dict.fromkeys("zyx", "nanometer"),
        )
        image = read_image(tmp_path / "a.ome.zarr")
        assert image.axes == "CZYX"
        assert image.pixel_size == pytest.approx({"Z": 0.5, "Y": 0.25, "X": 0.25})
        assert image.unit == "µm"
        assert isinstance(image.data, zarr.Array)
        assert_same_planes(image, stack)

    def test_sizes_without_a_unit_stay_as_they_are(self, tmp_path, stack):
        write_ome_zarr(tmp_path / "a.zarr", stack, "0.4", "tzyx", [1.0, 2.0, 0.5, 0.5])
        image = read_image(tmp_path / "a.zarr")
        assert image.pixel_size == {"Z": 2.0, "Y": 0.5, "X": 0.5}
        assert image.unit is None

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_plain_array_is_read_without_a_suffix_too(self, tmp_path, stack, zarr_format):
        array = zarr.open_array(
            tmp_path / "a", mode="w", shape=stack.shape, dtype="u2", zarr_format=zarr_format
        )
        array[...] = stack
        image = read_image(tmp_path / "a")
        assert image.axes == "TZYX"
        assert_same_planes(image, stack)

    def test_first_image_of_a_bioformats_collection_is_read(self, tmp_path, stack):
        outer = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        outer.attrs["bioformats2raw.layout"] = 3
        write_ome_zarr(tmp_path / "a.zarr" / "0", stack, "0.4", "tzyx", [1.0] * 4)
        assert_same_planes(read_image(tmp_path / "a.zarr"), stack)

    def test_group_without_an_image_lists_what_it_holds(self, tmp_path):
        group = zarr.open_group(tmp_path / "a.zarr", mode="w")
        group.create_array("nuclei", shape=(4, 4), dtype="u1")
        with pytest.raises(UnreadableImageError, match="nuclei"):
            read_image(tmp_path / "a.zarr")

    @pytest.mark.parametrize("file", ["zarr.json", "0/zarr.json"])
    def test_truncated_metadata_is_refused(self, tmp_path, stack, file):
        write_ome_zarr(tmp_path / "a.zarr", stack, "0.5", "tzyx", [1.0] * 4)
        path = tmp_path / "a.zarr" / file
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(UnreadableImageError, match=r"a\.zarr"):
            read_image(tmp_path / "a.zarr")

    def test_truncated_chunk_is_refused_when_its_plane_is_read(self, tmp_path, stack):
        write_labels(tmp_path / "a.zarr", stack)
        chunk = tmp_path / "a.zarr/0/1/2/0/0"
        chunk.write_bytes(chunk.read_bytes()[:20])
        image = read_image(tmp_path / "a.zarr")
        np.testing.assert_array_equal(image.plane((0, 0)), stack[0, 0])
        with pytest.raises(UnreadableImageError, match=r"plane \(1, 2\)"):
            image.plane((1, 2))

    @pytest.mark.parametrize("codec", ["Zlib", "LZMA", "GZip", "BZ2", "Blosc"])
    def test_damaged_chunk_is_refused_whatever_its_decoder_raises(self, tmp_path, stack, codec):
        compressor = getattr(numcodecs, codec)()
        path = tmp_path / "a.zarr"
        zarr.create_array(path, data=stack[0, 0], zarr_format=2, compressors=compressor)
        chunk = path / "0.0"
        content = bytearray(chunk.read_bytes())
        content[10:60] = bytes(50)
        chunk.write_bytes(content)
        with pytest.raises(UnreadableImageError, match=r"cannot read plane \(\)"):
            read_image(path).plane()

    @pytest.mark.parametrize(
        "metadata",
        [
            "[]",
            "5",
            "null",
            "[" * 100_000,
            '{"zarr_format": 3, "node_type": "group", "attributes": {"ome": 5}}',
            '{"zarr_format": 3, "node_type": "group", "attributes": {"multiscales": {"0": 1}}}',
        ],
        ids=["list", "number", "null", "deep", "OME number", "OME mapping"],
    )
    def test_metadata_of_the_wrong_shape_are_refused(self, tmp_path, metadata):
        path = tmp_path / "a.zarr"
        path.mkdir()
        (path / "zarr.json").write_text(metadata)
        with pytest.raises(UnreadableImageError, match=r"cannot read .*a\.zarr"):
            read_image(path)

    def test_without_the_library_the_extra_is_named(self, tmp_path, stack, monkeypatch):
        write_labels(tmp_path / "a.zarr", stack)
        monkeypatch.setitem(__import__("sys").modules, "zarr", None)
        with pytest.raises(ImportError, match=r"napari-sam-live\[zarr\]"):
            read_image(tmp_path / "a.zarr")


class TestLabels:
    @pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".tiff", ".zarr"])
    @pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "TCZYX", "QZYX"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32])
    def test_axes_sizes_unit_and_type_survive(self, tmp_path, rng, suffix, axes, dtype):
        labels = rng.integers(0, 200, (2, 3, 4, 16, 24)[5 - len(axes) :]).astype(dtype)
        sizes = {"Z": 0.5, "Y": 0.21, "X": 0.2}
        if "T" in axes:
            sizes["T"] = 12.5
        sizes = {axis: size for axis, size in sizes.items() if axis in axes}
        write_labels(tmp_path / f"a{suffix}", labels, axes, sizes, "µm")
        image = read_image(tmp_path / f"a{suffix}")
        assert image.axes == axes
        assert image.pixel_size == pytest.approx(sizes)
        assert image.unit == "µm"
        assert image.data.dtype == dtype
        assert_same_planes(image, labels)

    @pytest.mark.parametrize("suffix", [".tif", ".zarr"])
    def test_sizes_without_a_unit_come_back_without_one(self, tmp_path, suffix):
        write_labels(tmp_path / f"a{suffix}", np.eye(9, dtype=int), "YX", {"Y": 2.0, "X": 3.0})
        image = read_image(tmp_path / f"a{suffix}")
        assert (image.pixel_size, image.unit) == ({"Y": 2.0, "X": 3.0}, None)

    @pytest.mark.parametrize("suffix", [".tif", ".zarr"])
    def test_labels_without_sizes_come_back_without_any(self, tmp_path, suffix):
        write_labels(tmp_path / f"a{suffix}", np.eye(9, dtype=int))
        image = read_image(tmp_path / f"a{suffix}")
        assert (image.pixel_size, image.unit) == (None, None)

    def test_an_images_geometry_can_be_passed_on(self, tmp_path):
        write_labels(
            tmp_path / "a.tif", np.eye(9, dtype=int), "YX", {"T": 1.0, "Y": 2.0, "X": 2.0}, "µm"
        )
        assert read_image(tmp_path / "a.tif").pixel_size == {"Y": 2.0, "X": 2.0}

    @pytest.mark.parametrize("suffix", [".tif", ".zarr"])
    def test_labels_are_compressed(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        write_labels(path, np.ones((3, 256, 256), np.int32))
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        assert sum(file.stat().st_size for file in files) < 3 * 256 * 256 * 4 / 20

    def test_tags_alone_give_the_pixel_size(self, tmp_path):
        write_labels(tmp_path / "a.tif", np.eye(9, dtype=int), "YX", {"Y": 0.5, "X": 0.25}, "µm")
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            tags = tiff.pages[0].tags
            assert tags["ResolutionUnit"].value == 3
            pixels, centimetres = tags["XResolution"].value
            assert pixels / centimetres == pytest.approx(1e4 / 0.25)

    def test_dask_labels_are_written_plane_by_plane(self, tmp_path, rng):
        import dask.array

        labels = rng.integers(0, 9, (5, 16, 16))
        write_labels(tmp_path / "a.tif", dask.array.from_array(labels, chunks=(1, 16, 16)))
        assert_same_planes(read_image(tmp_path / "a.tif"), labels.astype(np.int32))

    @pytest.mark.parametrize(
        ("largest", "expected"), [(2**31 - 1, np.int32), (2**31, np.uint32), (2**32 - 1, np.uint32)]
    )
    def test_64_bit_labels_take_the_narrow_type_that_holds_them(self, tmp_path, largest, expected):
        labels = np.array([[0, largest], [1, 0]])
        write_labels(tmp_path / "a.tif", labels)
        image = read_image(tmp_path / "a.tif")
        assert image.data.dtype == expected
        np.testing.assert_array_equal(image.plane(), labels)

    @pytest.mark.parametrize("suffix", [".tif", ".zarr"])
    @pytest.mark.parametrize(
        "labels",
        [np.full((3, 4, 4), 2**40), np.array([[-1, 2**31]]), np.array([[0, 2**64 - 1]], "u8")],
        ids=["2**40", "signed", "uint64"],
    )
    def test_labels_that_need_64_bits_keep_them(self, tmp_path, labels, suffix):
        axes, sizes = "ZYX"[-labels.ndim :], {"Y": 0.5, "X": 0.25}
        write_labels(tmp_path / f"a{suffix}", labels, axes, sizes, "µm")
        image = read_image(tmp_path / f"a{suffix}")
        assert image.data.dtype == labels.dtype
        assert (image.axes, image.pixel_size, image.unit) == (axes, sizes, "µm")
        assert_same_planes(image, labels)

    @pytest.mark.parametrize(
        ("labels", "axes", "error", "reason"),
        [
            (np.zeros((4, 4)), "YX", TypeError, "integer labels, got float64"),
            (np.zeros((4, 4), int), "ZYX", ValueError, "one letter for each"),
            (np.zeros((4, 4, 3), int), "YXS", ValueError, "end in YX"),
        ],
    )
    def test_what_is_no_label_image_is_refused_before_writing(
        self, tmp_path, labels, axes, error, reason
    ):
        with pytest.raises(error, match=reason):
            write_labels(tmp_path / "a.tif", labels, axes)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", [".tif", ".zarr"])
    def test_a_failed_write_leaves_the_old_file_and_nothing_else(self, tmp_path, suffix):
        class Broken:
            shape, dtype = (3, 8, 8), np.dtype(np.uint8)

            def __getitem__(self, index):
                if index == (1,):
                    raise OSError("no space left on device")
                return np.ones((8, 8), np.uint8)

        path = tmp_path / f"a{suffix}"
        write_labels(path, np.full((8, 8), 7))
        with pytest.raises(OSError, match="no space"):
            write_labels(path, Broken())
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        np.testing.assert_array_equal(read_image(path).plane(), 7)

    @pytest.mark.parametrize("suffix", [".tif", ".zarr"])
    def test_an_existing_label_image_is_replaced(self, tmp_path, suffix):
        for value in (1, 2):
            write_labels(tmp_path / f"new/a{suffix}", np.full((8, 8), value))
        np.testing.assert_array_equal(read_image(tmp_path / f"new/a{suffix}").plane(), 2)
        assert len(list((tmp_path / "new").iterdir())) == 1

    @pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
    def test_a_folder_of_other_things_is_never_replaced(self, tmp_path, name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
        with pytest.raises(FileExistsError, match="left as it is"):
            write_labels(tmp_path / name, np.eye(4, dtype=int))
        assert (tmp_path / name / "thesis.txt").exists()

    def test_unsupported_format_lists_the_supported_ones(self, tmp_path):
        with pytest.raises(ValueError, match=r"\.tif, \.tiff, \.zarr"):
            write_labels(tmp_path / "a.png", np.eye(4, dtype=int))


class TestReadImage:
    def test_unsupported_format_lists_the_supported_ones(self, tmp_path):
        (tmp_path / "a.czi").write_bytes(b"x")
        with pytest.raises(ValueError, match=r"expected one of \.tif.*\.zarr, got '\.czi'"):
            read_image(tmp_path / "a.czi")

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.tif"):
            read_image(tmp_path / "nowhere.tif")

    def test_folder_of_images_is_no_image(self, tmp_path):
        with pytest.raises(ValueError, match="got the folder"):
            read_image(tmp_path)

    @pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".npy", ".zarr"])
    def test_a_text_file_under_an_images_name_is_refused(self, tmp_path, suffix):
        (tmp_path / f"a{suffix}").write_text("not an image\n" * 50)
        with pytest.raises(UnreadableImageError, match="cannot read"):
            read_image(tmp_path / f"a{suffix}")

    @pytest.mark.parametrize("suffix", [".tif", ".zarr", ".npy"])
    def test_axes_given_by_the_user_win(self, tmp_path, rng, suffix):
        pixels = rng.integers(0, 200, (20, 30, 5), dtype=np.uint8)
        path = tmp_path / f"a{suffix}"
        if suffix == ".npy":
            np.save(path, pixels)
        else:
            write_labels(path, pixels, "ZYX")
        image = read_image(path, axes="yxt")
        assert image.axes == "TYX"
        np.testing.assert_array_equal(image.plane((3,)), pixels[..., 3])

    def test_axes_that_do_not_fit_are_refused(self, tmp_path, stack):
        np.save(tmp_path / "a.npy", stack)
        with pytest.raises(ValueError, match="one letter for each of the 4 dimensions"):
            read_image(tmp_path / "a.npy", axes="ZYX")


class TestImageFile:
    @pytest.mark.parametrize("error", [zlib.error("bad"), KeyError("a"), struct.error(), Strange()])
    def test_any_error_of_reading_a_plane_is_one_error(self, error):
        class Broken:
            shape, dtype = (4, 5), np.dtype(np.uint8)

            def __getitem__(self, key):
                raise error

        with pytest.raises(UnreadableImageError, match="cannot read plane") as caught:
            ImageFile(Broken(), "YX").plane()
        assert caught.value.__cause__ is error

    def test_planes_run_over_every_axis_that_is_not_of_a_plane(self, stack):
        image = ImageFile(stack, "TZYX")
        indices = list(image.plane_indices())
        assert (len(indices), indices[:2], indices[-1]) == (15, [(0, 0), (0, 1)], (2, 4))

    @pytest.mark.parametrize("index", [(), (1,), (0, 5), (-1, 0)])
    def test_index_outside_is_refused(self, stack, index):
        with pytest.raises(IndexError, match="TZ"):
            ImageFile(stack, "TZYX").plane(index)

    @pytest.mark.parametrize("axes", ["YX", "TYXZ", "TTYX", "TZCX"])
    def test_axes_must_describe_the_data(self, stack, axes):
        with pytest.raises(ValueError, match="axes"):
            ImageFile(stack, axes)

    @pytest.mark.parametrize(
        ("shape", "axes"),
        [
            ((20, 30), "YX"),
            ((20, 30, 3), "YXS"),
            ((3, 20, 30), "ZYX"),
            ((5, 20, 30, 4), "ZYXS"),
            ((2, 3, 4, 20, 30), "TCZYX"),
            ((6, 2, 3, 4, 20, 30), "QTCZYX"),
            ((4, 4, 3), "ZYX"),
        ],
    )
    def test_guessed_axes(self, shape, axes):
        assert guess_axes(shape) == axes

    def test_two_samples_are_channels_not_colours(self):
        data, axes = arrange(np.zeros((20, 30, 2)), "YXS")
        assert (axes, data.shape) == ("CYX", (2, 20, 30))

    @pytest.mark.parametrize("size", [0.0, -1.0, np.inf, np.nan])
    def test_pixel_sizes_must_be_positive_and_finite(self, stack, size):
        with pytest.raises(ValueError, match="positive and finite"):
            ImageFile(stack, "TZYX", {"Z": size})

    def test_masked_pixels_are_read_as_nan(self, stack):
        image = ImageFile(np.ma.masked_less(stack, 300), "TZYX")
        for index, plane in image.planes():
            np.testing.assert_array_equal(np.isnan(plane), stack[index] < 300)


class TestPixelSizes:
    def test_lengths_of_mixed_units_become_micrometres(self):
        sizes = {"Z": (0.002, "mm"), "Y": (250, "nm"), "X": (0.25, "micron"), "T": (2, "min")}
        assert pixel_sizes(sizes) == (
            pytest.approx({"Z": 2.0, "Y": 0.25, "X": 0.25, "T": 120.0}),
            "µm",
        )

    def test_unknown_unit_is_kept_with_the_sizes(self):
        assert pixel_sizes({"Y": (2.0, "furlong")}) == ({"Y": 2.0}, "furlong")

    def test_zero_means_not_known(self):
        assert pixel_sizes({"Y": (0.0, "µm")}) == (None, None)


class TestOverlay:
    def test_outline_is_opaque_fill_is_light_and_background_untouched(self, tmp_path):
        image = np.full((20, 20, 3), 100, np.uint8)
        labels = np.zeros((20, 20), int)
        labels[5:15, 5:15] = 3
        io.write_overlay(tmp_path / "a.png", image, labels, opacity=0.5)
        picture = imageio.v3.imread(tmp_path / "a.png").astype(int)
        outline, fill = picture[5, 8], picture[10, 10]
        assert (picture[labels == 0] == 100).all()
        assert np.ptp(outline) > 100
        np.testing.assert_allclose(fill, (outline + 100) / 2, atol=1)

    def test_neighbouring_numbers_differ_in_colour(self):
        from napari_sam.io.overlay import label_colour

        colours = np.array([label_colour(number) for number in range(1, 300)], dtype=int)
        assert (np.abs(np.diff(colours, axis=0)).sum(1) > 150).all()

    def test_clicks_show_by_colour_and_shape(self):
        image, labels = np.full((40, 60, 3), 128, np.uint8), np.zeros((40, 60), int)
        prompts = [Prompts([(10, 10), (30, 45)], [1, 0])]
        picture = io.draw_overlay(image, labels, prompts)
        assert tuple(picture[10, 10]) == (0, 255, 0)
        assert picture[30, 45, 0] > 200 > picture[30, 45, 1]

    def test_click_on_the_border_is_drawn_inside(self):
        image, labels = np.full((40, 60, 3), 128, np.uint8), np.zeros((40, 60), int)
        picture = io.draw_overlay(image, labels, [Prompts([(0, 0), (39, 59)], [1, 0])])
        assert picture.shape == (40, 60, 3)
        assert tuple(picture[0, 0]) == (0, 255, 0)

    def test_stack_of_labels_is_refused(self):
        with pytest.raises(ValueError, match="one plane at a time"):
            io.draw_overlay(np.zeros((20, 20)), np.zeros((3, 20, 20), int))

    def test_only_png_is_written(self, tmp_path):
        with pytest.raises(ValueError, match=r"\.png"):
            io.write_overlay(tmp_path / "a.jpg", np.zeros((9, 9)), np.zeros((9, 9), int))


def test_formats_named_in_the_lists_are_all_read_and_written(tmp_path):
    for suffix in io.LABEL_FORMATS:
        write_labels(tmp_path / f"a{suffix}", np.eye(8, dtype=int))
    for suffix in set(io.IMAGE_FORMATS) - set(io.LABEL_FORMATS) - {".npy"}:
        imageio.v3.imwrite(tmp_path / f"a{suffix}", np.eye(8, dtype=np.uint8))
    np.save(tmp_path / "a.npy", np.eye(8))
    for suffix in io.IMAGE_FORMATS:
        assert read_image(tmp_path / f"a{suffix}").plane_shape == (8, 8)
    shutil.rmtree(tmp_path / "a.zarr")
