"""The protocol of every segmenter: planes to embeddings, prompts to masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.geometry import Frame, fit_frame
from napari_sam.image import Limits, normalise
from napari_sam.prompts import Box, Prompts
from napari_sam.segmentation.concepts import Concept, Instance
from napari_sam.segmentation.instance_maps import instance_maps as maps_by
from napari_sam.segmentation.prediction import MaskPrediction as MaskPrediction
from napari_sam.segmentation.traits import Traits

if TYPE_CHECKING:
    from torch import Tensor

    from napari_sam.model.taught import TaughtModel

Progress = Callable[[float], None]
Multimask = bool | Literal["auto"]


class Cancelled(Exception):
    """Raised by a progress callback to stop an embedding between two blocks."""


def part_of(progress: Progress | None, low: float, high: float) -> Progress | None:
    """Return a callback that reports its fraction as the part from `low` to `high` of the whole."""
    if progress is None:
        return None
    return lambda fraction: progress(low + fraction * (high - low))


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Embedding:
    """The output of an image encoder for one plane.

    Parameters
    ----------
    features
        Feature levels `(1, C, h, w)`, the image embedding first.
    frame
        How pixels of the plane and of the model's input correspond.
    encoder_key
        Hash of the encoder; see :attr:`Segmenter.encoder_key`.
    precision
        Precision that the encoder ran in.
    """

    features: tuple[Tensor, ...]
    frame: Frame
    encoder_key: str
    precision: str

    @property
    def nbytes(self) -> int:
        """Memory of the features in bytes."""
        return sum(f.nbytes for f in self.features)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A prediction of an object that needed no run of the encoder.

    Parameters
    ----------
    prediction
        Candidates for the object.
    is_final
        Whether :meth:`Segmenter.decode` would return the same; otherwise it would first encode
        the object at a better scale.
    """

    prediction: MaskPrediction
    is_final: bool


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Objects that a dense head has detected, as boxes.

    Parameters
    ----------
    boxes
        `(N, 4)` as (row 0, column 0, row 1, column 1) in plane pixels: centres of the outermost
        pixels, as in :attr:`Prompts.box`.
    scores
        `(N,)` predicted IoU of each box with the object's true box, highest first.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]

    @property
    def centres(self) -> NDArray[np.float64]:
        """Centres of the boxes, `(N, 2)` as (row, column)."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2


@runtime_checkable
class Segmenter(Protocol):
    """A promptable segmentation model without state: each call passes all that it depends on.

    Caching, tiling and remote execution are wrappers that follow this same protocol.
    """

    @property
    def traits(self) -> Traits:
        """Input, output and abilities of the model."""
        ...

    @property
    def encoder_key(self) -> str:
        """Hash of what an embedding depends on: the encoder's weights and its preprocessing."""
        ...

    @property
    def model_key(self) -> str:
        """Hash of what a prediction depends on: all weights and the configuration."""
        ...

    @property
    def device(self) -> str:
        """Device that the network is on, such as ``"cpu"`` or ``"cuda:0"``."""
        ...

    @property
    def precision(self) -> str:
        """Precision of the image encoder."""
        ...

    def embed(
        self,
        plane: ArrayLike,
        contrast_limits: Limits | None = None,
        progress: Progress | None = None,
        scale: float | None = None,
    ) -> Embedding:
        """Encode a plane; slow, but needed only once per plane.

        Parameters
        ----------
        plane
            `(H, W)` or `(H, W, 3)`.
        contrast_limits
            As in :func:`~napari_sam.image.normalise`.
        progress
            Called with the finished fraction between blocks of the encoder, or only at the end
            on a GPU that runs them together; it may raise :class:`Cancelled`.
        scale
            Wanted number of model pixels per pixel of the plane, see
            :func:`~napari_sam.geometry.fit_frame`.
        """
        ...

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        multimask: Multimask = "auto",
        progress: Progress | None = None,
    ) -> MaskPrediction:
        """Predict one object from its prompts; fast where everything it needs is encoded.

        Parameters
        ----------
        embedding
            Of the plane.
        prompts
            Of the object.
        multimask
            ``"auto"`` returns three candidates for a single point and one mask otherwise; True
            always three, False always one. With :attr:`Traits.refines_first_click` the best of
            three candidates is decoded once more, from its own logits.
        progress
            Called with the finished fraction where something has to be encoded first; it may
            raise :class:`Cancelled`.
        """
        ...

    def draft(
        self, embedding: Embedding, prompts: Prompts, multimask: Multimask = "auto"
    ) -> Draft | None:
        """Predict one object without running the encoder.

        The draft is decoded at the scale at which :meth:`decode` begins, or at a coarser one.

        Parameters
        ----------
        embedding, prompts, multimask
            As for :meth:`decode`.

        Returns
        -------
        draft
            None where nothing that is encoded covers the object.
        """
        ...

    def draft_many(
        self, embedding: Embedding, prompts: Sequence[Prompts], multimask: Multimask = "auto"
    ) -> list[Draft | None]:
        """Predict many objects of one plane in batches, as :meth:`draft` predicts each."""
        ...

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane in batches, as :meth:`decode` predicts each.

        With :attr:`Traits.decodes_windows`, an object is first decoded in a square window of the
        embedding around its prompts, and again in one of twice the side where its mask reaches
        beyond: faster for small objects, and as accurate.

        Parameters
        ----------
        embedding
            Of the plane.
        prompts
            Of each object.
        multimask
            As in :meth:`decode`.
        window
            Side of the first window in model pixels; by default it is chosen from the prompts,
            and 0 decodes in the whole embedding.
        """
        ...

    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Find objects with the model's dense head.

        Parameters
        ----------
        embedding
            Of the plane.
        quick
            Whether boxes keep the scores of the dense head and are not rescored by the RoI head
            (:attr:`Traits.judges`).
        progress
            Called with the finished fraction at the end of each tile; it may raise
            :class:`Cancelled`.

        Returns
        -------
        proposals
            None where the model has no dense head (:attr:`Traits.proposes`).
        """
        ...

    def mean_features(
        self, embedding: Embedding, masks: Iterable[NDArray[np.bool_]]
    ) -> NDArray[np.float32]:
        """Average the encoder's features over the pixels of masks.

        Parameters
        ----------
        embedding
            Of the plane.
        masks
            `(H, W)` bool each; a mask of all pixels gives the mean of the plane.

        Returns
        -------
        means
            `(N, C)`. The features of each pixel are a vector of length 1 in which all feature
            levels have the same weight, so that the mean over similar pixels has a length of
            almost 1. An empty mask has zeros.
        """
        ...

    def similarity(self, embedding: Embedding, vectors: ArrayLike) -> NDArray[np.float32]:
        """Compare the features at each place of a plane with vectors.

        Parameters
        ----------
        embedding
            Of the plane.
        vectors
            `(N, C)`: means from :meth:`mean_features` of the same model, or differences of two
            means; the result of a difference is larger where the plane is more like the first.

        Returns
        -------
        similarity
            `(N, h, w)`: dot products of the vectors with the features of length 1 of each cell,
            on an even grid over the plane. Cell i of h is centred at row
            (i + 0.5) · H / h − 0.5.
        """
        ...

    def prepare(
        self,
        embedding: Embedding,
        prompts: Prompts | None = None,
        progress: Progress | None = None,
        every_scale: bool = False,
    ) -> None:
        """Encode what decoding still needs.

        Parameters
        ----------
        embedding
            Of the plane.
        prompts
            The prompts to decode; None encodes what any prompts need.
        progress
            Called with the finished fraction; it may raise :class:`Cancelled`.
        every_scale
            Whether to encode also the coarser scales at which :meth:`decode` tries again where
            the predicted IoU is low.
        """
        ...

    def is_ready(self, embedding: Embedding, prompts: Prompts, every_scale: bool = False) -> bool:
        """Whether all that :meth:`decode` needs first for these prompts is encoded.

        Parameters
        ----------
        embedding, prompts
            As for :meth:`decode`.
        every_scale
            Whether the coarser scales count, too, at which :meth:`decode` tries again where the
            predicted IoU is low.

        Returns
        -------
        ready
            True if :meth:`decode` doesn't have to run the encoder first.
        """
        ...

    def prepare_view(
        self,
        embedding: Embedding,
        view: Box,
        progress: Progress | None = None,
        finest: bool = False,
    ) -> None:
        """Encode what :meth:`draft` needs for a click anywhere in a rectangle of the plane.

        For a large rectangle that is a coarser scale than the one at which objects are decoded.

        Parameters
        ----------
        embedding
            Of the plane.
        view
            (row 0, column 0, row 1, column 1) in pixels of the plane, both ends inclusive.
        progress
            Called with the finished fraction; it may raise :class:`Cancelled`.
        finest
            Whether to encode the scale at which objects are decoded, however much that is.
        """
        ...

    def is_view_ready(self, embedding: Embedding, view: Box) -> bool:
        """Whether :meth:`draft` can predict from a click anywhere in a rectangle of the plane.

        Parameters
        ----------
        embedding, view
            As for :meth:`prepare_view`.

        Returns
        -------
        ready
            True if :meth:`draft` returns a draft for such a click.
        """
        ...


