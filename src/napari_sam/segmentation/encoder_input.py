"""The picture that an encoder is given of a plane, or of the part of it that a click needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Frame
from napari_sam.image import Limits, resize_pixels, stretch
from napari_sam.lazy_plane import StretchedPlane
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Embedding
from napari_sam.segmentation.tiled import TiledEmbedding


@dataclass(frozen=True, slots=True, eq=False)
class EncoderInput:
    """What an encoder is given.

    Parameters
    ----------
    pixels
        `(h, w, 3)` uint8 at the model's own resolution, without the padding.
    frame
        Which part of the plane that is, and at which scale.
    tile
        Number of the tile, from 1; 0 where the plane is encoded in one piece.
    tiles
        How many tiles of that size the plane has.
    """

    pixels: NDArray[np.uint8]
    frame: Frame
    tile: int = 0
    tiles: int = 1

    @property
    def scale(self) -> float:
        """Model pixels per pixel of the plane."""
        return max(self.frame.scaled) / max(self.frame.shape)


def encoder_input(
    embedding: Embedding,
    plane: NDArray[np.generic] | None,
    limits: Limits | None,
    place: tuple[float, float],
) -> EncoderInput:
    """Return the picture that the answer to a first click begins with.

    Parameters
    ----------
    embedding
        Of the plane.
    plane, limits
        The plane `(H, W)` or `(H, W, 3)` and its contrast limits, as they were embedded. Not
        needed of an embedding of tiles, which has its pixels.
    place
        (row, column) of the click, in pixels of the plane.

    Raises
    ------
    ValueError
        If the plane is needed, and missing or of another shape.
    """
    if not isinstance(embedding, TiledEmbedding):
        if plane is None or plane.shape[:2] != embedding.frame.plane_shape:
            raise ValueError(
                f"expected the plane of shape {embedding.frame.plane_shape} that was embedded, "
                f"got {None if plane is None else plane.shape}"
            )
        shown = stretch(plane, limits).reshape(*plane.shape[:2], -1)
        return EncoderInput(_scaled(shown, embedding.frame), embedding.frame)
    pyramid = embedding.pyramid
    tile = pyramid.tile_of(Prompts([place], [1]))
    frame = pyramid.frame_of(tile)
    level = next((tiles for tiles in pyramid.levels if tile in tiles), (tile,))
    number = level.index(tile) + 1 if len(level) > 1 else 0
    return EncoderInput(_scaled(embedding.pixels, frame), frame, number, len(level))


def _scaled(pixels: NDArray[np.uint8] | StretchedPlane, frame: Frame) -> NDArray[np.uint8]:
    part = pixels[frame.region]
    part = np.broadcast_to(part, (*part.shape[:2], 3))
    return resize_pixels(np.ascontiguousarray(part), frame.scaled)
