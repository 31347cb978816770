"""Measure large planes: the first click, memory, masks where tiles lie otherwise, and find all.

    python benchmarks/large_planes.py --json large_planes.json

Nuclei are drawn on a multiscale OME-Zarr, in `--folder`, which is made where it isn't there.
*First click*: in a new process with the model loaded and run once, from opening the image to the
mask of a click in its middle, as the viewer asks for it (contrast limits are those of the layer),
on 20,000² pixels against 1024²; and what the process takes at most, against the same on 1024².
*Shifted tiles*: the masks of 200 objects, a click each, on a part of the plane, against those on
the part that begins some pixels later, so that the grid of tiles lies otherwise. *Find all*: the
number of objects inside parts of a plane that the model sees whole, and on the same parts of the
plane found over tiles, where their borders lie otherwise.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

_STEP = 60  # pixels between nuclei
_LIMITS = (0.0, 255.0)
_CHUNK = 1000


def drawn(r0: int, c0: int, r1: int, c1: int) -> NDArray[np.uint8]:
    """Draw nuclei of different size and brightness, one in each square, on a noisy ground."""
    rows, columns = np.ogrid[r0:r1, c0:c1]
    i, j = rows // _STEP, columns // _STEP
    mixed = (i * 73856093 ^ j * 19349663) % 1009
    radius = 11 + mixed % 8
    away = (rows % _STEP - 30 - mixed % 7) ** 2 + (columns % _STEP - 30 - mixed % 5) ** 2
    noise = np.random.default_rng(r0 * 100_003 + c0).integers(0, 25, away.shape)
    soft = np.clip((radius - np.sqrt(away)) / 2 + 0.5, 0, 1)
    return (15 + noise + (60 + mixed % 120) * soft).astype(np.uint8)


def image_of(folder: Path, side: int) -> Path:
    """Return a multiscale OME-Zarr, made if it isn't there."""
    path = folder / f"nuclei_{side}.ome.zarr"
    if (path / "done").exists():
        return path
    group = zarr.open_group(path, mode="w")
    levels = [0]
    while side >> levels[-1] > 512:
        levels.append(levels[-1] + 1)
    arrays = []
    for level in levels:
        shape = (-(-side // 2**level),) * 2
        chunks = (min(_CHUNK, shape[0]),) * 2
        arrays.append(group.create_array(str(level), shape=shape, chunks=chunks, dtype="uint8"))
    block = 2000 if side > 2000 else side
    for r in range(0, side, block):
        for c in range(0, side, block):
            pixels = drawn(r, c, min(r + block, side), min(c + block, side))
            for level, array in zip(levels, arrays, strict=True):
                step = 2**level
                part = pixels[-r % step :: step, -c % step :: step]
                at = -(-r // step), -(-c // step)
                array[at[0] : at[0] + part.shape[0], at[1] : at[1] + part.shape[1]] = part
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [2.0**level] * 2}],
        }
        for level in levels
    ]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": datasets}],
    }
    (path / "done").touch()
    return path


def first_click(path: Path) -> dict[str, float]:
    """Open an image and click in its middle."""
    import dask.array as da

    from napari_sam import load_segmenter
    from napari_sam.engine import Engine
    from napari_sam.session import ArrayCanvas, ArraySource, Session

    def click(data: Any, labels: Any) -> float:
        began = time.perf_counter()
        source = ArraySource(data, contrast_limits=_LIMITS)
        session = Session(segmenter, source, Engine(), canvas=ArrayCanvas(labels))
        side = data.shape[0]
        centre = side // 2 // _STEP * _STEP + 32
        view = max(0, centre - 400), max(0, centre - 400), centre + 400, centre + 400
        view = (view[0], view[1], min(view[2], side - 1), min(view[3], side - 1))
        session.show((), (centre, centre), view)
        session.add_point((), (centre, centre))
        if not session.wait(600):
            raise RuntimeError("the click got no answer")
        seconds = time.perf_counter() - began
        if not labels[centre - 3 : centre + 3, centre - 3 : centre + 3].any():
            raise RuntimeError("the click got no mask")
        return seconds

    segmenter = load_segmenter("nano", disk_bytes=0)
    small = drawn(60, 60, 1084, 1084)
    for _ in range(2):
        click(small + np.uint8(0), np.zeros(small.shape, np.uint16))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    data = da.from_zarr(zarr.open_array(path / "0", mode="r"))
    seconds = click(data, np.zeros(data.shape, np.uint16))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak, "before_mb": before}