@runtime_checkable
class PixelSegmenter(Segmenter, Protocol):
    """A segmenter that also encodes grey values that are normalised already.

    Tiled and cached segmenters call it with whole planes or with tiles of them.
    """

    def embed_pixels(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame | None = None,
        progress: Progress | None = None,
    ) -> Embedding:
        """Encode grey values that are normalised already.

        Parameters
        ----------
        pixels
            `(h, w, 3)` or, of a grey plane, `(h, w, 1)` grey values of the frame's rectangle.
        frame
            Where they lie; by default they are a whole plane.
        progress
            Called with the finished fraction; it may raise :class:`Cancelled`.

        Returns
        -------
        embedding
            For :meth:`decode`, with prompts in pixels of the whole plane.
        """
        ...


@runtime_checkable
class ConceptSegmenter(Protocol):
    """A segmenter that finds objects by a text or by boxes (:attr:`Traits.reads_text`)."""

    def find_concept(
        self,
        embedding: Embedding,
        concept: Concept,
        least_score: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Instance]:
        """Find every object of a kind on a plane.

        Parameters
        ----------
        embedding
            Of the plane.
        concept
            A text, boxes around examples, or both.
        least_score
            Objects whose score (0-1) is not above it are left out.
        progress
            Called with the finished fraction; it may raise :class:`Cancelled`.

        Returns
        -------
        instances
            The highest score first; they may overlap.
        """
        ...


