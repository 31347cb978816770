"""The tiles of a plane at several scales, and which of them suits an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Frame, Tile, fit_frame, region_of, tile_grid
from napari_sam.model.tuning import ScaleTuning
from napari_sam.prompts import Box, Prompts, tight_box
from napari_sam.segmentation.protocol import MaskPrediction
from napari_sam.segmentation.traits import Traits

# A larger tile is decoded, too, if its scale is less than this share of the last one tried.
_NEW = 0.8
# Scales are alike up to this factor: tiles at the border of a plane differ by a pixel.
_SAME = 1.01


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """The tiles of a plane.

    Parameters
    ----------
    plane_shape
        (H, W) of the plane.
    traits
        The model; its tuning has the sizes of objects that suit each scale.
    tile
        Side of a tile of the finest level, in pixels.
    levels
        Tile grids, the finest first; each level has tiles of twice the side of the one before,
        and the last one is a single tile: the overview of the whole plane.
    magnified
        Smaller tiles than the finest level's, for small objects; empty for models that never
        magnify.
    reduces
        Whether tiles are encoded at smaller scales too, for large objects; not for models that
        know objects of any size.
    """

    plane_shape: tuple[int, int]
    traits: Traits
    tile: int
    levels: tuple[tuple[Tile, ...], ...]
    magnified: tuple[Tile, ...] = ()
    reduces: bool = False

    @classmethod
    def of(
        cls, shape: tuple[int, int], tile: int, halo: int, traits: Traits, rescales: bool
    ) -> Pyramid:
        """Cut a plane into tiles.

        Parameters
        ----------
        shape
            (H, W) of the plane.
        tile, halo
            Side of a tile of the finest level, and the least width around its core, in pixels.
        traits
            The model.
        rescales
            Whether there are magnified and reduced tiles.
        """
        levels = tuple(_levels(shape, tile, halo))
        magnifies = rescales and len(levels) > 1
        magnified = _magnified_tiles(shape, tile, traits.tuning.scales) if magnifies else ()
        return cls(shape, traits, tile, levels, magnified, rescales)

    def of_model(self, traits: Traits) -> Pyramid:
        """Return the tiles of the same plane for another model with the same encoder."""
        return self if traits == self.traits else _of_model(self, traits)

    @property
    def scales(self) -> ScaleTuning:
        """Which objects suit which scale."""
        return self.traits.tuning.scales

    @property
    def overview(self) -> Tile:
        """The whole plane."""
        return self.levels[-1][0]

    @property
    def small(self) -> float:
        """Side of an object, in pixels of the plane, below which it is magnified."""
        if not self.magnified:
            return 0.0
        r0, c0, r1, c1 = self.magnified[0].outer
        return self.scales.small * max(r1 - r0, c1 - c0)

    def frame_of(self, tile: Tile) -> Frame:
        """Return the frame that a tile is encoded in."""
        r0, c0, r1, c1 = tile.outer
        return fit_frame(
            (r1 - r0, c1 - c0), self.traits.geometry, (r0, c0), self.plane_shape, tile.scale
        )

    def scale_of(self, tile: Tile) -> float:
        """Return a tile's model pixels per pixel of the plane."""
        frame = self.frame_of(tile)
        return max(frame.scaled) / max(frame.shape)

    def tile_of(self, prompts: Prompts) -> Tile:
        """Return the tile in which prompts are decoded first.

        If the prompts have logits and all lie in the logits' tile, that tile. Otherwise the
        finest one that has the object's centre in its core and holds all prompts; a magnified one
        for a small box, and a coarser one for a box or mask that would be too large in it. For
        logits whose tile doesn't hold all prompts, it is the finest that is no finer than theirs;
        for logits of an unknown frame, the scale that fits their shape.
        """
        prompts.check(self.plane_shape)
        carried = None if prompts.mask_frame is None else self._tile_with(prompts.mask_frame)
        if not _has_place(prompts) and (carried is not None or len(self.levels) == 1):
            return carried or self._with_grid_of(self.overview, prompts)
        prompted = _extent(prompts, self.plane_shape)
        if carried is not None and _holds(carried, prompted):
            return carried
        r0, c0, r1, c1 = prompted
        grids = [*self.levels]
        if self.magnified and prompts.box is not None and max(r1 - r0, c1 - c0) < self.small:
            grids.insert(0, self.magnified)
        centre = _centre(prompts, prompted)
        around = (_tile_at(tiles, centre) for tiles in grids)
        tile = next((tile for tile in around if _holds(tile, prompted)), self.overview)
        if prompts.logits is not None and prompts.mask_frame is None:
            return self._with_grid_of(tile, prompts)
        if carried is not None:  # at its scale the object was known
            finest = _SAME * self.scale_of(carried)
        else:
            side, shorter = _sides(prompts)
            if not side:
                return tile
            tuned = self.scales
            finest = max(tuned.largest, side / shorter * tuned.thinnest) / side
        scales = self._scales(tile)
        return next((one for one in scales if self.scale_of(one) <= finest), scales[-1])

    def reduced(self, tile: Tile, times: int) -> Tile | None:
        """Return a tile at its scale divided by two so many times; None where that is too small."""
        if times == 0:
            return tile
        frame = self.frame_of(tile)
        if not self.reduces or max(frame.scaled) / 2**times < self.scales.least_side:
            return None
        return Tile(tile.core, tile.outer, self.scale_of(tile) / 2**times)

    def larger(self, tile: Tile, centre: tuple[float, float], prompted: Extent) -> Tile | None:
        """Return the next larger tile around a centre that holds all prompts."""
        grids = [self.magnified, *self.levels]
        above = next(i for i, tiles in enumerate(grids) if tile in tiles) + 1
        around = (_tile_at(tiles, centre) for tiles in grids[above:])
        return next((larger for larger in around if _holds(larger, prompted)), None)

    def larger_tiles(self, tile: Tile, prompts: Prompts) -> list[Tile]:
        """Return the larger tiles of coarser levels that hold all prompts, the finest first."""
        prompted = _extent(prompts, self.plane_shape)
        centre, scale = _centre(prompts, prompted), self.scale_of(tile)
        around = (_tile_at(tiles, centre) for tiles in self.levels)
        return [one for one in around if _holds(one, prompted) and self.scale_of(one) < scale]

    def covers(self, view: Box) -> Iterator[list[Tile]]:
        """Return the tiles of each level that cover a rectangle, the finest level first.

        Those nearest to its centre come first. The last level has one tile for any rectangle.
        """
        return (_tiles_in(tiles, view) for tiles in self.levels)

    def tiles_in(self, view: Box) -> list[Tile]:
        """Return the tiles of the finest level in a rectangle, from its centre outward."""
        return _tiles_in(self.levels[0], view)

    def parts_of(self, mask: NDArray[np.bool_]) -> list[tuple[Tile, NDArray[np.bool_]]]:
        """Split a mask `(H, W)` by the tiles of the finest level in whose cores its pixels lie.

        An empty mask is one part, of the first tile.
        """
        region = region_of(mask)
        if region is None:
            return [(self.levels[0][0], mask)]
        rows, columns = region
        box = rows.start, columns.start, rows.stop - 1, columns.stop - 1
        parts = []
        for tile in self.tiles_in(box):
            r0, c0, r1, c1 = tile.core
            part = np.zeros_like(mask)
            part[r0:r1, c0:c1] = mask[r0:r1, c0:c1]
            if part.any():
                parts.append((tile, part))
        return parts

    def coarser_tiles(
        self, tile: Tile, centre: tuple[float, float], prompted: Extent
    ) -> list[Tile]:
        """Return a tile at half and a quarter of its scale, and the next larger one at a quarter.

        The last is at an eighth of the tile's scale, or more if it is the overview; it is left
        out if it is hardly coarser than the one before.
        """
        coarser = self._scales(tile)[1:]
        larger = self.larger(tile, centre, prompted)
        last = None if larger is None else self.reduced(larger, self.scales.halvings)
        if last is not None and self.scale_of(last) < _NEW * self.scale_of([tile, *coarser][-1]):
            coarser.append(last)
        return coarser

    def retry_tiles(self, tile: Tile, prompts: Prompts) -> list[Tile]:
        """Return the coarser tiles that are tried for clicks whose predicted IoU is low."""
        clicks = prompts.box is None and prompts.mask is None and len(prompts.points) > 0
        if not (clicks and self.reduces):
            return []
        prompted = _extent(prompts, self.plane_shape)
        return self.coarser_tiles(tile, _first_click(prompts), prompted)

    def _scales(self, tile: Tile) -> list[Tile]:
        """Return a tile at its own scale, at half of it, and so on."""
        scales = (self.reduced(tile, times) for times in range(self.scales.halvings + 1))
        return [one for one in scales if one is not None]

    def _with_grid_of(self, tile: Tile, prompts: Prompts) -> Tile:
        """Return a tile at the scale at which logits have the prompts' shape, or as it is."""
        if prompts.logits is None:
            return tile
        shape, stride = prompts.logits.shape, self.traits.mask_stride
        scales = self._scales(tile)
        return next((one for one in scales if self.frame_of(one).low_res(stride) == shape), tile)

    def _tile_with(self, frame: Frame) -> Tile | None:
        """Return the tile with a frame; None if there is none."""
        (r, c), (h, w) = frame.origin, frame.shape
        outer = (r, c, r + h, c + w)
        for tile in (tile for tiles in (self.magnified, *self.levels) for tile in tiles):
            if tile.outer == outer:
                for one in self._scales(tile):
                    if self.frame_of(one) == frame:
                        return one
        return None

    def cuts(self, tile: Tile, extent: Box) -> bool:
        """Whether a mask reaches a side of its tile that isn't a side of the plane."""
        r0, c0, r1, c1 = tile.outer
        height, width = self.plane_shape
        return bool(
            (extent[0] <= r0 > 0)
            or (extent[1] <= c0 > 0)
            or (extent[2] >= r1 - 1 and r1 < height)
            or (extent[3] >= c1 - 1 and c1 < width)
        )


