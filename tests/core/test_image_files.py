"""What files hold beside plain grey planes: deep colours, palettes, inks, alpha, several images."""

import sys

import imagecodecs
import imageio.v3
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_sam.image import ImageWarning
from napari_sam.io import UnreadableImageError, read_image, write_labels
from napari_sam.io.plane_array import PlaneArray
from napari_sam.io.units import pixel_sizes


def random(rng, *shape, dtype=np.uint8, high=None):
    high = high or np.iinfo(dtype).max
    return rng.integers(0, high, shape, dtype=dtype, endpoint=True)


class TestDeepPictures:
    @pytest.mark.parametrize("samples", [3, 4])
    def test_png_of_16_bit_colours_keeps_them(self, tmp_path, rng, samples):
        pixels = random(rng, 20, 30, samples, dtype=np.uint16)
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
        image = read_image(tmp_path / "a.png")
        assert image.axes == "YXS"
        assert image.plane().dtype == np.uint16
        np.testing.assert_array_equal(image.plane(), pixels)

    @pytest.mark.parametrize("more", [5, 30])
    def test_what_a_program_wrote_behind_the_end_of_a_png_does_no_harm(self, tmp_path, rng, more):
        pixels = random(rng, 20, 30, 3, dtype=np.uint16)
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels) + bytes(more))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").plane(), pixels)

    def test_png_of_16_bit_grey_with_alpha_keeps_the_grey(self, tmp_path, rng):
        pixels = random(rng, 20, 30, 2, dtype=np.uint16)
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
        image = read_image(tmp_path / "a.png")
        assert image.axes == "YX"
        np.testing.assert_array_equal(image.plane(), pixels[..., 0])

    @pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
    @pytest.mark.parametrize("bits", [12, 16])
    def test_jpeg_2000_keeps_its_values(self, tmp_path, rng, shape, bits):
        pixels = random(rng, *shape, dtype=np.uint16, high=2**bits - 1)
        encoded = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, bitspersample=bits)
        (tmp_path / "a.jp2").write_bytes(encoded)
        np.testing.assert_array_equal(read_image(tmp_path / "a.jp2").plane(), pixels)

    def test_without_its_decoder_colours_of_jpeg_2000_are_refused_and_grey_is_read(
        self, tmp_path, rng, monkeypatch
    ):
        grey = random(rng, 20, 30, dtype=np.uint16, high=4095)
        colour = random(rng, 20, 30, 3, dtype=np.uint16, high=4095)
        for name, pixels in (("grey", grey), ("colour", colour)):
            encoded = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, bitspersample=12)
            (tmp_path / f"{name}.jp2").write_bytes(encoded)
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
        np.testing.assert_array_equal(read_image(tmp_path / "grey.jp2").plane(), grey)
        with pytest.raises(UnreadableImageError, match=r"12 bits.*\[codecs\]"):
            read_image(tmp_path / "colour.jp2")


