"""Training examples from files: objects of sessions, and label images with their images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.batch.model_input import InputReader, PixelsOfFile
from napari_sam.batch.replay import find_image, given_of, open_image, source_of_file
from napari_sam.batch.session_models import last_model
from napari_sam.examples import Example
from napari_sam.image import Limits
from napari_sam.io import ImageFile, read_image
from napari_sam.model import taught_library
from napari_sam.model.registry import REGISTRY, models_folder
from napari_sam.plane_input import PlaneInput
from napari_sam.planes import ArraySource, Plane
from napari_sam.segmentation.protocol import Progress
from napari_sam.session import Session
from napari_sam.session.canvas import ArrayCanvas
from napari_sam.session.complete_regions import Rectangle, rectangle
from napari_sam.session.saved import SavedSession, read_without_image
from napari_sam.session.teaching import TeachingObjects


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """Options of reading images.

    Parameters
    ----------
    axes, channel
        As in :func:`~napari_sam.io.read_image`.
    """

    axes: str | None = None
    channel: int | None = None


def examples_of_session(
    session: str | Path,
    image: str | Path | None = None,
    options: ImageOptions | None = None,
    complete: bool = False,
    progress: Progress | None = None,
) -> tuple[Example, ...]:
    """Read the finished objects of a session, and their planes as the model was given them.

    Parameters
    ----------
    session
        Its file.
    image
        The image; by default the one that the session names, beside the session.
    options
        Options of reading the image.
    complete
        Whether every object is labelled on each plane that has a finished object.
    progress
        Called with the finished fraction; it may raise an exception to cancel.

    Returns
    -------
    examples
        See :meth:`napari_sam.session.teaching.TeachingObjects.read`.

    Raises
    ------
    ValueError
        If it isn't a session, or belongs to another image.
    OSError
        If a file can't be opened.
    """
    saved, options = read_without_image(session), options or ImageOptions()
    path = find_image(saved) if image is None else Path(image)
    opened = open_image(saved, path, options.axes, options.channel, must_match=image is None)
    part, source = source_of_file(saved, opened)
    objects = Session.open(session, source).teaching_objects(complete)
    shown: Any = _AsGiven(source, part, _given_on_planes(saved))
    return _named(replace(objects, source=shown).read(progress), path)


def examples_of_labels(
    image: str | Path,
    labels: str | Path,
    options: ImageOptions | None = None,
    complete: bool = False,
    progress: Progress | None = None,
) -> tuple[Example, ...]:
    """Read the objects of a label image, and the planes of the image that belongs to it.

    Parameters
    ----------
    image, labels
        Files; the labels are whole numbers, one for each object, and 0 where nothing is labelled.
    options
        Options of reading the image.
    complete
        Whether 0 is background on each plane that has an object.
    progress
        Called with the finished fraction; it may raise an exception to cancel.

    Raises
    ------
    ValueError
        If the labels have another shape than the image, or are not whole numbers.
    OSError
        If a file can't be opened.
    """
    options = options or ImageOptions()
    opened, labelled = read_image(image, options.axes, options.channel), read_image(labels)
    shape = opened.data.shape[:-1] if opened.is_rgb else opened.data.shape
    if labelled.data.shape != shape:
        raise ValueError(
            f"expected labels of the image's shape {tuple(shape)}, got {labels} of shape "
            f"{tuple(labelled.data.shape)}; give the labels that belong to {image}"
        )
    pixels: Any = PixelsOfFile(opened)
    canvas = ArrayCanvas(PixelsOfFile(labelled))
    boxes: dict[Plane, Mapping[int, Rectangle]] = {}
    for index in labelled.plane_indices():
        plane = labelled.plane(index)
        if _is_picture(plane):
            raise ValueError(
                f"expected labels, one number for all pixels of an object, got {labels}, in which "
                "most neighbours differ: it seems to be an image; give its labels"
            )
        if found := _boxes(plane):
            boxes[(*index, None, None)] = found
    whole = rectangle(None, opened.plane_shape)
    regions = dict.fromkeys(boxes, (whole,)) if complete else {}
    objects = TeachingObjects(ArraySource(pixels, opened.is_rgb), canvas, boxes, regions)
    return _named(objects.read(progress), Path(image))


def model_to_teach(saved: SavedSession) -> str:
    """Return the name or path of the model that is trained on a session's objects.

    It is the session's own model. If that is a taught model, it is its parent, which is trained
    on all objects together.

    Raises
    ------
    ValueError
        If it is a checkpoint that can't be found by a name, or the session has no model.
    """
    last = last_model(saved)
    name, key, card = last.name or "none", last.key or "?", last.card
    if card is None and (taught := taught_library.find_by_key(key)) is not None:
        card = taught.card
    if card is not None:
        name = card.lesson.parent
    if name in REGISTRY:
        return name
    if Path(name).suffix and (path := models_folder() / Path(name).name).is_file():
        return str(path)
    if card is not None:
        raise ValueError(
            f"expected the model that {last.name} was taught from, {name} "
            f"({card.lesson.parent_key[:8]}), in {models_folder()}, found none; put a copy of "
            f"{name} there, or say what is taught with --model"
        )
    if not (last.name or last.key):
        raise ValueError(
            "expected a session with a model, got one in which none answered; say what is taught "
            "with --model"
        )
    raise ValueError(
        f"expected a session of one of the models {', '.join(REGISTRY)}, or of one that you "
        f"taught, got one of {name} with the key {key}; say what is taught with --model"
    )


class _AsGiven:
    """Planes as the model was given them in a session; other planes as the image has them."""

    def __init__(
        self, source: ArraySource, image: ImageFile, given: Mapping[Plane, PlaneInput]
    ) -> None:
        self._source, self._given = source, given
        self._reader = InputReader(image, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, plane: Plane) -> tuple[NDArray[Any], Limits | None]:
        if (given := self._given.get(plane)) is None:
            return self._source.read(plane)
        shown = self._reader.read(plane, given)
        return shown.pixels, shown.limits


def _given_on_planes(saved: SavedSession) -> dict[Plane, PlaneInput]:
    """Return the latest input of the model for each plane."""
    return {
        plane if None in plane else (*plane, None, None): given
        for (plane, _), given in given_of(saved).inputs.items()
    }


def _boxes(labels: NDArray[Any]) -> dict[int, Rectangle]:
    """Return the rectangle of each object of a plane, ends inclusive."""
    numbers, places = np.unique(labels, return_inverse=True)
    found = ndimage.find_objects(places.reshape(labels.shape) + 1)
    return {
        int(number): (rows.start, columns.start, rows.stop - 1, columns.stop - 1)
        for number, (rows, columns) in zip(numbers, found, strict=True)
        if number > 0
    }


def _is_picture(labels: NDArray[Any]) -> bool:
    """Whether most neighbouring pixels that are not 0 differ, as they do in grey values."""
    pairs = ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1]))
    both = [(a != 0) & (b != 0) for a, b in pairs]
    differ = [np.count_nonzero(kept & (a != b)) for kept, (a, b) in zip(both, pairs, strict=True)]
    return bool(2 * sum(differ) > sum(int(np.count_nonzero(kept)) for kept in both))


def _named(examples: tuple[Example, ...], path: Path) -> tuple[Example, ...]:
    return tuple(replace(one, name=f"{path}, {one.name}".strip(", ")) for one in examples)
