"""Planes to embeddings, prompts to masks: the protocol that every segmenter follows."""

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
    """What an image encoder made of a plane.

    Parameters
    ----------
    features
        Feature levels `(1, C, h, w)`, the image embedding first.
    frame
        How plane and model pixels correspond.
    encoder_key
        Hash of the encoder that made it; see :attr:`Segmenter.encoder_key`.
    precision
        Precision the encoder ran in.
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
    """What can be said of an object without a run of the encoder.

    Parameters
    ----------
    prediction
        Candidates for the object.
    is_final
        Whether :meth:`Segmenter.decode` would say the same; otherwise it would first encode what
        shows the object better.
    """

    prediction: MaskPrediction
    is_final: bool


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Where a dense head sees objects.

    Parameters
    ----------
    boxes
        `(N, 4)` as (row 0, column 0, row 1, column 1) in plane pixels: centres of the outermost
        pixels, as in :attr:`Prompts.box`.
    scores
        `(N,)` predicted IoU of each box with its object's, highest first.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middles of the boxes, `(N, 2)` as (row, column)."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2


@runtime_checkable
class Segmenter(Protocol):
    """Stateless promptable segmentation: every call says all it needs.

    Caches, tiles and remote execution are wrappers with this same protocol.
    """

    @property
    def traits(self) -> Traits:
        """What callers may rely on."""
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
        """Device the network is on, such as ``"cpu"`` or ``"cuda:0"``."""
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
        """Encode a plane `(H, W)` or `(H, W, 3)`; slow, once per plane.

        `progress` gets the finished fraction between blocks, or once at the end on a GPU that does
        them all at once, and may raise :class:`Cancelled`.
        `scale` is the wanted number of model pixels per pixel of the plane, see
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
        """Predict one object from its prompts; fast, once what it takes is encoded.

        ``"auto"`` gives three candidates for a single point and one mask otherwise. Of the three
        a model that can do so (:attr:`Traits.refines_first_click`) decodes the best one once more,
        from its own logits. `progress` is called where something must be encoded for it, with
        the finished fraction of that; it may raise :class:`Cancelled`.
        """
        ...

    def draft(
        self, embedding: Embedding, prompts: Prompts, multimask: Multimask = "auto"
    ) -> Draft | None:
        """Predict one object from what is encoded already; None where nothing encoded shows it.

        The encoder never runs for it. The draft is of the scale that :meth:`decode` begins with,
        or of a coarser one.
        """
        ...

    def draft_many(
        self, embedding: Embedding, prompts: Sequence[Prompts], multimask: Multimask = "auto"
    ) -> list[Draft | None]:
        """Predict many objects of one plane in batches; equals :meth:`draft` one by one."""
        ...

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane in batches; equals :meth:`decode` one by one.

        A model that can do so (:attr:`Traits.decodes_windows`) looks at a square around each
        object's prompts first, and at one of twice the side where a mask goes on beyond: faster
        for small objects, and as good. `window` is the first square's side in model pixels; by
        default it suits the prompts, and 0 is the whole embedding.
        """
        ...

    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Find objects with the model's dense head; ``None`` where it has none.

        With `quick`, as its cells say: boxes aren't judged region by region, where the model can.
        `progress` is called with the finished fraction at the end of each tile; it may raise
        :class:`Cancelled`.
        """
        ...

    def mean_features(
        self, embedding: Embedding, masks: Iterable[NDArray[np.bool_]]
    ) -> NDArray[np.float32]:
        """Average what the encoder says of each pixel of some masks.

        Parameters
        ----------
        embedding
            Of the plane.
        masks
            `(H, W)` each; a mask of the whole plane gives the plane's own mean.

        Returns
        -------
        means
            `(N, C)`: means of vectors of length 1, in which all levels of features count alike.
            A mask of one kind of pixel has a mean of almost that length, and an empty one zeros.
        """
        ...

    def similarity(self, embedding: Embedding, vectors: ArrayLike) -> NDArray[np.float32]:
        """Tell how much each place of a plane is like some vectors.

        Parameters
        ----------
        embedding
            Of the plane.
        vectors
            `(N, C)`: means, or differences of means, from :meth:`mean_features` of this model;
            with a difference, it tells which of the two a place is more like.

        Returns
        -------
        similarity
            `(N, h, w)`: products of the vectors with the unit features of the plane's cells, on
            an even grid over the plane. Cell i of h is centred at row (i + 0.5) · H / h − 0.5.
        """
        ...

    def prepare(
        self,
        embedding: Embedding,
        prompts: Prompts | None = None,
        progress: Progress | None = None,
        every_scale: bool = False,
    ) -> None:
        """Run what the encoder still has to do before `prompts` (any, if None) can be decoded.

        With `every_scale`, also the other scales that an unsure answer to these prompts may take.
        """
        ...

    def is_ready(self, embedding: Embedding, prompts: Prompts, every_scale: bool = False) -> bool:
        """Whether decoding these prompts begins with no run of the encoder.

        An unsure answer may still take another scale, which needs one; with `every_scale`, that
        has been encoded, too.
        """
        ...

    def prepare_view(
        self,
        embedding: Embedding,
        view: Box,
        progress: Progress | None = None,
        finest: bool = False,
    ) -> None:
        """Encode what a draft of any click in a rectangle of the plane takes.

        Where the rectangle is large, that is a coarser scale than the one objects are decoded at;
        with `finest`, it is that one, however much there is to encode. `view` is (row 0, column
        0, row 1, column 1) in pixels of the plane, ends inclusive.
        """
        ...

    def is_view_ready(self, embedding: Embedding, view: Box) -> bool:
        """Whether :meth:`draft` answers any click in a rectangle of the plane."""
        ...


@runtime_checkable
class PixelSegmenter(Segmenter, Protocol):
    """A segmenter that also encodes grey values which are normalised already.

    This is the seam under which caches lie: wrappers hand it whole planes or tiles of them.
    """

    def embed_pixels(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame | None = None,
        progress: Progress | None = None,
    ) -> Embedding:
        """Encode `(h, w, 3)` grey values of the frame's rectangle; a whole plane by default."""
        ...


@runtime_checkable
class ConceptSegmenter(Protocol):
    """A segmenter that finds objects by a text or by examples (:attr:`Traits.reads_text`)."""

    def find_concept(
        self,
        embedding: Embedding,
        concept: Concept,
        least_score: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Instance]:
        """Find every object of a kind on a plane, the most likely first; they may overlap.

        `least_score` is what an object's score must exceed, 0-1. `progress` is called with the
        finished fraction; it may raise :class:`Cancelled`.
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
    """Return what makes a model another than its parent; None for one that nobody taught."""
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
        """The segmenter that does the work, whose further abilities are asked for there."""
        return self._inner

    @property
    def traits(self) -> Traits:
        """What callers may rely on."""
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
        """What makes the model another than its parent; see :func:`taught_of`."""
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