class TestOtherPictures:
    @pytest.mark.parametrize("suffix", [".bmp", ".webp", ".jp2", ".png"])
    def test_colours_are_those_that_were_written(self, tmp_path, rng, suffix):
        pixels = random(rng, 20, 30, 3)
        options = {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(pixels).save(tmp_path / f"a{suffix}", **options)
        image = read_image(tmp_path / f"a{suffix}")
        assert image.axes == "YXS"
        np.testing.assert_array_equal(image.plane(), pixels)

    @pytest.mark.parametrize("suffix", [".bmp", ".jp2"])
    def test_grey_values_are_those_that_were_written(self, tmp_path, rng, suffix):
        pixels = random(rng, 20, 30)
        Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
        image = read_image(tmp_path / f"a{suffix}")
        assert image.axes == "YX"
        np.testing.assert_array_equal(image.plane(), pixels)

    def test_gif_is_a_stack_over_time_as_napari_opens_it(self, tmp_path, rng):
        frames = [Image.fromarray(random(rng, 20, 30)) for _ in range(3)]
        frames[0].save(tmp_path / "one.gif")
        frames[0].save(tmp_path / "many.gif", save_all=True, append_images=frames[1:])
        for name, count in (("one", 1), ("many", 3)):
            image = read_image(tmp_path / f"{name}.gif")
            assert (image.axes, image.stack_shape) == ("TYXS", (count,))
            assert image.data.shape == imageio.v3.imread(tmp_path / f"{name}.gif").shape
            np.testing.assert_array_equal(image.plane((0,))[..., 0], np.asarray(frames[0]))

    def test_of_an_animated_webp_the_first_picture_is_read_with_a_notice(self, tmp_path, rng):
        first, second = (Image.fromarray(random(rng, 20, 30, 3)) for _ in range(2))
        first.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
        with pytest.warns(ImageWarning, match="2 pictures, of which the first was read"):
            image = read_image(tmp_path / "a.webp")
        np.testing.assert_array_equal(image.plane(), np.asarray(first))

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif"])
    def test_palette_is_read_by_its_colours(self, tmp_path, rng, suffix):
        picture = Image.fromarray(random(rng, 20, 30, 3)).quantize(16)
        picture.save(tmp_path / f"a{suffix}")
        plane = read_image(tmp_path / f"a{suffix}").data[..., :, :, :]
        np.testing.assert_array_equal(plane.reshape(20, 30, 3), np.asarray(picture.convert("RGB")))

    def test_cmyk_becomes_rgb_with_a_notice(self, tmp_path):
        picture = Image.new("RGB", (32, 32), (200, 40, 90))
        picture.convert("CMYK").save(tmp_path / "a.jpg", quality=100)
        with pytest.warns(ImageWarning, match="CMYK"):
            image = read_image(tmp_path / "a.jpg")
        assert image.axes == "YXS"
        assert np.abs(image.plane().astype(int) - (200, 40, 90)).max() <= 3

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".jp2"])
    @pytest.mark.parametrize("kept", [0.0, 0.1, 0.7])
    def test_truncated_picture_is_refused(self, tmp_path, rng, suffix, kept):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(random(rng, 64, 64, 3)).save(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(UnreadableImageError, match="as a picture"):
            read_image(path)

    @pytest.mark.parametrize("kept", [0.1, 0.7])
    @pytest.mark.parametrize("suffix", [".png", ".jp2"])
    def test_truncated_deep_picture_is_refused(self, tmp_path, rng, suffix, kept):
        pixels = random(rng, 64, 64, 3, dtype=np.uint16)
        encode = imagecodecs.png_encode if suffix == ".png" else imagecodecs.jpeg2k_encode
        content = encode(pixels)
        (tmp_path / f"a{suffix}").write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(UnreadableImageError, match="as a picture"):
            read_image(tmp_path / f"a{suffix}")


class TestTiffColours:
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("stack", [(), (4,)])
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_alpha_of_a_grey_tiff_is_dropped(self, tmp_path, rng, compression, stack, planar):
        pixels = random(rng, *stack, 20, 30, 2, dtype=np.uint16)
        stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, -3)
        tifffile.imwrite(
            tmp_path / "a.tif",
            stored,
            photometric="minisblack",
            planarconfig=planar,
            extrasamples=["unassalpha"],
            compression=compression,
        )
        image = read_image(tmp_path / "a.tif")
        assert (image.is_rgb, image.stack_shape) == (False, stack)
        for index, plane in image.planes():
            np.testing.assert_array_equal(plane, pixels[(*index, ..., 0)])

    def test_two_samples_without_alpha_are_channels(self, tmp_path, rng):
        pixels = random(rng, 20, 30, 2)
        tifffile.imwrite(
            tmp_path / "a.tif", pixels, photometric="minisblack", extrasamples=["unspecified"]
        )
        image = read_image(tmp_path / "a.tif")
        assert (image.axes, image.stack_shape) == ("CYX", (2,))

    def test_a_fourth_sample_that_is_no_alpha_is_reported(self, tmp_path, rng):
        pixels = random(rng, 20, 30, 4)
        tifffile.imwrite(
            tmp_path / "a.tif",
            pixels,
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unspecified"] * 3,
        )
        with pytest.warns(ImageWarning, match="without the fourth"):
            read_image(tmp_path / "a.tif")
        with pytest.warns(ImageWarning):
            image = read_image(tmp_path / "a.tif", axes="YXC", channel=3)
        np.testing.assert_array_equal(image.plane(), pixels[..., 3])

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_cmyk_becomes_rgb_with_a_notice(self, tmp_path, dtype, compression):
        most = np.iinfo(dtype).max
        inks = np.zeros((20, 30, 4), dtype)
        inks[:, 10:20] = (0, most, most, 0)  # red
        inks[:, 20:] = (0, 0, 0, most)  # black
        tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", compression=compression)
        with pytest.warns(ImageWarning, match="CMYK"):
            image = read_image(tmp_path / "a.tif")
        assert image.axes == "YXS"
        plane = image.plane()
        assert plane.dtype == dtype
        assert plane[0, ::10].tolist() == [[most] * 3, [most, 0, 0], [0, 0, 0]]

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_palette_without_an_order_is_read_by_its_colours(self, tmp_path, rng, compression):
        palette = random(rng, 3, 256, dtype=np.uint16)
        numbers = random(rng, 3, 20, 30)
        tifffile.imwrite(
            tmp_path / "a.tif",
            numbers,
            photometric="palette",
            colormap=palette,
            compression=compression,
        )
        with pytest.warns(ImageWarning, match="numbers of a palette"):
            image = read_image(tmp_path / "a.tif")
        assert (image.is_rgb, image.stack_shape) == (True, (3,))
        for (z,), plane in image.planes():
            np.testing.assert_array_equal(plane, (palette >> 8).T[numbers[z]])

    def test_palette_of_two_colours_has_an_order(self, tmp_path, rng):
        numbers = random(rng, 20, 30, high=1)
        palette = np.zeros((3, 256), np.uint16)
        palette[:, 0] = 65535
        tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="palette", colormap=palette)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").plane(), numbers)

    @pytest.mark.parametrize("name", ["green", "inverted", "gamma"])
    def test_numbers_of_a_palette_that_only_rises_or_falls_are_intensities(
        self, tmp_path, rng, name
    ):
        ramp = np.linspace(0, 65535, 256)
        palette = {
            "green": np.stack([ramp * 0, ramp, ramp * 0]),
            "inverted": np.stack([ramp[::-1]] * 3),
            "gamma": np.stack([ramp**2 / 65535, ramp, np.sqrt(ramp * 65535)]),
        }[name].astype(np.uint16)
        numbers = random(rng, 20, 30)
        tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="palette", colormap=palette)
        image = read_image(tmp_path / "a.tif")
        assert image.axes == "YX"
        np.testing.assert_array_equal(image.plane(), numbers)


