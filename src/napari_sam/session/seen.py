"""The input picture of the model for a plane, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.engine import Report
from napari_sam.plane_input import PlaneInput
from napari_sam.planes import Plane, PlaneSource
from napari_sam.segmentation.protocol import Embedding
from napari_sam.session.embeddings import finite

if TYPE_CHECKING:
    from napari_sam.segmentation.encoder_input import EncoderInput


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The encoder's input for a first click.

    Parameters
    ----------
    picture
        The input of the encoder.
    given
        The channels and contrast from which it was made.
    """

    picture: EncoderInput
    given: PlaneInput

    @property
    def facts(self) -> tuple[str, ...]:
        """A description of the picture, in a few lines."""
        return (*_colour_lines(self.given), *_part_lines(self.picture))


def seen_of(
    embedding: Embedding,
    given: PlaneInput,
    source: PlaneSource,
    plane: Plane,
    place: tuple[float, float],
    report: Report,
) -> Seen:
    """Return the encoder's input for a click; slow if the plane has to be read for it.

    Parameters
    ----------
    embedding, given
        The embedding of the plane, and the channels and contrast from which it was made.
    source, plane
        The image, and the plane.
    place
        (row, column) of the click in pixels of the plane.
    report
        Called with 0 at the start.
    """
    from napari_sam.segmentation.encoder_input import encoder_input  # and torch
    from napari_sam.segmentation.tiled import TiledEmbedding

    report(0.0)
    if isinstance(embedding, TiledEmbedding):
        return Seen(encoder_input(embedding, None, None, place), given)
    pixels, limits = source.read(plane)
    pixels, _ = finite(pixels, limits)
    return Seen(encoder_input(embedding, pixels, limits, place), given)


def _colour_lines(given: PlaneInput) -> tuple[str, ...]:
    lines = []
    names = ("red", "green", "blue") if len(given.colours) == 3 else ("contrast",)
    for name, colour in zip(names, given.colours, strict=True):
        if colour is None:
            continue
        of = colour.layer or ("" if colour.index is None else f"channel {colour.index}")
        limits = colour.limits
        shown = "as it is" if limits is None else f"{limits[0]:.5g} to {limits[1]:.5g}"
        shown += f", gamma {colour.gamma:.3g}" if colour.gamma != 1 else ""
        shown += ", inverted" if colour.inverted else ""
        lines.append(f"{name}: {of + ', ' if of else ''}{shown}")
    if given.spans:
        spans = " and ".join(f"{first} to {last}" for _, first, last in given.spans)
        lines.append(f"{given.projection} of planes {spans}")
    return tuple(lines)


def _part_lines(picture: EncoderInput) -> tuple[str, ...]:
    frame = picture.frame
    (r, c), (h, w) = frame.origin, frame.shape
    whole = (
        "the whole plane" if frame.is_whole else f"rows {r}–{r + h - 1}, columns {c}–{c + w - 1}"
    )
    tile = f"tile {picture.tile} of {picture.tiles}: " if picture.tile else ""
    rows, columns = frame.scaled
    scale = f"{picture.scale:.3g}"
    size = "their own size" if scale == "1" else f"{scale} times their size"
    return f"{tile}{whole}", f"{h} × {w} pixels as {rows} × {columns}: {size}"
