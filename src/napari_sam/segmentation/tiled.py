"""Planes larger than a model's input: tiles of several scales, each encoded when first needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.geometry import Frame, Tile, fit_frame, tile_grid
from napari_sam.image import Limits, check_plane, stretch
from napari_sam.lazy_plane import LazyPlane, StretchedPlane
from napari_sam.prompts import Box, Prompts
from napari_sam.segmentation.concepts import Concept, Instance, in_order
from napari_sam.segmentation.instance_maps import join_maps
from napari_sam.segmentation.protocol import (
    DelegatingSegmenter,
    Draft,
    Embedding,
    MaskPrediction,
    Multimask,
    PixelSegmenter,
    Progress,
    Proposals,
    check_embedding,
    concept_segmenter,
    part_of,
)
from napari_sam.segmentation.pyramid import Pyramid, ScaleSearch, by_tile
from napari_sam.segmentation.resampling import resample_logits
from napari_sam.segmentation.tile_features import mean_features, similarity
from napari_sam.segmentation.tile_store import TileStore
from napari_sam.segmentation.traits import Traits


@dataclass(frozen=True, slots=True, eq=False)
class TiledEmbedding(Embedding):
    """Embedding of a plane whose tiles are encoded when they are first needed.

    Parameters
    ----------
    features, frame, encoder_key, precision
        As in :class:`Embedding`; there are no features of a whole plane that needs several tiles,
        so `features` is empty, and `frame` is the whole plane's, at the scale of the overview.
    pixels
        `(H, W, 3)` normalised grey values, or `(H, W, 1)` of a grey plane; of a large plane on
        disk what is read where it is indexed.
    pyramid
        The tiles.
    """

    pixels: NDArray[np.uint8] | StretchedPlane
    pyramid: Pyramid
    store: TileStore = field(default_factory=TileStore, repr=False)

    @property
    def nbytes(self) -> int:
        """Memory of the pixels and of the tiles encoded so far, in bytes."""
        return self.pixels.nbytes + self.store.nbytes


class TiledSegmenter(DelegatingSegmenter[PixelSegmenter]):
    """A segmenter for planes of any size; see :class:`~napari_sam.Segmenter`.

    A plane that fits into one tile is encoded at once. On a larger plane each object is decoded
    in one tile: the finest one in whose core the object's centre lies and that holds all its
    prompts. The centre is that of the box or mask, or the first click. Tiles of the finest level
    have the model's own resolution, those of each next level half of the one before.

    With `rescale`, the scale also depends on the first prompt and its mask. A mask that its tile
    cuts off is decoded again in a tile of twice the side, and a small one in a magnified tile. A
    click of low predicted IoU is decoded at ever coarser scales until a large object is found
    under it, unless the caller chose `multimask`. A box or mask gives the size of its object, and
    is decoded at a scale that suits that size. A tile is encoded when it is first needed. Later
    clicks stay in the tile of the logits they start from.

    Parameters
    ----------
    segmenter
        Encodes and decodes the tiles.
    tile
        Side of a tile with its halo, in pixels of the plane; the model's `image_size` by default.
    halo
        Least width around a tile's core, in pixels of the plane; a quarter of a tile by default,
        so that an object of up to half a tile lies in one tile entirely.
    rescale
        Whether the scale depends on the first prompt and its mask; by default only for this
        program's own models, which encode a tile quickly.

    Raises
    ------
    ValueError
        If the halo leaves no core.
    TypeError
        If the segmenter can't encode tiles (it lacks `embed_pixels`), such as one that is cached
        or tiled already.
    """

    def __init__(
        self,
        segmenter: PixelSegmenter,
        tile: int | None = None,
        halo: int | None = None,
        rescale: bool | None = None,
    ) -> None:
        if not hasattr(segmenter, "embed_pixels"):
            raise TypeError(
                f"expected a segmenter with embed_pixels to cut tiles for, got "
                f"{type(segmenter).__name__}; load the model with tiles=False, cache=False, and "
                "cache what has tiles"
            )
        super().__init__(segmenter)
        self.rescale = segmenter.traits.decodes_windows if rescale is None else rescale
        self.tile = tile or segmenter.traits.input_size
        self.halo = self.tile // 4 if halo is None else halo
        tile_grid((1, 1), self.tile, self.halo)  # raises for a halo that leaves no core

    @property
    def inner(self) -> PixelSegmenter:
        """The segmenter that encodes and decodes the tiles."""
        return self._inner

    def with_inner(self, inner: PixelSegmenter) -> TiledSegmenter:
        """Return a segmenter with the same tiles around another inner one."""
        return TiledSegmenter(inner, self.tile, self.halo, self.rescale)

    def embed(
        self,
        plane: ArrayLike,
        contrast_limits: Limits | None = None,
        progress: Progress | None = None,
        scale: float | None = None,
    ) -> Embedding:
        """Encode a plane; of one larger than a tile only the grey values are normalised.

        See :meth:`Segmenter.embed`; :meth:`prepare` encodes the tiles. With a `scale`, which
        presumes objects of a known size, tiles of the finest level fill the model's input, their
        halo is an eighth of their side, and no other scale is tried.
        """
        tile, halo = self.tile, self.halo
        if scale is not None:
            tile = round(self.traits.input_size / scale)
            halo = tile // 8
        # a model that fills its input with a tile of any size knows objects of any size
        rescales = self.rescale and self.traits.geometry.has_choice and scale is None
        if isinstance(plane, LazyPlane) and contrast_limits is not None and max(plane.shape) > tile:
            pyramid = Pyramid.of(plane.shape, tile, halo, self.traits, rescales)
            seen = StretchedPlane(plane, contrast_limits)
            frame = fit_frame(plane.shape, self.traits.geometry)
            return TiledEmbedding((), frame, self.encoder_key, self.precision, seen, pyramid)
        array = check_plane(plane)
        shape = (array.shape[0], array.shape[1])
        fits = max(shape) <= tile
        if fits and not rescales:
            return self._inner.embed(array, contrast_limits, progress, scale)
        pixels = stretch(array, contrast_limits).reshape(*shape, -1)  # grey planes once, not thrice
        if np.may_share_memory(pixels, array):  # the caller may write to the array later
            pixels = pixels.copy()
        pyramid = Pyramid.of(shape, tile, halo, self.traits, rescales)
        frame = fit_frame(shape, self.traits.geometry)
        embedding = TiledEmbedding((), frame, self.encoder_key, self.precision, pixels, pyramid)
        if not fits:
            return embedding
        whole = self._embed_tile(embedding, pyramid.overview, progress)
        return replace(embedding, features=whole.features, precision=whole.precision)

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        multimask: Multimask = "auto",
        progress: Progress | None = None,
    ) -> MaskPrediction:
        """Predict one object; see :meth:`Segmenter.decode`.

        The prediction's frame is that of the object's tile. Prompts may have logits of another
        tile of the same plane: these are resampled.
        """
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.decode(embedding, prompts, multimask, progress)
        return self._decode_tiles(embedding, [prompts], multimask, None, progress)[0]

    def draft(
        self, embedding: Embedding, prompts: Prompts, multimask: Multimask = "auto"
    ) -> Draft | None:
        """Predict one object from the tiles that are encoded; see :meth:`Segmenter.draft`.

        It goes through the same tiles as :meth:`decode` up to the first that is not encoded. If
        that is the very first, the finest larger tile that is encoded is used.
        """
        return self.draft_many(embedding, [prompts], multimask)[0]

    def draft_many(
        self, embedding: Embedding, prompts: Sequence[Prompts], multimask: Multimask = "auto"
    ) -> list[Draft | None]:
        """Predict many objects tile by tile; see :meth:`Segmenter.draft_many`."""
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.draft_many(embedding, prompts, multimask)
        embedding = self._own(embedding)
        store, pyramid = embedding.store, embedding.pyramid
        doubts = multimask == "auto"
        searches = [ScaleSearch(pyramid, one, self.rescale, doubts) for one in prompts]
        found: list[Draft | None] = [None] * len(prompts)
        wanted = {i: search.tile for i, search in enumerate(searches)}
        while wanted:
            members = by_tile(wanted)
            wanted = {}
            for tile, indexes in members.items():
                if (inner := store.get(tile)) is None:
                    continue
                here = [prompts[i] for i in indexes]
                predictions = self._decode_tile(inner, here, multimask)
                for i, prediction in zip(indexes, predictions, strict=True):
                    following = searches[i].next_tile(tile, prediction)
                    found[i] = Draft(searches[i].prediction, following is None)
                    if following is not None:
                        wanted[i] = following
        return [
            draft or self._coarser_draft(embedding, search.tile, one, multimask)
            for draft, search, one in zip(found, searches, prompts, strict=True)
        ]

    def _own(self, embedding: TiledEmbedding) -> TiledEmbedding:
        """Return an embedding with the tiles of this model, or raise if it isn't its encoder's.

        The tiles differ where a model with the same encoder and another tuning made the embedding.
        """
        check_embedding(embedding, self)
        pyramid = embedding.pyramid.of_model(self.traits)
        return embedding if pyramid is embedding.pyramid else replace(embedding, pyramid=pyramid)

    def _coarser_draft(
        self, embedding: TiledEmbedding, tile: Tile, prompts: Prompts, multimask: Multimask
    ) -> Draft | None:
        for larger in embedding.pyramid.larger_tiles(tile, prompts):
            if (inner := embedding.store.get(larger)) is not None:
                (prediction,) = self._decode_tile(inner, [prompts], multimask)
                return Draft(prediction, False)
        return None

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane, tile by tile; see :meth:`Segmenter.decode_many`."""
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.decode_many(embedding, prompts, multimask, window)
        return self._decode_tiles(embedding, prompts, multimask, window)

    def _decode_tiles(
        self,
        embedding: TiledEmbedding,
        prompts: Sequence[Prompts],
        multimask: Multimask,
        window: int | None = None,
        progress: Progress | None = None,
    ) -> list[MaskPrediction]:
        """Decode each object in its first tile and in those that its mask leads to."""
        embedding = self._own(embedding)
        doubts = multimask == "auto"  # a caller that chooses judges the candidates itself
        pyramid = embedding.pyramid
        searches = [ScaleSearch(pyramid, one, self.rescale, doubts) for one in prompts]
        wanted = {i: search.tile for i, search in enumerate(searches)}
        while wanted:
            members = by_tile(wanted)
            wanted = {}
            for tile, indexes in members.items():
                inner = self._embed_tile(embedding, tile, progress)
                here = [prompts[i] for i in indexes]
                predictions = self._decode_tile(inner, here, multimask, window)
                for i, prediction in zip(indexes, predictions, strict=True):
                    following = searches[i].next_tile(tile, prediction)
                    if following is not None:
                        wanted[i] = following
        return [search.prediction for search in searches]

    def _decode_tile(
        self,
        inner: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask,
        window: int | None = None,
    ) -> list[MaskPrediction]:
        moved = [_moved(one, inner.frame, self.traits) for one in prompts]
        return self._inner.decode_many(inner, moved, multimask, window)

    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Find objects with the model's dense head; see :meth:`Segmenter.propose`.

        Each tile of the finest level proposes the objects in its core.
        """
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.propose(embedding, quick, progress)
        embedding = self._own(embedding)
        boxes, scores = [np.empty((0, 4))], [np.empty(0, np.float32)]
        tiles = embedding.pyramid.levels[0]
        for i, tile in enumerate(tiles):
            report = part_of(progress, i / len(tiles), (i + 1) / len(tiles))
            inner = self._embed_tile(embedding, tile, part_of(report, 0.0, 0.5))
            found = self._inner.propose(inner, quick, part_of(report, 0.5, 1.0))
            if found is None:
                return None
            low, high = np.subtract(tile.core[:2], 0.5), np.subtract(tile.core[2:], 0.5)
            here = np.all((found.centres >= low) & (found.centres < high), axis=1)
            boxes.append(found.boxes[here])
            scores.append(found.scores[here])
        order = np.argsort(-np.concatenate(scores), kind="stable")
        return Proposals(np.concatenate(boxes)[order], np.concatenate(scores)[order])

    def find_concept(
        self,
        embedding: Embedding,
        concept: Concept,
        least_score: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Instance]:
        """Find every object of a kind; see :meth:`ConceptSegmenter.find_concept`.

        By a text, each tile of the finest level is searched, and contributes the objects whose
        centres lie in its core. With example boxes the whole plane is searched in one piece, as
        they are only defined where the model's input includes them.
        """
        finder = concept_segmenter(self._inner)
        if not isinstance(embedding, TiledEmbedding):
            return finder.find_concept(embedding, concept, least_score, progress)
        concept.check(embedding.frame.plane_shape)
        embedding = self._own(embedding)
        pyramid = embedding.pyramid
        tiles = (pyramid.overview,) if concept.has_boxes else pyramid.levels[0]
        found: list[Instance] = []
        for i, tile in enumerate(tiles):
            report = part_of(progress, i / len(tiles), (i + 1) / len(tiles))
            inner = self._embed_tile(embedding, tile, part_of(report, 0.0, 0.8))
            here = finder.find_concept(inner, concept, least_score, part_of(report, 0.8, 1.0))
            found += [one for one in here if one.lies_in(tile.core)]
        return in_order(found)

    def instance_maps(
        self, embedding: Embedding, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Predict maps of a plane's objects; see :meth:`InstanceSegmenter.instance_maps`.

        Those of the tiles of the finest level are blended where they overlap.
        """
        if not isinstance(embedding, TiledEmbedding):
            return super().instance_maps(embedding, progress)
        embedding = self._own(embedding)
        tiles = embedding.pyramid.levels[0]

        def maps_of(number: int) -> NDArray[np.float32]:
            report = part_of(progress, number / len(tiles), (number + 1) / len(tiles))
            inner = self._embed_tile(embedding, tiles[number], part_of(report, 0.0, 0.5))
            return super(TiledSegmenter, self).instance_maps(inner, part_of(report, 0.5, 1.0))

        return join_maps(tiles, embedding.pyramid.plane_shape, maps_of)

    def mean_features(
        self, embedding: Embedding, masks: Iterable[NDArray[np.bool_]]
    ) -> NDArray[np.float32]:
        """Average the features of masks; see :meth:`Segmenter.mean_features`.

        The features of each pixel are those of the tile of the finest level in whose core it
        lies, since features of different scales can't be compared.
        """
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.mean_features(embedding, masks)
        embedding = self._own(embedding)
        embed = partial(self._embed_tile, embedding)
        return mean_features(self._inner, embedding.pyramid, masks, embed)

    def similarity(self, embedding: Embedding, vectors: ArrayLike) -> NDArray[np.float32]:
        """Compare the plane's features with vectors; see :meth:`Segmenter.similarity`.

        Each cell has the features of the tile of the finest level in whose core it is centred.
        """
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.similarity(embedding, vectors)
        embedding = self._own(embedding)
        embed = partial(self._embed_tile, embedding)
        return similarity(self._inner, embedding.pyramid, vectors, embed)

    def prepare(
        self,
        embedding: Embedding,
        prompts: Prompts | None = None,
        progress: Progress | None = None,
        every_scale: bool = False,
    ) -> None:
        """Encode the tile that `prompts` need, or all tiles of the finest level.

        See :meth:`Segmenter.prepare`. With `every_scale`, also encode the coarser tiles that are
        tried when a first click has a low predicted IoU. Without prompts, no tile is encoded
        twice: where memory can't hold all of them, tiles that were dropped are encoded again only
        when prompts need them.
        """
        if not isinstance(embedding, TiledEmbedding):
            self._inner.prepare(embedding, prompts, progress, every_scale)
            return
        embedding = self._own(embedding)
        store, pyramid = embedding.store, embedding.pyramid
        if prompts is None:
            tiles = [tile for tile in pyramid.levels[0] if not store.has_held(tile)]
        else:
            tiles = _tiles_for(pyramid, prompts, every_scale)
        self._embed_tiles(embedding, tiles, progress)

    def is_ready(self, embedding: Embedding, prompts: Prompts, every_scale: bool = False) -> bool:
        """Whether the tile of these prompts is in memory; see :meth:`Segmenter.is_ready`."""
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.is_ready(embedding, prompts, every_scale)
        tiles = _tiles_for(self._own(embedding).pyramid, prompts, every_scale)
        return all(embedding.store.get(tile) is not None for tile in tiles)

    def prepare_view(
        self,
        embedding: Embedding,
        view: Box,
        progress: Progress | None = None,
        finest: bool = False,
    ) -> None:
        """Encode the tiles of a rectangle of the plane; see :meth:`Segmenter.prepare_view`.

        Without `finest`, that is the one tile that holds the rectangle, unless the tiles of a
        finer level are encoded already; they stay in memory until the next call. With `finest`,
        tiles are encoded from the rectangle's centre outward.
        """
        if not isinstance(embedding, TiledEmbedding):
            self._inner.prepare_view(embedding, view, progress, finest)
            return
        embedding = self._own(embedding)
        store, pyramid = embedding.store, embedding.pyramid
        if finest:
            tiles = [tile for tile in pyramid.tiles_in(view) if not store.has_held(tile)]
        else:
            one = next(tiles for tiles in pyramid.covers(view) if len(tiles) == 1)
            tiles = _first_encoded(embedding, view) or one
            store.keep(tiles)
        self._embed_tiles(embedding, tiles, progress)

    def is_view_ready(self, embedding: Embedding, view: Box) -> bool:
        """Whether tiles over the rectangle are encoded; see :meth:`Segmenter.is_view_ready`."""
        if not isinstance(embedding, TiledEmbedding):
            return self._inner.is_view_ready(embedding, view)
        return _first_encoded(embedding, view) is not None

    def _embed_tiles(
        self, embedding: TiledEmbedding, tiles: Sequence[Tile], progress: Progress | None
    ) -> None:
        for i, tile in enumerate(tiles):
            self._embed_tile(
                embedding, tile, part_of(progress, i / len(tiles), (i + 1) / len(tiles))
            )

    def _embed_tile(
        self, embedding: TiledEmbedding, tile: Tile, progress: Progress | None = None
    ) -> Embedding:
        store = embedding.store
        found = store.get(tile)
        if found is None:
            with store.computing:  # a second thread that needs the tile waits for it
                found = store.get(tile)
                if found is None:
                    found = self._encode_tile(embedding, tile, progress)
                    store.put(tile, found)
        return found

    def _encode_tile(
        self, embedding: TiledEmbedding, tile: Tile, progress: Progress | None
    ) -> Embedding:
        frame = embedding.pyramid.frame_of(tile)
        pixels = np.repeat(embedding.pixels[frame.region], 3 // embedding.pixels.shape[2], axis=2)
        return self._inner.embed_pixels(pixels, frame, progress)


def _first_encoded(embedding: TiledEmbedding, view: Box) -> list[Tile] | None:
    """Return the tiles over a rectangle, of the finest level where all of them are encoded."""
    for tiles in embedding.pyramid.covers(view):
        if all(embedding.store.get(tile) is not None for tile in tiles):
            return tiles
    return None


def _tiles_for(pyramid: Pyramid, prompts: Prompts, every_scale: bool) -> list[Tile]:
    """Return the first tile of prompts, and with `every_scale` the coarser ones to try."""
    first = pyramid.tile_of(prompts)
    return [first, *(pyramid.retry_tiles(first, prompts) if every_scale else ())]


def _moved(prompts: Prompts, frame: Frame, traits: Traits) -> Prompts:
    """Resample the logits of prompts to a tile's frame, if they have those of another tile."""
    logits, source = prompts.logits, prompts.mask_frame
    if logits is None or source is None or source == frame:
        return prompts
    if source.plane_shape != frame.plane_shape:
        return prompts  # of another plane, which the segmenter refuses
    low_res = frame.low_res(traits.mask_stride)
    return prompts.with_logits(resample_logits(logits, source, frame, low_res), frame)