class TestSeveralImages:
    def test_the_largest_series_is_read_and_the_rest_named(self, tmp_path, rng):
        large = random(rng, 5, 60, 80)
        with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
            tiff.write(random(rng, 12, 16), metadata=None)
            tiff.write(large, metadata=None)
        with pytest.warns(ImageWarning, match=r"largest.*5 x 60 x 80.*left out.*12 x 16"):
            image = read_image(tmp_path / "a.tif")
        assert image.data.shape == large.shape
        np.testing.assert_array_equal(image.plane((3,)), large[3])

    def test_ome_image_has_the_pixel_size_of_its_own(self, tmp_path, rng):
        small, large = random(rng, 12, 16), random(rng, 60, 80)
        with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
            for pixels, size in ((small, 4.0), (large, 0.5)):
                about = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
                tiff.write(pixels, metadata=about)
        with pytest.warns(ImageWarning, match="left out"):
            image = read_image(tmp_path / "a.ome.tif")
        np.testing.assert_array_equal(image.plane(), large)
        assert image.pixel_size == {"Y": 0.5, "X": 0.5}

    def test_of_equal_images_the_first_is_read_and_many_are_counted(self, tmp_path, rng):
        pixels = random(rng, 9, 20, 30)
        with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
            for one in pixels:
                tiff.write(one, metadata={"axes": "YX"})
        with pytest.warns(ImageWarning, match="and 3 more"):
            image = read_image(tmp_path / "a.ome.tif")
        np.testing.assert_array_equal(image.plane(), pixels[0])

    def test_a_preview_needs_no_notice(self, tmp_path, rng):
        pixels = random(rng, 60, 80)
        with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
            tiff.write(pixels[::8, ::8], subfiletype=1, metadata=None)
            tiff.write(pixels, metadata=None)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").plane(), pixels)

    def test_the_largest_image_of_a_zarr_collection_is_read(self, tmp_path, rng):
        outer = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        outer.attrs["bioformats2raw.layout"] = 3
        large = random(rng, 40, 50)
        for number, pixels in enumerate((large[:8, :8], large)):
            group = outer.create_group(str(number))
            group.create_array("0", shape=pixels.shape, dtype="u1")[...] = pixels
            axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
            group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
        with pytest.warns(ImageWarning, match=r"1 \(40 x 50\); left out: 0 \(8 x 8\)"):
            image = read_image(tmp_path / "a.zarr")
        np.testing.assert_array_equal(image.plane(), large)


