"""What a user waits for: opening the dock, until it is ready, and the first click's answers.

Four images, each in a new process that has torch already: the sample `nuclei`, planes of 512 x 512
and 6000 x 6000 (dask) with nuclei drawn on them, and a multiscale OME-Zarr of 4096 x 4096. The
click is that of a hand: a point in the prompts layer, at the moment the light turns green. *First
answer* is what the canvas shows first, a draft or the mask; *mask* is when the mask is in the
labels. Beside it the longest time the window was held in each phase, and what napari alone takes to
show an image's labels, made and added without the plugin in the same process. Nothing is read from
a cache of earlier runs. Needs a screen; on a machine without one:

    xvfb-run -a -s "-screen 0 1920x1200x24 +extension GLX" python benchmarks/first_click.py

With `--early` the click comes before the dock is ready.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES = ("nuclei", "512", "6000", "ome-zarr")
_PATIENCE = 120  # seconds


def main() -> None:
    """Measure each image, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", default=IMAGES, choices=[*IMAGES, "20000"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--early", action="store_true", help="click before the dock is ready")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.early)), flush=True)
        os._exit(0)
    results = {}
    for image in arguments.images:
        rows = [_in_a_new_process(image, arguments.early) for _ in range(arguments.repetitions)]
        results[image] = {name: sorted(row[name] for row in rows) for name in rows[0]}
        print(image)
        for name, values in results[image].items():
            print(f"  {name:32} {values[len(values) // 2]:8}   {values}")
    if arguments.json:
        about = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "early": arguments.early}
        arguments.json.write_text(json.dumps({"about": about, "results": results}, indent=2))


def measure(name: str, early: bool) -> dict[str, float]:
    """Open a viewer with an image, then the dock, and click."""
    import napari
    from gui_heartbeat import Heart, run_for
    from napari.layers import Labels

    encodes = []

    def load(model, device, progress):
        """Load as the dock does, and count the runs of the encoder."""
        from napari_sam.gui.models import load_for_viewer
        from napari_sam.segmentation.own_process import ProcessSegmenter

        embed_pixels = ProcessSegmenter.embed_pixels

        def counted(self, *arguments, **options):
            encodes.append(time.perf_counter())
            return embed_pixels(self, *arguments, **options)

        ProcessSegmenter.embed_pixels = counted
        return load_for_viewer(0)(model, device, progress)

    folder = tempfile.TemporaryDirectory()
    os.environ["NAPARI_SAM_HOME"] = folder.name
    data, click = picture(name, Path(folder.name))
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    run_for(1)
    multiscale = isinstance(data, list)
    image = viewer.add_image(data, multiscale=multiscale, contrast_limits=(0, 255))
    run_for(1)
    viewer.layers.append(Labels(np.zeros((64, 64), np.int32)))  # the first of a kind takes longer
    run_for(1)
    del viewer.layers[1:]
    run_for(1)
    shape = data[0].shape if multiscale else data.shape
    alone = {}
    for dtype in ("int32", "uint16"):
        start = time.perf_counter()
        viewer.layers.append(Labels(np.zeros(shape, dtype), opacity=0.5))
        run_for(0)
        alone[dtype] = time.perf_counter() - start
        run_for(1)
        del viewer.layers[1:]
        run_for(1)
    viewer.layers.selection.active = image

    heart, figures = Heart(), {}
    heart.start()
    run_for(0.05)
    start = time.perf_counter()
    from napari_sam.gui.status import status_of
    from napari_sam.gui.widget import SegmentAnything

    dock = SegmentAnything(viewer, load)
    viewer.window.add_dock_widget(dock, name="Segment Anything", area="right")
    dock.repaint()
    figures["opening"] = time.perf_counter() - start
    controller = dock.controller
    if not early:
        run_for(_PATIENCE, lambda: status_of(controller).light == "ready")
        figures["ready after opening began"] = time.perf_counter() - start
        figures["encodes until ready"] = len(encodes)
    else:
        run_for(0)
    figures["window held, opening"] = heart.stop()["max_ms"] / 1e3

    controller.begin()
    annotation, seen = controller.annotation, {}
    session = annotation.session
    session.draft_changed.connect(lambda *_: seen.setdefault("first", time.perf_counter()))
    session.mask_changed.connect(lambda *_: seen.setdefault("first", time.perf_counter()))
    session.mask_changed.connect(lambda *_: seen.setdefault("mask", time.perf_counter()))
    heart.start()
    run_for(0.05)
    before, clicked = len(encodes), time.perf_counter()
    annotation.points.add(click)
    run_for(_PATIENCE, lambda: "mask" in seen)
    figures["first answer after the click"] = seen["first"] - clicked
    figures["mask after the click"] = seen["mask"] - clicked
    figures["encodes after the click"] = len(encodes) - before
    run_for(1)
    figures["window held, first click"] = heart.stop()["max_ms"] / 1e3
    for dtype, seconds in alone.items():
        figures[f"napari alone, labels of {dtype}"] = seconds
    return {name: round(value, 3) for name, value in figures.items()}


def picture(name: str, folder: Path):
    """Return an image, or the levels of one, and where a nucleus is."""
    if name == "nuclei":
        from napari_sam import samples
        from napari_sam.gui import sample_data

        ((data, _, _),) = sample_data.nuclei()
        prompts = next(iter(samples.load("nuclei").prompts.values()))
        return data, tuple(prompts.points[0])
    import dask.array as da

    if name != "ome-zarr":
        side = int(name)
        return da.map_blocks(
            _nuclei, dtype=np.uint8, chunks=da.core.normalize_chunks(1000, (side, side))
        ), _centre(side)
    import zarr

    side, levels = 4096, []
    group = zarr.open_group(folder / "image.ome.zarr", mode="w")
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    for i in range(4):
        plane = _drawn(0, 0, side, side)[:: 2**i, :: 2**i]
        array = group.create_array(str(i), shape=plane.shape, chunks=(512, 512), dtype="uint8")
        array[:] = plane
        levels.append(da.from_zarr(array))
    scales = [{"type": "scale", "scale": [2.0**i, 2.0**i]} for i in range(4)]
    datasets = [
        {"path": str(i), "coordinateTransformations": [one]} for i, one in enumerate(scales)
    ]
    about = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs["ome"] = about
    return levels, _centre(side)


def _centre(side: int) -> tuple[int, int]:
    at = side // 2 // 60 * 60 + 30
    return at, at


def _nuclei(block_info=None):
    (r0, r1), (c0, c1) = block_info[None]["array-location"]
    return _drawn(r0, c0, r1, c1)


def _drawn(r0: int, c0: int, r1: int, c1: int) -> np.ndarray:
    """Draw disks 60 pixels apart on a noisy ground."""
    rows, columns = np.ogrid[r0:r1, c0:c1]
    away = (rows % 60 - 30) ** 2 + (columns % 60 - 30) ** 2
    noise = np.random.default_rng(r0 + c0).integers(0, 20, away.shape)
    return (20 + noise + 160 * (away < 18**2)).astype(np.uint8)


def _in_a_new_process(image: str, early: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", image, *(["--early"] if early else [])]
    out = subprocess.check_output(command, text=True)
    return json.loads(out.splitlines()[-1])


if __name__ == "__main__":
    main()
