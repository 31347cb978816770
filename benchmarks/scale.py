"""How cost grows with objects, slices, the size of a plane, labels and cached embeddings.

    python benchmarks/scale.py --output scale.json --plot docs/images/scale.png

Runs the embedded model on drawn planes and draws one curve for each question. A flat curve is
what a user hopes for in the last three.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from against_reference import machine, peak_memory, picture
from rich.progress import track

from napari_sam import CachedSegmenter, Prompts, load_segmenter
from napari_sam.session import ArrayCanvas, ArraySource, Session

mpl.use("Agg")
from matplotlib import pyplot as plt

Row = dict[str, float]


def median_ms(call: Callable[[], object], repetitions: int = 9) -> float:
    """Median time of a call, after one to warm up."""
    times = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times[1:]))


def objects(counts: Sequence[int]) -> list[Row]:
    """Decode so many clicks of one plane of 512² in one call."""
    segmenter = load_segmenter("nano", device="cpu", precision="float32", cache=False)
    embedding = segmenter.embed(picture(512))
    rng, rows = np.random.default_rng(0), []
    for n in counts:
        clicks = [Prompts([point], [1]) for point in rng.uniform(0, 511, (n, 2))]
        before = peak_memory()
        spent = median_ms(
            lambda clicks=clicks: segmenter.decode_many(embedding, clicks, window=256), 3
        )
        rows.append({"x": n, "ms": spent / n, "memory": (peak_memory() - before) / 1e6})
    return rows


def slices(count: int) -> list[Row]:
    """Embed slice after slice of a stack: milliseconds of each tenth of it."""
    plane = picture(512)
    with tempfile.TemporaryDirectory() as folder:
        segmenter = CachedSegmenter(load_segmenter("nano", device="cpu"), folder, max_memory=2**28)
        segmenter.embed(plane)
        times = []
        for z in range(count):
            start = time.perf_counter()
            segmenter.embed(np.roll(plane, 1 + z, axis=0))
            times.append(1e3 * (time.perf_counter() - start))
    tenth = count // 10
    return [
        {"x": (i + 1) * tenth, "ms": float(np.median(times[i * tenth : (i + 1) * tenth]))}
        for i in range(10)
    ]


def planes(sides: Sequence[int]) -> list[Row]:
    """First and second click in a place of a plane of so many pixels a side."""
    rows = []
    for side in sides:
        plane = np.tile(picture(512)[..., 0], (side // 512, side // 512))
        segmenter = load_segmenter("nano", device="cpu", cache=False)
        start = time.perf_counter()
        embedding = segmenter.embed(plane)
        segmenter.decode(embedding, Prompts([(200, 200)], [1])).best()
        first = 1e3 * (time.perf_counter() - start)
        again = median_ms(
            lambda s=segmenter, e=embedding: s.decode(e, Prompts([(210, 190)], [1])).best()
        )
        rows.append({"x": side, "ms": again, "first": first})
    return rows


def labels(counts: Sequence[int]) -> list[Row]:
    """Write an object's new mask among so many labels of a plane of 4096²."""
    side, rows = 4096, []
    segmenter = load_segmenter("nano", device="cpu", cache=False)
    plane = np.tile(picture(512)[..., 0], (side // 512, side // 512))
    for n in counts:
        cells = int(np.sqrt(n))
        cell = side // cells
        numbers = np.arange(1, cells**2 + 1, dtype=np.int32).reshape(cells, cells)
        written = np.zeros((side, side), np.int32)
        written[: cells * cell, : cells * cell] = np.kron(
            numbers, np.pad(np.ones((cell // 2, cell // 2), np.int32), ((0, cell - cell // 2),) * 2)
        )
        canvas = ArrayCanvas(written)
        session = Session(segmenter, ArraySource(plane), canvas=canvas)
        session.reserve(int(written.max()))
        session.new_object()
        session.add_point((), (1000, 1000))

        def click(session: Session = session) -> None:
            session.undo()
            session.add_point((), (1000, 1000))

        rows.append({"x": cells**2, "ms": median_ms(click)})
    return rows


def embeddings(counts: Sequence[int]) -> list[Row]:
    """Find one of so many cached embeddings on disk, and store one more."""
    rows = []
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        segmenter = CachedSegmenter(load_segmenter("nano", device="cpu"), folder, max_memory=0)
        known = rng.integers(0, 255, (32, 32), np.uint8)
        segmenter.embed(known)
        stored = 1
        for n in counts:
            while stored < n:
                segmenter.embed(rng.integers(0, 255, (32, 32), np.uint8))
                stored += 1
            rows.append({"x": n, "ms": median_ms(lambda: segmenter.embed(known), 21)})
    return rows


def draw(results: dict[str, list[Row]], path: Path) -> None:
    """Draw each curve, logarithmic, from zero where it should be flat."""
    titles = {
        "objects": ("objects decoded in one call", "ms per object"),
        "slices": ("slices embedded so far", "ms per slice"),
        "planes": ("pixels along a plane's side", "ms per click"),
        "labels": ("labels in the layer", "ms per click, written"),
        "embeddings": ("embeddings on disk", "ms to find one"),
    }
    figure, axes = plt.subplots(1, 5, figsize=(16, 3.2), layout="constrained")
    for (name, rows), axis in zip(results.items(), axes, strict=True):
        x = [row["x"] for row in rows]
        axis.plot(x, [row["ms"] for row in rows], "o-", label="each click")
        if name == "planes":
            axis.plot(x, [row["first"] for row in rows], "s--", label="open and first click")
            axis.legend()
            axis.set(yscale="log", ylim=(10, 1000))
            axis.yaxis.set_major_formatter("{x:.0f}")
        else:
            axis.set_ylim(0)
        if name != "slices":
            axis.set_xscale("log")
            axis.set_xticks(x, [f"{n:.0f}" for n in x])
            axis.minorticks_off()
        axis.set_xlabel(titles[name][0])
        axis.set_ylabel(titles[name][1])
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--plot", type=Path, help="PNG file for the curves")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    questions: dict[str, Callable[[], list[Row]]] = {
        "objects": lambda: objects([1, 4, 16, 64, 256, 1000]),
        "slices": lambda: slices(40),
        "planes": lambda: planes([512, 1024, 2048, 4096, 8192]),
        "labels": lambda: labels([1, 100, 2500, 40000]),
        "embeddings": lambda: embeddings([1, 10, 100, 1000]),
    }
    results = {name: measure() for name, measure in track(questions.items(), "measuring")}
    for name, rows in results.items():
        print(
            name, *("  ".join(f"{k} {v:.3g}" for k, v in row.items()) for row in rows), sep="\n  "
        )
    print("\n".join(f"{key}: {value}" for key, value in machine().items()))
    if args.plot:
        draw(results, args.plot)
    if args.output:
        args.output.write_text(json.dumps({"machine": machine(), "results": results}, indent=2))


if __name__ == "__main__":
    main()
