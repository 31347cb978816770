"""Segment the packaged sample images from the clicks beside them, with times and pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_sam import samples
from napari_sam.batch import label_objects
from napari_sam.batch.labelling import draw_labels
from napari_sam.batch.model_input import InputReader
from napari_sam.io import write_labels
from napari_sam.segmentation.protocol import Segmenter

_REPETITIONS = 5


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One sample, segmented.

    Parameters
    ----------
    name, title
        Of the sample.
    shape
        Its shape, without colours.
    objects
        Number of objects clicked.
    embed_seconds
        Median time from a plane's pixels until it can be clicked.
    click_seconds
        Median time from a click on such a plane to the mask.
    labels, overlay
        Files written.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    objects: int
    embed_seconds: float
    click_seconds: float
    labels: Path
    overlay: Path


def run_demo(segmenter: Segmenter, output: str | Path) -> Iterator[DemoResult]:
    """Segment every sample; yield each result when its files are written.

    Parameters
    ----------
    segmenter
        The model, uncached, since the times are part of the result.
    output
        Folder for ``NAME_labels.tif`` and ``NAME_overlay.png``; made when needed.

    Raises
    ------
    OSError
        If the folder can't be written.
    """
    folder = Path(output).expanduser()
    for name in samples.NAMES:
        sample = samples.load(name)
        embed_seconds, click_seconds = _measure(segmenter, sample)
        labels = label_objects(segmenter, sample, sample.prompts)
        files = folder / f"{name}_labels.tif", folder / f"{name}_overlay.png"
        axes = sample.axes.removesuffix("S")
        write_labels(files[0], labels, axes, sample.pixel_size, sample.unit)
        draw_labels(files[1], sample, labels, sample.prompts)
        objects = len({number for _, number in sample.prompts})
        yield DemoResult(
            name, sample.title, labels.shape, objects, embed_seconds, click_seconds, *files
        )


def _measure(segmenter: Segmenter, sample: samples.Sample) -> tuple[float, float]:
    """Median seconds to make a plane ready for a click, and from a click to its mask."""
    plane = next(iter(sample.prompts))[0]
    clicks = [one for (where, _), one in sample.prompts.items() if where == plane]
    index = tuple(i for i in plane if i is not None)
    shown = InputReader(sample, None).read(index)
    embed_seconds, click_seconds = [], []
    for repetition in range(_REPETITIONS + 1):
        start = time.perf_counter()
        embedding = segmenter.embed(shown.pixels, shown.limits)
        segmenter.prepare(embedding, clicks[0])
        ready = time.perf_counter()
        mask = segmenter.decode(embedding, clicks[0]).best()
        assert mask.shape == sample.plane_shape
        if repetition:  # the first one warms up
            embed_seconds.append(ready - start)
            click_seconds.append(time.perf_counter() - ready)
    return float(np.median(embed_seconds)), float(np.median(click_seconds))