def shifted(path: Path, count: int = 200) -> dict[str, float]:
    """Click objects on a part of the plane, and on parts that begin elsewhere."""
    from napari_sam import Prompts, load_segmenter
    from napari_sam.masks import iou

    rng = np.random.default_rng(0)
    segmenter = load_segmenter("nano", disk_bytes=0)
    side, margin = 1800, 512
    pixels = np.asarray(zarr.open_array(path / "0", mode="r")[: side + margin, : side + margin])
    inside = range(margin // _STEP + 1, side // _STEP - 1)
    places = [(i * _STEP + 33, j * _STEP + 32) for i in inside for j in inside]
    chosen = [places[k] for k in rng.permutation(len(places))[:count]]
    masks = []
    for row, column in ((0, 0), tuple(rng.integers(1, margin, 2).tolist())):
        part = pixels[row : row + side, column : column + side]
        embedding = segmenter.embed(part, _LIMITS)
        prompts = [Prompts([(r - row, c - column)], [1]) for r, c in chosen]
        found = []
        for one in segmenter.decode_many(embedding, prompts):
            whole = np.zeros(pixels.shape, bool)
            whole[row : row + side, column : column + side] = one.best()
            found.append(whole[margin:side, margin:side])
        masks.append(found)
    scores = [iou(a, b) for a, b in zip(*masks, strict=True)]
    return {"mean_iou": float(np.mean(scores)), "least_iou": float(np.min(scores))}


def find_all(path: Path, side: int = 1000, window: int = 420) -> dict[str, float]:
    """Find all on a plane of several tiles, and on parts of it that the model sees whole."""
    from napari_sam import load_segmenter, segment_all

    pixels = np.asarray(zarr.open_array(path / "0", mode="r")[:side, :side])
    segmenter = load_segmenter("nano", disk_bytes=0)
    tiled = segment_all(segmenter, pixels, _LIMITS)
    counts = {"whole": 0, "tiled": 0}
    for r in (0, side - window):
        for c in (0, (side - window) // 2, side - window):
            at = slice(r, r + window), slice(c, c + window)
            whole = segment_all(segmenter, pixels[at], _LIMITS)
            counts["whole"] += inner(whole)
            counts["tiled"] += inner(tiled[at])
    return {**counts, "all_tiled": int(tiled.max()), "all_true": (-(-side // _STEP)) ** 2}


def inner(labels: NDArray[np.int32], margin: int = _STEP) -> int:
    """Count the objects whose middle is away from the border, where parts cut them."""
    count = 0
    for number in np.unique(labels[labels > 0]):
        middle = np.argwhere(labels == number).mean(0)
        count += bool((middle > margin).all() and (middle < len(labels) - margin).all())
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=("click", "shifted", "find"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(first_click(options.one)))
        return
    large = image_of(options.folder, options.side)
    small = image_of(options.folder, 1024)
    results: dict[str, Any] = {}
    if options.only in (None, "click"):
        runs: dict[str, list[dict[str, float]]] = {"small": [], "large": []}
        for _ in range(options.repetitions):
            for name, path in (("small", small), ("large", large)):
                command = [sys.executable, __file__, "--one", str(path)]
                out = subprocess.check_output(command, text=True)
                runs[name].append(json.loads(out.splitlines()[-1]))
        middle = {
            name: {key: float(np.median([run[key] for run in rows])) for key in rows[0]}
            for name, rows in runs.items()
        }
        results["first click"] = {
            **{
                f"{name}_{key}": value for name, row in middle.items() for key, value in row.items()
            },
            "ratio": middle["large"]["seconds"] / middle["small"]["seconds"],
            "more_mb": middle["large"]["peak_mb"] - middle["small"]["peak_mb"],
        }
        print(results["first click"], flush=True)
    if options.only in (None, "shifted"):
        results["shifted tiles"] = shifted(large)
        print(results["shifted tiles"], flush=True)
    if options.only in (None, "find"):
        results["find all"] = find_all(large)
        print(results["find all"], flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
