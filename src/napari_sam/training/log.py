"""The log of a run: its rows, and a picture of it."""

from __future__ import annotations

import csv
import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.atomic import replaced
from napari_sam.special_files import refuse_special

log = logging.getLogger(__name__)

_COLUMNS = ("iteration", "mask", "iou", "dense", "norm", "seconds", "score", "regions")
_ROWS_AT_ONCE = 20
_CURVES = ("mask", "iou", "dense", "regions")
_SMOOTH = 50  # iterations that a point of a curve is the mean of


class LogRows:
    """Rows of the log, copied from the device in groups, as each copy waits for the device.

    Parameters
    ----------
    path
        A CSV file, which is continued.
    """

    def __init__(self, path: Path) -> None:
        refuse_special(path)
        self.path = path
        self._rows: list[dict[str, Tensor | float]] = []
        self._written = time.perf_counter()

    def add(self, iteration: int, figures: dict[str, Tensor | float]) -> None:
        """Add the figures of an iteration."""
        self._rows.append({"iteration": iteration} | figures)
        if len(self._rows) >= _ROWS_AT_ONCE:
            self.write()

    def write(self) -> None:
        """Write the rows that were added; each took its share of the time since the last."""
        rows = [{n: float(v) if n != "iteration" else v for n, v in r.items()} for r in self._rows]
        now = time.perf_counter()
        seconds = (now - self._written) / max(len(rows), 1)
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerows(row | {"seconds": seconds} for row in rows)
        self._rows, self._written = [], now


def draw_log(path: Path, picture: Path) -> None:
    """Draw losses, and scores where there are any, against iterations.

    Parameters
    ----------
    path
        The `log.csv` of a run; lines of an interrupted part of the run count once, the later.
    picture
        The PNG to write. Without matplotlib nothing is drawn, which is logged.
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
        values = np.array([float(rows[i].get(name) or "nan") for i in iterations])
        axis.plot(iterations, _smooth(values), linewidth=1)
        axis.set_ylabel(name)
    scored = [i for i in iterations if rows[i]["score"]]
    axes[-1].plot(scored, [float(rows[i]["score"]) for i in scored], "o-")
    axes[-1].set_ylabel("score")
    axes[-1].set_xlabel("iteration")
    with replaced(picture) as temporary:
        figure.savefig(temporary, dpi=100)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of up to `_SMOOTH` values before and at each point."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    stop = np.arange(1, len(sums))
    start = np.maximum(0, stop - _SMOOTH)
    return (sums[stop] - sums[start]) / (stop - start)
