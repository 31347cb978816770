"""The contents of a session for export: its labels, and a record of every object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from napari_sam.io.exports import ClassRecord, ExportedObjects, ObjectRecord
from napari_sam.io.image_file import ImageFile, guess_axes
from napari_sam.io.ome_zarr import axis_letter
from napari_sam.io.plane_array import rearranged
from napari_sam.io.session_file import Json
from napari_sam.io.units import pixel_sizes
from napari_sam.planes import PlaneSource
from napari_sam.session.canvas import ArrayCanvas
from napari_sam.session.interactive import Session
from napari_sam.session.object_table import ObjectRow
from napari_sam.session.saved import SavedSession, canvas_for


def exported_objects(
    saved: SavedSession,
    source: PlaneSource,
    image: ImageFile | None = None,
    labels: Any = None,
) -> ExportedObjects:
    """Return the labels and the objects of a saved session for export. This may be slow.

    An object that was clicked, painted or corrected counts as accepted, even if it was the
    current one.

    Parameters
    ----------
    saved
        The session.
    source
        The image that it was read for; only its shape is used.
    image
        The image with its pixels, of the source's shape; None if they aren't available.
    labels
        The labels, if the session's file doesn't contain them: an array of the source's shape.

    Raises
    ------
    ValueError
        If labels or image are not of the source's shape.
    """
    canvas: ArrayCanvas | None = None
    array = labels
    if labels is None:
        canvas = canvas_for(saved, source)
        array = canvas.array
    elif tuple(labels.shape) != source.shape:
        raise ValueError(
            f"expected labels of the image's shape {source.shape}, got {tuple(labels.shape)}"
        )
    session = Session(None, source, canvas=canvas)
    session.restore(saved)
    session.new_object()  # so that no object of the file is the current one
    about = _table(saved.about, "image")
    axes = axes_of(about.get("axes"), source.shape) if image is None else image.axes
    letters = axes.removesuffix("S")
    channel = source.channel_axis
    if channel is not None and channel not in source.spanned:  # all channels have the same labels
        letter = letters[channel]
        array = rearranged(array, letters, letters.replace(letter, ""), {letter: 0})
        image = None if image is None else _coloured(image, letter)
        letters = letters.replace(letter, "")
    sizes, unit = _sizes(about, letters)
    if image is not None and image.pixel_size and not sizes:
        sizes, unit = image.pixel_size, image.unit
    records = {
        row.id: replace(record_of(row), parent=session.facts(row.id).parent or 0)
        for row in session.objects
    }
    classes = tuple(ClassRecord(one.name, one.colour) for one in session.classes)
    name = str(about.get("file") or about.get("name") or saved.path.stem)
    return ExportedObjects(array, letters, name, records, classes, sizes, unit, image)


def record_of(row: ObjectRow) -> ObjectRecord:
    """Return the record of an object for export, from its row in the table."""
    origin = row.origin or ("prompted" if row.prompts else "")
    return ObjectRecord(
        row.id, row.class_name, row.state, origin, row.score, row.prompts, row.seconds
    )


def axes_of(names: Json, shape: tuple[int, ...]) -> str:
    """Return a letter for each axis of an image, by its name or else by its position."""
    if isinstance(names, list) and len(names) == len(shape):
        letters = [axis_letter(str(name)) for name in names]
        text = "".join(letter or "?" for letter in letters)
        if len(set(text)) == len(text) and text.endswith("YX") and not {"?", "S"} & {*text}:
            return text
    return guess_axes((*shape[:-2], 5, 5))


def _coloured(image: ImageFile, letter: str) -> ImageFile:
    """Return an image with its channels as the samples of each pixel."""
    if image.is_rgb:
        return image
    axes = image.axes.replace(letter, "S")
    wanted = axes.replace("S", "") + "S"
    sizes = {a: size for a, size in (image.pixel_size or {}).items() if a in wanted}
    return ImageFile(rearranged(image.data, axes, wanted), wanted, sizes or None, image.unit)


def _sizes(about: Mapping[str, Any], letters: str) -> tuple[Mapping[str, float] | None, str | None]:
    """Return the pixel sizes of a session's image; None if all are 1 pixel."""
    sizes, units = about.get("pixel_size"), about.get("units")
    if not isinstance(sizes, list) or len(sizes) != len(letters):
        return None, None
    words = units if isinstance(units, list) and len(units) == len(sizes) else [""] * len(sizes)
    if all(size == 1 for size in sizes) and all(word in ("", "pixel") for word in words):
        return None, None
    pairs = zip(letters, sizes, words, strict=True)
    space = {axis: (float(size), str(word)) for axis, size, word in pairs if axis in "TZYX"}
    if "T" in space and space["T"][1] in ("", "pixel"):
        space.pop("T")
    return pixel_sizes(space)


def _table(about: Mapping[str, Json], key: str) -> Mapping[str, Any]:
    value = about.get(key)
    return value if isinstance(value, dict) else {}