def concept_segmenter(segmenter: Segmenter) -> ConceptSegmenter:
    """Return a segmenter as one that finds objects by a text.

    Raises
    ------
    ValueError
        If it can't.
    """
    if segmenter.traits.reads_text and isinstance(segmenter, ConceptSegmenter):
        return segmenter
    raise ValueError(f"expected a model that reads text, got {segmenter.traits.name}; choose sam3")


def embed_whole(
    segmenter: PixelSegmenter,
    plane: ArrayLike,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    scale: float | None = None,
) -> Embedding:
    """Encode a plane in one piece by `embed_pixels`; see :meth:`Segmenter.embed`."""
    pixels = normalise(plane, contrast_limits)
    frame = fit_frame((pixels.shape[0], pixels.shape[1]), segmenter.traits.geometry, scale=scale)
    return segmenter.embed_pixels(pixels, frame, progress)


@runtime_checkable
class SegmenterWrapper(Segmenter, Protocol):
    """A segmenter around another one that may be exchanged, for a caching one for example."""

    @property
    def inner(self) -> PixelSegmenter:
        """The segmenter that does the work."""
        ...

    def with_inner(self, inner: PixelSegmenter) -> Segmenter:
        """Return the same wrapper around another segmenter."""
        ...


_Inner = TypeVar("_Inner", bound=Segmenter)


def taught_of(segmenter: Segmenter | PixelSegmenter) -> TaughtModel | None:
    """Return how a taught model differs from its parent; None for a model that isn't taught."""
    taught: TaughtModel | None = getattr(segmenter, "taught", None)
    return taught


