"""What leaves of a session: its labels, and a record of every object."""

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
    """Put together what leaves of a session that was saved. May be slow.

    An object that was clicked, painted or corrected counts as accepted, also the one that was
    current last.

    Parameters
    ----------
    saved
        The session.
    source
        The image that it was read for; only its shape counts.
    image
        The pixels, of the source's shape; None where they aren't at hand.
    labels
        The labels, where the session doesn't keep them: an array of the source's shape.

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
    session.new_object()  # nobody works on any object of a file
    told = _table(saved.about, "image")
    axes = axes_of(told.get("axes"), source.shape) if image is None else image.axes
    letters = axes.removesuffix("S")
    channel = source.channel_axis
    if channel is not None and channel not in source.spanned:  # all channels have the same labels
        letter = letters[channel]
        array = rearranged(array, letters, letters.replace(letter, ""), {letter: 0})
        image = None if image is None else _coloured(image, letter)
        letters = letters.replace(letter, "")
    sizes, unit = _sizes(told, letters)
    if image is not None and image.pixel_size and not sizes:
        sizes, unit = image.pixel_size, image.unit
    records = {
        row.id: replace(record_of(row), parent=session.facts(row.id).parent or 0)
        for row in session.objects
    }
    classes = tuple(ClassRecord(one.name, one.colour) for one in session.classes)
    name = str(told.get("file") or told.get("name") or "image")
    return ExportedObjects(array, letters, name, records, classes, sizes, unit, image)


def record_of(row: ObjectRow) -> ObjectRecord:
    """Return what leaves of a row of the objects' table."""
    origin = row.origin or ("prompted" if row.prompts else "")
    return ObjectRecord(
        row.id, row.class_name, row.state, origin, row.score, row.prompts, row.seconds
    )


def axes_of(names: Json, shape: tuple[int, ...]) -> str:
    """Return a letter for each axis of an image: what its names mean, else by their order."""
    if isinstance(names, list) and len(names) == len(shape):
        letters = [axis_letter(str(name)) for name in names]
        text = "".join(letter or "?" for letter in letters)
        if len(set(text)) == len(text) and text.endswith("YX") and not {"?", "S"} & {*text}:
            return text
    return guess_axes((*shape[:-2], 5, 5))


def _coloured(image: ImageFile, letter: str) -> ImageFile:
    """Return an image whose channels are the samples of each pixel."""
    if image.is_rgb:
        return image
    axes = image.axes.replace(letter, "S")
    wanted = axes.replace("S", "") + "S"
    sizes = {a: size for a, size in (image.pixel_size or {}).items() if a in wanted}
    return ImageFile(rearranged(image.data, axes, wanted), wanted, sizes or None, image.unit)


def _sizes(told: Mapping[str, Any], letters: str) -> tuple[Mapping[str, float] | None, str | None]:
    """Return the pixel sizes that a session tells; none where all are 1 pixel."""
    sizes, units = told.get("pixel_size"), told.get("units")
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