class ScaleSearch:
    """Search for the tile whose scale suits one object: it is decoded in one after another.

    Parameters
    ----------
    pyramid
        The plane's tiles.
    prompts
        Of the object.
    rescales
        Whether tiles other than the first are tried, depending on the mask. They never are for
        prompts with a mask or logits.
    doubts
        Whether coarser tiles are tried for clicks whose predicted IoU is low.

    Attributes
    ----------
    tile
        The first tile to decode in.
    """

    def __init__(
        self, pyramid: Pyramid, prompts: Prompts, rescales: bool, doubts: bool = True
    ) -> None:
        self._pyramid, self._prompts = pyramid, prompts
        self._rescales = rescales and prompts.mask is None
        self._doubts = doubts and prompts.box is None
        self._coarser_tiles: list[Tile] | None = None
        self.tile = pyramid.tile_of(prompts)
        self._answer: MaskPrediction | None = None
        self._cut_off = False
        self._finer: Tile | None = None

    @property
    def prediction(self) -> MaskPrediction:
        """The best prediction so far."""
        assert self._answer is not None, "some tile was decoded"
        return self._answer

    def next_tile(self, tile: Tile, prediction: MaskPrediction) -> Tile | None:
        """Add the prediction in a tile; return the tile to decode in next, if any."""
        if not self._rescales:
            self._answer = prediction
            return None
        pyramid, first = self._pyramid, self._answer is None
        magnified = tile in pyramid.magnified
        extent = None if tile == pyramid.overview else mask_extent(prediction)
        cut_off = extent is not None and pyramid.cuts(tile, extent)
        if magnified and not first:
            if not cut_off:  # otherwise the object is not small: keep the prediction before
                self._answer = prediction
            return None
        prompted = _extent(self._prompts, pyramid.plane_shape)
        taken = first or self._shows_whole(tile, prediction) or self._shows_large(prediction)
        if taken:
            self._answer, self._cut_off, self._finer = prediction, cut_off, None
            if first and extent is not None and not cut_off:
                self._finer = self._magnified(extent, prompted)
        following: Tile | None = None
        if taken and cut_off and extent is not None:
            following = self._whole(tile, extent, prompted)
        if (
            following is None
            and self._doubts
            and self.prediction.scores.max() < pyramid.scales.unsure
        ):
            if self._coarser_tiles is None:
                click = _first_click(self._prompts)
                self._coarser_tiles = pyramid.coarser_tiles(tile, click, prompted)
            if self._coarser_tiles:
                following = self._coarser_tiles.pop(0)
        return following or self._finer

    def _whole(self, tile: Tile, extent: Box, prompted: Extent) -> Tile | None:
        """Return a larger tile for a mask that is cut off, halved as often as its tile was."""
        pyramid, own = self._pyramid, replace(tile, scale=None)
        larger = pyramid.larger(own, _middle(extent), prompted)
        if larger is None:
            return None
        times = round(np.log2(pyramid.scale_of(own) / pyramid.scale_of(tile)))
        return pyramid.reduced(larger, times)

    def _shows_whole(self, tile: Tile, prediction: MaskPrediction) -> bool:
        """Whether a larger tile has the whole mask, and at a coarser scale no lower a score."""
        shown = np.prod(self.prediction.frame.shape)
        if not self._cut_off or np.prod(prediction.frame.shape) <= shown:
            return False
        least = self.prediction.scores.max() - self._pyramid.scales.surer
        return tile.scale is None or bool(prediction.scores.max() >= least)

    def _shows_large(self, prediction: MaskPrediction) -> bool:
        """Whether a coarser tile has a large object, with a higher score than the best so far."""
        tuned = self._pyramid.scales
        if prediction.scores.max() < self.prediction.scores.max() + tuned.surer:
            return False
        _, logits = prediction.part_logits(prediction.best_index)
        side = float(np.count_nonzero(logits > 0)) ** 0.5
        return side * self._pyramid.scale_of(self.tile) >= tuned.large

    def _magnified(self, extent: Box, prompted: Extent) -> Tile | None:
        """Return the magnified tile that holds a small mask, if that came from the first level."""
        pyramid = self._pyramid
        if self.tile not in pyramid.levels[0]:
            return None
        if max(extent[2] - extent[0], extent[3] - extent[1]) + 1 >= pyramid.small:
            return None
        # around the click, where `tile_of` finds it for later clicks
        finer = _tile_at(pyramid.magnified, _centre(self._prompts, extent))
        return finer if _holds(finer, prompted) and _holds(finer, extent) else None