class DelegatingSegmenter(Generic[_Inner]):
    """A segmenter that hands every call to another one; wrappers override what they add.

    Parameters
    ----------
    inner
        The segmenter that does the work.
    """

    def __init__(self, inner: _Inner) -> None:
        self._inner = inner

    @property
    def wrapped(self) -> _Inner:
        """The segmenter that does the work, for abilities that :class:`Segmenter` lacks."""
        return self._inner

    @property
    def traits(self) -> Traits:
        """Input, output and abilities of the model."""
        return self._inner.traits

    @property
    def encoder_key(self) -> str:
        """Hash of the encoder; see :attr:`Segmenter.encoder_key`."""
        return self._inner.encoder_key

    @property
    def model_key(self) -> str:
        """Hash of the whole model; see :attr:`Segmenter.model_key`."""
        return self._inner.model_key

    @property
    def device(self) -> str:
        """Device the network is on."""
        return self._inner.device

    @property
    def precision(self) -> str:
        """Precision of the image encoder."""
        return self._inner.precision

    @property
    def taught(self) -> TaughtModel | None:
        """How a taught model differs from its parent; see :func:`taught_of`."""
        return taught_of(self._inner)

    def embed(
        self,
        plane: ArrayLike,
        contrast_limits: Limits | None = None,
        progress: Progress | None = None,
        scale: float | None = None,
    ) -> Embedding:
        """Encode a plane; see :meth:`Segmenter.embed`."""
        return self._inner.embed(plane, contrast_limits, progress, scale)

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        multimask: Multimask = "auto",
        progress: Progress | None = None,
    ) -> MaskPrediction:
        """Predict one object; see :meth:`Segmenter.decode`."""
        return self._inner.decode(embedding, prompts, multimask, progress)

    def draft(
        self, embedding: Embedding, prompts: Prompts, multimask: Multimask = "auto"
    ) -> Draft | None:
        """Predict one object from what is encoded; see :meth:`Segmenter.draft`."""
        return self._inner.draft(embedding, prompts, multimask)

    def draft_many(
        self, embedding: Embedding, prompts: Sequence[Prompts], multimask: Multimask = "auto"
    ) -> list[Draft | None]:
        """Predict many objects from what is encoded; see :meth:`Segmenter.draft_many`."""
        return self._inner.draft_many(embedding, prompts, multimask)

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane; see :meth:`Segmenter.decode_many`."""
        return self._inner.decode_many(embedding, prompts, multimask, window)

    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Find objects with the model's dense head; see :meth:`Segmenter.propose`."""
        return self._inner.propose(embedding, quick, progress)

    def find_concept(
        self,
        embedding: Embedding,
        concept: Concept,
        least_score: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Instance]:
        """Find every object of a kind; see :meth:`ConceptSegmenter.find_concept`."""
        inner = concept_segmenter(self._inner)
        return inner.find_concept(embedding, concept, least_score, progress)

    def instance_maps(
        self, embedding: Embedding, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Map the objects of a plane; see :meth:`InstanceSegmenter.instance_maps`."""
        return maps_by(self._inner, embedding, progress)

    def mean_features(
        self, embedding: Embedding, masks: Iterable[NDArray[np.bool_]]
    ) -> NDArray[np.float32]:
        """Average the features of masks; see :meth:`Segmenter.mean_features`."""
        return self._inner.mean_features(embedding, masks)

    def similarity(self, embedding: Embedding, vectors: ArrayLike) -> NDArray[np.float32]:
        """Multiply the plane's features by vectors; see :meth:`Segmenter.similarity`."""
        return self._inner.similarity(embedding, vectors)

    def prepare(
        self,
        embedding: Embedding,
        prompts: Prompts | None = None,
        progress: Progress | None = None,
        every_scale: bool = False,
    ) -> None:
        """Run what the encoder still has to do; see :meth:`Segmenter.prepare`."""
        self._inner.prepare(embedding, prompts, progress, every_scale)

    def is_ready(self, embedding: Embedding, prompts: Prompts, every_scale: bool = False) -> bool:
        """Whether decoding begins with no run of the encoder; see :meth:`Segmenter.is_ready`."""
        return self._inner.is_ready(embedding, prompts, every_scale)

    def prepare_view(
        self,
        embedding: Embedding,
        view: Box,
        progress: Progress | None = None,
        finest: bool = False,
    ) -> None:
        """Encode what is on screen; see :meth:`Segmenter.prepare_view`."""
        self._inner.prepare_view(embedding, view, progress, finest)

    def is_view_ready(self, embedding: Embedding, view: Box) -> bool:
        """Whether what is on screen is encoded; see :meth:`Segmenter.is_view_ready`."""
        return self._inner.is_view_ready(embedding, view)


def check_embedding(embedding: Embedding, segmenter: Segmenter) -> None:
    """Raise a ValueError if an embedding was made by another encoder than the segmenter's."""
    key = segmenter.encoder_key
    if embedding.encoder_key != key:
        raise ValueError(
            f"expected an embedding of this model's encoder ({segmenter.traits.name}, {key[:8]}), "
            f"got one of another ({embedding.encoder_key[:8]}); embed the plane again"
        )
