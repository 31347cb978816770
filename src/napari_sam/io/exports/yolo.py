"""YOLO segmentation: a text file of outlines for each plane, as Ultralytics' trainers read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.io.exports.coco import UNCLASSIFIED, part_of_report
from napari_sam.io.exports.objects import ExportedObjects, Report
from napari_sam.io.outlines import Ring, outlines

DATA_FILE = "data.yaml"
LABELS_FOLDER = "labels"


def write_yolo(
    several: Sequence[ExportedObjects], path: Path, report: Report | None = None
) -> None:
    """Write the objects of images as one data set: ``labels`` with text files, ``data.yaml``.

    A plane's file is named after the image, on stacks with the plane's place, such as
    ``cells_t0000_z0012.txt``; planes without objects have an empty one. Its lines are
    ``class x1 y1 x2 y2 ...``, x and y in 0-1 of the plane's width and height, with (0, 0) at the
    outer corner of the first pixel. An object of several parts has a line for each; the format
    has no holes, so they are filled. ``data.yaml`` has the names of the classes, and ``images``
    beside it as the place of the images, which are not written.

    Parameters
    ----------
    several
        The images.
    path
        The folder; one that is there is replaced.
    report
        Called with the finished fraction; it may raise to cancel.

    Raises
    ------
    ValueError
        If two images have the same name, apart from the suffix.
    OSError
        If it can't be written.

    References
    ----------
    Ultralytics, *Instance segmentation datasets overview*,
    https://docs.ultralytics.com/datasets/segment/.
    """
    names = dict.fromkeys(name for objects in several for name in objects.class_names)
    numbers = {name: i for i, name in enumerate(names)}
    with replaced(path) as temporary:
        (temporary / LABELS_FOLDER).mkdir(parents=True)
        for position, objects in enumerate(several):
            for index, labels in objects.planes(part_of_report(report, position, len(several))):
                file = temporary / LABELS_FOLDER / f"{_name(objects, index)}.txt"
                if file.exists():
                    raise ValueError(
                        f"expected images of different names for the format yolo, got two called "
                        f"{file.stem}; write a data set for each"
                    )
                lines = _lines(objects, labels, numbers)
                file.write_text("".join(lines), encoding="utf-8", newline="\n")
        # Last: only now it is known whether there are objects without a class.
        (temporary / DATA_FILE).write_text(
            _data(numbers or {UNCLASSIFIED: 0}), encoding="utf-8", newline="\n"
        )


def _name(objects: ExportedObjects, index: tuple[int, ...]) -> str:
    where = "".join(f"_{axis}{i:04}" for axis, i in objects.place(index).items())
    return f"{Path(objects.name).stem}{where}"


def _lines(
    objects: ExportedObjects, labels: NDArray[Any], numbers: dict[str, int]
) -> Iterator[str]:
    """Yield a line for each part of each object; a class that has no number yet gets the next."""
    for label, polygons in outlines(labels).items():
        name = objects.record(label).class_name or UNCLASSIFIED
        number = numbers.setdefault(name, len(numbers))
        for one in polygons:
            yield f"{number} {_corners(one.shell, objects.plane_shape)}\n"


def _corners(ring: Ring, plane_shape: tuple[int, int]) -> str:
    """Return corners as text: shares of the plane, x before y, to a millionth."""
    shares = ring[:, ::-1] / plane_shape[::-1]
    return " ".join(f"{share:.6f}" for share in shares.reshape(-1).tolist())


def _data(numbers: Mapping[str, int]) -> str:
    # Without "path" the folder of this file is meant. A text in JSON is one in YAML, too.
    names = (
        f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for name, number in numbers.items()
    )
    return f"train: images\nval: images\nnames:\n{''.join(names)}"