class TestImageJ:
    def test_a_complete_plane_is_read_though_more_are_announced(self, tmp_path, rng):
        pixels = random(rng, 20, 30)
        announced = "ImageJ=1.53t\nimages=10\nslices=10\n"
        for name, options in (("plain", {}), ("packed", {"compression": "zlib"})):
            path = tmp_path / f"{name}.tif"
            tifffile.imwrite(path, pixels, description=announced, metadata=None, **options)
            with pytest.warns(ImageWarning, match="announces 10 planes, of which the file holds 1"):
                image = read_image(path)
            np.testing.assert_array_equal(image.plane(), pixels)

    def test_a_stack_behind_one_page_that_was_cut_is_refused(self, tmp_path, rng):
        pixels = random(rng, 6, 20, 30)
        announced = "ImageJ=1.53t\nimages=10\nslices=10\n"
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, pixels[0], description=announced, metadata=None)
        path.write_bytes(path.read_bytes() + pixels[1:].tobytes())
        with pytest.raises(UnreadableImageError, match="cut short"):
            read_image(path)


def write_lsm(path, pixels, voxel=(2e-7, 2e-7, 5e-7), interval=3.0):
    """A Zeiss LSM as far as its reader looks: a block of numbers, and a preview of each plane."""
    z, channels, rows, columns = pixels.shape
    known = {
        "MagicNumber": 0x400494C,
        "DimensionX": columns,
        "DimensionY": rows,
        "DimensionZ": z,
        "DimensionChannels": channels,
        "DimensionTime": 1,
        "DataType": 1,
        "ThumbnailX": 4,
        "ThumbnailY": 4,
        "VoxelSizeX": voxel[0],
        "VoxelSizeY": voxel[1],
        "VoxelSizeZ": voxel[2],
        "TimeIntervall": interval,
        "ScanType": 0,
    }
    dtype = np.dtype([(name, f"<{form}") for name, form in tifffile.TIFF.CZ_LSMINFO])
    block = np.zeros((), dtype)
    for name, value in known.items():
        block[name] = value
    block["StructureSize"] = dtype.itemsize
    tag = (34412, 1, dtype.itemsize, block.tobytes(), True)
    with tifffile.TiffWriter(path, byteorder="<") as tiff:
        for number, plane in enumerate(pixels):
            options = {"photometric": "minisblack", "metadata": None}
            tiff.write(
                plane, planarconfig="separate", extratags=[tag] if number == 0 else [], **options
            )
            tiff.write(plane[0, ::8, ::8], subfiletype=1, **options)


class TestLsm:
    def test_channels_depth_and_pixel_sizes_are_read_without_the_previews(self, tmp_path, rng):
        pixels = random(rng, 2, 3, 32, 40)
        write_lsm(tmp_path / "a.lsm", pixels)
        image = read_image(tmp_path / "a.lsm")
        assert image.axes == "ZCYX"
        assert image.pixel_size == pytest.approx({"Z": 0.5, "Y": 0.2, "X": 0.2})
        assert image.unit == "µm"
        for index, plane in image.planes():
            np.testing.assert_array_equal(plane, pixels[index])

    @pytest.mark.parametrize("kept", [0.0, 0.1, 0.7])
    def test_truncated_file_is_refused(self, tmp_path, rng, kept):
        path = tmp_path / "a.lsm"
        write_lsm(path, random(rng, 2, 3, 32, 40))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(UnreadableImageError, match=r"a\.lsm"):
            read_image(path)


