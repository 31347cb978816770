"""A named pipe or a device in place of a file is refused: opening it would wait for ever."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_sam.batch.inputs import prompts_of
from napari_sam.batch.manifest import NAME, Manifest
from napari_sam.io import UnreadableImageError, read_image, read_prompts, write_labels
from napari_sam.special_files import SpecialFileError, refuse_special

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes"),
    pytest.mark.timeout(30, func_only=True),
]


def pipe(path: Path) -> Path:
    """Put a named pipe there, in place of what there is."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_what_is_no_file_is_refused_and_named(tmp_path):
    with pytest.raises(SpecialFileError, match=r"cells\.tif: expected a file, found a named pipe"):
        refuse_special(pipe(tmp_path / "cells.tif"))
    with pytest.raises(SpecialFileError, match="found a device"):
        refuse_special(os.devnull)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(SpecialFileError, match="found a socket"):
            refuse_special(tmp_path / "s")


def test_link_to_a_named_pipe_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(pipe(tmp_path / "pipe"))
    with pytest.raises(SpecialFileError, match="link: expected"):
        refuse_special(tmp_path / "link")


def test_files_folders_and_nothing_are_left_to_whoever_opens_them(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", ".", "nothing", "loop", "file/below", "\0"):
        refuse_special(f"{tmp_path}/{name}")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".npy", ".zarr"])
def test_named_pipe_in_place_of_an_image_is_refused(tmp_path, suffix):
    path = pipe(tmp_path / f"cells{suffix}")
    with pytest.raises(ValueError, match="found a named pipe"):
        read_image(path)


def test_named_pipe_in_place_of_the_prompts_is_refused(tmp_path):
    with pytest.raises(ValueError, match="found a named pipe"):
        read_prompts(pipe(tmp_path / "clicks.csv"))
    with pytest.raises(ValueError, match="found a named pipe"):
        prompts_of(tmp_path / "cells.tif", tmp_path / "clicks.csv")


def test_named_pipe_in_place_of_the_batchs_record_is_refused(tmp_path):
    with pytest.raises(ValueError, match=rf"{re.escape(NAME)}: expected a file"):
        Manifest(pipe(tmp_path / NAME).parent)


def test_named_pipe_inside_a_zarr_image_is_refused(tmp_path):
    pytest.importorskip("zarr")
    path = tmp_path / "cells.zarr"
    write_labels(path, np.ones((2, 30, 40), np.uint8))
    (chunk,) = (p for p in (path / "0" / "1").rglob("*") if p.is_file())
    pipe(chunk)
    image = read_image(path)
    assert image.plane((0,)).all()
    with pytest.raises(UnreadableImageError, match="found a named pipe"):
        image.plane((1,))
    for name in (".zattrs", "0/.zarray", ".zgroup"):
        pipe(path / name)
        with pytest.raises(ValueError, match="found a named pipe"):
            read_image(path)


def test_named_pipe_among_the_files_of_one_image_is_refused(tmp_path):
    """An OME-TIFF names further files that hold some of its planes."""
    path = tmp_path / "cells.ome.tif"
    planes = np.zeros((2, 30, 40), np.uint8)
    tifffile.imwrite(path, planes, ome=True, metadata={"axes": "ZYX"})
    xml = tifffile.tiffcomment(path)
    uuid = "urn:uuid:6f2a9aa0-0000-0000-0000-000000000001"
    part = f'<UUID FileName="other.ome.tif">{uuid}</UUID>'
    first, second = (
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1">{inside}</TiffData>'
        for z, inside in ((0, ""), (1, part))
    )
    split = re.sub(r"<TiffData[^>]*/>|<TiffData.*?</TiffData>", first + second, xml, flags=re.S)
    assert "other.ome.tif" in split
    tifffile.tiffcomment(path, split)
    pipe(tmp_path / "other.ome.tif")
    with pytest.raises(UnreadableImageError, match="found a named pipe"):
        read_image(path)


def test_named_pipe_where_a_result_belongs_is_left(tmp_path):
    path = pipe(tmp_path / "labels.tif")
    with pytest.raises(ValueError, match="found a named pipe"):
        write_labels(path, np.ones((30, 40), np.uint8))
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_batch_goes_on_after_a_named_pipe(tmp_path):
    from napari_sam.batch.run import Job, run

    bad, good = pipe(tmp_path / "a.tif"), tmp_path / "b.tif"
    tifffile.imwrite(good, np.ones((30, 40), np.uint8))
    jobs = [Job(path, lambda: False, lambda report, p=path: read_image(p)) for path in (bad, good)]
    summary = run(jobs)
    assert summary.done == (good,)
    assert "named pipe" in summary.failed[0].reason


def test_named_pipe_in_place_of_a_training_configuration_or_its_data_is_refused(tmp_path):
    from napari_sam.training.config import read_config
    from napari_sam.training.data import read_planes
    from napari_sam.training.log import LogRows

    with pytest.raises(ValueError, match="found a named pipe"):
        read_config(pipe(tmp_path / "run.toml"))
    item = dict.fromkeys(("id", "source", "modality"), "a")
    item |= {"dims": "YX", "split": "train", "file": "a.npz"}
    (tmp_path / "manifest.json").write_text(json.dumps({"items": [item]}))
    pipe(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="found a named pipe"):
        read_planes(tmp_path, "train")
    with pytest.raises(ValueError, match="found a named pipe"):
        LogRows(pipe(tmp_path / "log.csv"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/zero")
def test_endless_device_is_refused_as_an_image(tmp_path):
    (tmp_path / "cells.npy").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="found a device"):
        read_image(tmp_path / "cells.npy")