Extent = tuple[float, float, float, float]
"""(row 0, column 0, row 1, column 1), inclusive."""


def mask_extent(prediction: MaskPrediction) -> Box | None:
    """Return (row 0, column 0, row 1, column 1), inclusive, of the best mask; None if empty."""
    (r, c), logits = prediction.part_logits(prediction.best_index)
    mask = logits > 0
    if not mask.any():
        return None
    r0, c0, r1, c1 = tight_box(mask)
    return r0 + r, c0 + c, r1 + r, c1 + c


@lru_cache(maxsize=4)  # it has thousands of tiles for a large plane, and is needed at each click
def _of_model(pyramid: Pyramid, traits: Traits) -> Pyramid:
    magnified = pyramid.magnified
    if magnified:
        magnified = _magnified_tiles(pyramid.plane_shape, pyramid.tile, traits.tuning.scales)
    return replace(pyramid, traits=traits, magnified=magnified)


def _magnified_tiles(shape: tuple[int, int], tile: int, tuning: ScaleTuning) -> tuple[Tile, ...]:
    side = round(tuning.magnified * tile)
    return tuple(tile_grid(shape, side, round(tuning.magnified_halo * side)))


def _levels(shape: tuple[int, int], tile: int, halo: int) -> Iterator[tuple[Tile, ...]]:
    while tile < max(shape):
        yield tuple(tile_grid(shape, tile, halo))
        tile, halo = 2 * tile, 2 * halo
    whole = (0, 0, *shape)
    yield (Tile(whole, whole),)