class TestAxes:
    @pytest.mark.parametrize(
        ("shape", "axes", "plane_shape"),
        [
            ((40, 50, 1), "YX", (40, 50)),
            ((40, 50, 2), "CYX", (40, 50)),
            ((7, 40, 50, 1), "ZYX", (40, 50)),
            ((7, 40, 50, 2), "ZCYX", (40, 50)),
            ((160, 150, 6), "CYX", (160, 150)),
            ((40, 50, 6), "ZYX", (50, 6)),
        ],
    )
    def test_npy_with_samples_behind_the_columns_is_no_stack_of_slivers(
        self, tmp_path, rng, shape, axes, plane_shape
    ):
        pixels = random(rng, *shape)
        np.save(tmp_path / "a.npy", pixels)
        image = read_image(tmp_path / "a.npy")
        assert (image.axes, image.plane_shape) == (axes, plane_shape)
        if "C" in axes:
            np.testing.assert_array_equal(image.data, np.moveaxis(pixels, -1, axes.index("C")))

    def test_axes_given_are_those_of_the_file_itself(self, tmp_path, rng):
        pixels = random(rng, 3, 20, 30)
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", planarconfig="separate")
        np.save(tmp_path / "a.npy", np.moveaxis(pixels, 0, 2))
        for name, axes in (("a.tif", "CYX"), ("a.npy", "yxc")):
            image = read_image(tmp_path / name, axes=axes)
            assert image.axes == "CYX"
            np.testing.assert_array_equal(image.plane((1,)), pixels[1])

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["row", "column"], "YX"),
            (["time", "Row", "Column"], "TYX"),
            (["column", "row"], "YX"),
            (["slice", "height", "width"], "ZYX"),
            (["channel", "depth", "y", "x"], "CZYX"),
            (["a", "b"], "YX"),
            (["y1", "stage", "y", "x"], "QRYX"),
        ],
    )
    def test_ome_zarr_axes_may_have_any_name(self, tmp_path, rng, names, expected):
        pixels = random(rng, *(5, 6, 7, 8)[-len(names) :])
        group = zarr.open_group(tmp_path / "a.zarr", mode="w")
        group.create_array("0", shape=pixels.shape, dtype="u1")[...] = pixels
        axes = [{"name": name} for name in names]
        group.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}],
        }
        image = read_image(tmp_path / "a.zarr")
        assert image.axes == expected
        if names[0] == "column":
            pixels = pixels.T
        np.testing.assert_array_equal(
            image.plane(next(image.plane_indices())), pixels[(0,) * (pixels.ndim - 2)]
        )

    def test_space_defines_which_axes_with_unusual_names_are_rows_and_columns(self, tmp_path):
        group = zarr.open_group(tmp_path / "a.zarr", mode="w")
        group.create_array("0", shape=(5, 6, 7), dtype="u1")
        axes = [{"name": "p", "type": "space"}, {"name": "q", "type": "space"}, {"name": "moment"}]
        multiscales = [{"axes": axes, "datasets": [{"path": "0"}]}]
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
        assert read_image(tmp_path / "a.zarr").plane_shape == (5, 6)

    def test_array_with_words_as_dimension_names_is_read_by_them(self, tmp_path, rng):
        pixels = random(rng, 20, 30, 4)
        array = zarr.open_array(
            tmp_path / "a.zarr",
            mode="w",
            shape=pixels.shape,
            dtype="u1",
            dimension_names=["row", "column", "time"],
        )
        array[...] = pixels
        image = read_image(tmp_path / "a.zarr")
        assert image.axes == "TYX"
        np.testing.assert_array_equal(image.plane((2,)), pixels[..., 2])


class TestChannel:
    @pytest.mark.parametrize("suffix", [".tif", ".zarr", ".npy"])
    def test_one_channel_is_an_image_without_that_axis(self, tmp_path, rng, suffix):
        pixels = random(rng, 3, 2, 20, 30)
        path = tmp_path / f"a{suffix}"
        if suffix == ".npy":
            np.save(path, pixels)
        else:
            write_labels(path, pixels, "ZCYX", {"Z": 2.0, "Y": 1.0, "X": 1.0}, "µm")
        image = read_image(path, axes="ZCYX" if suffix == ".npy" else None, channel=1)
        assert image.axes == "ZYX"
        np.testing.assert_array_equal(image.plane((2,)), pixels[2, 1])
        np.testing.assert_array_equal(image.data, pixels[:, 1])

    def test_colours_are_channels_where_there_is_no_axis_of_them(self, tmp_path, rng):
        pixels = random(rng, 20, 30, 3)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png", channel=2)
        assert image.axes == "YX"
        np.testing.assert_array_equal(image.plane(), pixels[..., 2])

    @pytest.mark.parametrize("channel", [-1, 3])
    def test_channel_outside_is_refused(self, tmp_path, channel):
        np.save(tmp_path / "a.npy", np.zeros((20, 30, 3)))
        with pytest.raises(ValueError, match=f"from 0 to 2, got {channel}"):
            read_image(tmp_path / "a.npy", channel=channel)

    def test_image_without_channels_reports_what_it_has(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((5, 20, 30)))
        with pytest.raises(ValueError, match="'ZYX'"):
            read_image(tmp_path / "a.npy", channel=0)


