"""Measurements of objects as comma-separated values, in physical units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.io.exports.objects import ExportedObjects, Report
from napari_sam.io.measured import measure_planes
from napari_sam.measurements import Table, table_to_csv


def write_table(
    several: Sequence[ExportedObjects], path: Path, report: Report | None = None
) -> None:
    """Write one row for each object; on stacks in time for each object and time point.

    Beside the measures of :func:`~napari_sam.measurements.measure_objects`, with intensities
    where the image is at hand, a row has the object's class, state, origin, predicted IoU,
    number of prompts, and seconds.

    Parameters
    ----------
    several
        The images; with more than one, the first column is the image's name.
    path
        The ``.csv`` file; what is there is replaced.
    report
        Called with the finished fraction; it may raise to cancel.

    Raises
    ------
    OSError
        If it can't be written.
    """
    tables = [_table(objects, i, several, report) for i, objects in enumerate(several)]
    columns = dict.fromkeys(name for table in tables for name in table)
    joined = {name: np.concatenate(_columns(tables, name)) for name in columns}
    with replaced(path) as temporary:
        temporary.write_text(table_to_csv(joined), "utf-8")


def _table(
    objects: ExportedObjects,
    position: int,
    several: Sequence[ExportedObjects],
    report: Report | None,
) -> Table:
    count = max(1, int(np.prod(objects.stack_shape)))
    done = 0

    def read(index: tuple[int, ...]) -> NDArray[Any]:
        nonlocal done
        if report is not None:
            report((position + done / count) / len(several))
        done += 1
        return objects.plane(index)

    measured = measure_planes(
        read, objects.axes, objects.shape, objects.pixel_size, objects.unit, objects.image
    )
    records = [objects.record(int(label)) for label in measured["label"]]
    facts: Table = {
        "class": np.array([one.class_name for one in records], object),
        "state": np.array([one.state for one in records], object),
        "origin": np.array([one.origin for one in records], object),
        "predicted_iou": np.array([_number(one.score) for one in records], object),
        "prompts": np.array([one.prompts for one in records], np.int64),
        "seconds": np.array([_number(one.seconds) for one in records], object),
    }
    table: Table = {}
    if len(several) > 1:
        table["image"] = np.full(len(records), objects.name, object)
    for name, column in measured.items():
        table[name] = column
        if name == "label":
            table |= facts
    return table


def _number(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.6g}"


def _columns(tables: Sequence[Table], name: str) -> list[NDArray[Any]]:
    """Return a column of each table; where one lacks it, as without a perimeter, nothing."""
    there = next(table[name] for table in tables if name in table)
    missing = "" if there.dtype.kind == "O" else np.nan
    return [table.get(name, np.full(len(table["label"]), missing)) for table in tables]