def by_tile(wanted: Mapping[int, Tile]) -> dict[Tile, list[int]]:
    """Group numbers, such as those of objects, by their tile."""
    members: dict[Tile, list[int]] = {}
    for i, tile in wanted.items():
        members.setdefault(tile, []).append(i)
    return members


def _first_click(prompts: Prompts) -> tuple[float, float]:
    return float(prompts.points[0][0]), float(prompts.points[0][1])


def _centre(prompts: Prompts, extent: Extent) -> tuple[float, float]:
    """Return the first click if there are only clicks, or else the centre of the extent."""
    clicks = prompts.box is None and len(prompts.points) > 0
    return _first_click(prompts) if clicks else _middle(extent)


def _middle(extent: Extent) -> tuple[float, float]:
    return (extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2


def _sides(prompts: Prompts) -> tuple[float, float]:
    """Side of a square of the area of a box or mask, and the box's shorter side; 0 without both."""
    if (patch := prompts.mask_patch) is not None:
        side = float(patch.area) ** 0.5
        return side, side
    if prompts.box is None:
        return 0.0, 0.0
    r0, c0, r1, c1 = prompts.box
    height, width = r1 - r0 + 1, c1 - c0 + 1
    return float(height * width) ** 0.5, float(min(height, width))


def _has_place(prompts: Prompts) -> bool:
    if len(prompts.places):
        return True
    patch = prompts.mask_patch
    return patch is not None and not patch.is_empty


def _extent(prompts: Prompts, plane_shape: tuple[int, int]) -> Extent:
    """Return the bounding box, within the plane, of all prompts of an object."""
    if not _has_place(prompts):
        raise ValueError(
            "expected a click, a box or a mask with at least one pixel, got none of them: "
            "logits alone don't say where in a large plane the object lies"
        )
    corners = [prompts.places]
    patch = prompts.mask_patch
    if patch is not None and not patch.is_empty:
        corners.append(np.reshape(patch.box, (2, 2)))
    points = np.clip(np.concatenate(corners), -0.5, np.subtract(plane_shape, 0.5))
    (r0, c0), (r1, c1) = points.min(0), points.max(0)
    return r0, c0, r1, c1


def _tile_at(tiles: Sequence[Tile], point: tuple[float, float]) -> Tile:
    cores = np.array([tile.core for tile in tiles])
    last = cores[-1, 2:] - 1
    r, c = np.clip(np.round(point), 0, last)
    inside = (cores[:, 0] <= r) & (r < cores[:, 2]) & (cores[:, 1] <= c) & (c < cores[:, 3])
    return tiles[int(inside.argmax())]


def _tiles_in(tiles: Sequence[Tile], view: Box) -> list[Tile]:
    """Return the tiles whose cores a rectangle overlaps, those nearest to its centre first."""
    cores = np.array([tile.core for tile in tiles])
    low = np.clip(view[:2], 0, cores[-1, 2:] - 1)
    high = np.clip(view[2:], 0, cores[-1, 2:] - 1)
    met = np.all((cores[:, :2] <= high) & (cores[:, 2:] > low), axis=1).nonzero()[0]
    middles = (cores[met, :2] + cores[met, 2:]) / 2
    order = np.argsort(np.square(middles - (low + high) / 2).sum(1), kind="stable")
    return [tiles[i] for i in met[order]]


def _holds(tile: Tile, extent: Extent) -> bool:
    r0, c0, r1, c1 = tile.outer
    low = extent[0] >= r0 - 0.5 and extent[1] >= c0 - 0.5
    return low and extent[2] <= r1 - 0.5 and extent[3] <= c1 - 0.5