class TestPixelSizes:
    @pytest.mark.parametrize("size", [np.inf, np.nan, -1.0])
    def test_a_size_that_is_none_means_not_known(self, size):
        assert pixel_sizes({"Y": (size, "µm"), "X": (0.5, "µm")}) == ({"X": 0.5}, "µm")
        assert pixel_sizes({"X": (size, "µm")}) == (None, None)

    def test_a_size_that_no_unit_can_hold_means_not_known(self):
        assert pixel_sizes({"X": (1e308, "m")})[0] is None

    def test_infinity_in_a_file_is_not_passed_on(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "a.ome.tif",
            np.zeros((20, 30), np.uint8),
            metadata={"axes": "YX", "PhysicalSizeX": float("inf"), "PhysicalSizeY": 2.0},
        )
        assert read_image(tmp_path / "a.ome.tif").pixel_size == {"Y": 2.0}

    def test_unit_of_digits_is_kept_as_a_word(self, tmp_path):
        sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "2", "TimeIncrementUnit": "1"}
        tifffile.imwrite(
            tmp_path / "a.ome.tif",
            np.zeros((3, 20, 30), np.uint8),
            metadata={"axes": "TYX", "TimeIncrement": 4.0, **sizes},
        )
        image = read_image(tmp_path / "a.ome.tif")
        assert (image.pixel_size, image.unit) == ({"X": 0.5}, "2")

    def test_description_of_another_structure_costs_only_the_pixel_sizes(self, tmp_path, rng):
        pixels = random(rng, 20, 30)
        tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"pixel_size": {"X": [1, 2]}})
        with pytest.warns(ImageWarning, match="pixel sizes in its description cannot be read"):
            image = read_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(image.plane(), pixels)

    def test_infinity_in_our_own_description_is_not_passed_on(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "a.tif",
            np.zeros((5, 20, 30), np.uint8),
            metadata={"axes": "QYX", "pixel_size": {"Y": float("inf"), "X": 2.0}},
        )
        assert read_image(tmp_path / "a.tif").pixel_size == {"X": 2.0}


class TestPlaneArray:
    @pytest.fixture
    def data(self, rng):
        return random(rng, 3, 4, 5, 6)

    @pytest.fixture
    def planes(self, data):
        self.read = []
        return PlaneArray(lambda at: self.read.append(at) or data[at], (3, 4), (5, 6), data.dtype)

    @pytest.mark.parametrize(
        "key",
        [
            (),
            1,
            (1, 2),
            (slice(None), 1),
            (slice(None, None, -2), slice(1, 3)),
            (..., 2),
            (0, ..., slice(1, 4)),
            (-1, -2, 3, 4),
            (slice(None), slice(None), 2),
            ([2, 0], 1),
            np.int64(2),
        ],
    )
    def test_indexing_gives_what_numpy_gives(self, planes, data, key):
        np.testing.assert_array_equal(planes[key], data[key])
        assert planes[key].shape == data[key].shape

    def test_only_planes_asked_for_are_read(self, planes):
        planes[1, 2]
        planes[1:, 0, :2]
        assert self.read == [(1, 2), (1, 0), (2, 0)]

    @pytest.mark.parametrize("key", [3, (0, 0, 0, 0, 0), (0, None), (0, 4)])
    def test_what_numpy_refuses_is_refused(self, planes, key):
        with pytest.raises(IndexError):
            planes[key]

    def test_it_becomes_an_array(self, planes, data):
        np.testing.assert_array_equal(np.asarray(planes), data)
        assert np.asarray(planes, float).dtype == float


def test_plane_of_a_zarr_with_transposed_axes_is_read_with_one_request(tmp_path, monkeypatch):
    array = zarr.open_array(
        tmp_path / "a.zarr",
        mode="w",
        shape=(12, 10, 4),
        chunks=(1, 1, 1),
        dtype="u1",
        dimension_names=["x", "y", "z"],
    )
    array[...] = np.arange(480).reshape(12, 10, 4) % 251
    image = read_image(tmp_path / "a.zarr")
    requests = []
    original = zarr.Array.__getitem__
    monkeypatch.setattr(
        zarr.Array, "__getitem__", lambda self, key: requests.append(key) or original(self, key)
    )
    plane = image.plane((3,))
    assert len(requests) == 1
    np.testing.assert_array_equal(plane, (np.arange(480).reshape(12, 10, 4) % 251)[..., 3].T)
