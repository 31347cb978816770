"""A run's log as a picture."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

_CURVES = ("mask", "iou", "dense")
_SMOOTH = 50  # iterations that a point of a curve is the mean of


def draw_log(path: Path, picture: Path) -> None:
    """Draw losses, and scores where there are any, against iterations.

    Parameters
    ----------
    path
        The `log.csv` of a run; lines of an interrupted part of the run count once, the later.
    picture
        The PNG to write. Without matplotlib nothing is drawn, and the log says so.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        log.info("install matplotlib to have the run's log drawn")
        return
    with path.open(newline="") as file:
        rows = {int(row["iteration"]): row for row in csv.DictReader(file)}
    iterations = np.array(sorted(rows))
    figure = Figure((8, 6), layout="constrained")
    axes = figure.subplots(len(_CURVES) + 1, 1, sharex=True)
    for axis, name in zip(axes, _CURVES, strict=False):
        values = np.array([float(rows[i][name] or "nan") for i in iterations])
        axis.plot(iterations, _smooth(values), linewidth=1)
        axis.set_ylabel(name)
    scored = [i for i in iterations if rows[i]["score"]]
    axes[-1].plot(scored, [float(rows[i]["score"]) for i in scored], "o-")
    axes[-1].set_ylabel("score")
    axes[-1].set_xlabel("iteration")
    figure.savefig(picture, dpi=100)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of up to `_SMOOTH` values before and at each point."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    stop = np.arange(1, len(sums))
    start = np.maximum(0, stop - _SMOOTH)
    return (sums[stop] - sums[start]) / (stop - start)
