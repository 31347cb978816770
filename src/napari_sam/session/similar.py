"""Example objects, and the search for similar ones on a plane."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Report
from napari_sam.patches import Patch, cut
from napari_sam.planes import Plane, PlaneSource
from napari_sam.segmentation.protocol import Segmenter, part_of
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.found import Found, found_of
from napari_sam.session.object_index import extents
from napari_sam.session.pixels import PixelChange
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.state import State

if TYPE_CHECKING:
    from napari_sam.automask.similar import Examples

# The most examples that are used: more would add little.
_MOST = 64
# Erased pixels count as a rejected object if there are at least so many.
_LEAST_REFUSED = 25


@dataclass(frozen=True, slots=True)
class Example:
    """An example of the objects to be found, or a counterexample.

    Parameters
    ----------
    object_id, plane
        The object, and the plane.
    box
        (first row, first column, last row, last column) of a rectangle around its pixels.
    accepted
        True for an example, False for a counterexample.
    """

    object_id: int
    plane: Plane
    box: tuple[int, int, int, int]
    accepted: bool = True

    def words(self) -> list[Any]:
        """Return the example as JSON values for a session's file."""
        return [self.object_id, list(self.plane), list(self.box), self.accepted]

    @classmethod
    def of_words(cls, words: Sequence[Any]) -> Example:
        """Return the example that :meth:`words` returned.

        Raises
        ------
        TypeError, ValueError
            If a value is not valid.
        """
        object_id, plane, box, accepted = words
        numbers = [object_id, *box, *(i for i in plane if i is not None)]
        if not all(type(number) is int for number in numbers) or type(accepted) is not bool:
            raise TypeError(f"{words!r:.80} as an example")
        if len(box) != 4 or min(box) < 0 or box[2] < box[0] or box[3] < box[1]:
            raise ValueError(f"the rectangle {box!r:.40} of an example")
        return cls(object_id, tuple(plane), (box[0], box[1], box[2], box[3]), accepted)

    def mask(self, canvas: LabelCanvas, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return its pixels on its plane, `(H, W)`."""
        r0, c0, r1, c1 = self.box
        here = slice(r0, r1 + 1), slice(c0, c1 + 1)
        mask = np.zeros(shape, bool)
        mask[here] = canvas.read(self.plane, here) == self.object_id
        return mask


def chosen(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Return at most 64 examples, chosen evenly."""
    every = list(examples)
    places = np.linspace(0, len(every) - 1, min(len(every), _MOST)).round().astype(int)
    return tuple(every[place] for place in places)


def refused(state: State, planes: Iterable[Plane]) -> dict[Plane, tuple[Patch, ...]]:
    """Return the pixels that users erased on some planes, and found objects that they deleted."""
    away = {plane: list(state.ownership.erased_on(plane)) for plane in planes}
    for entry in state.journal.deleted:
        known = {change.key: change.before for change in entry.facts}
        ids: list[int] = entry.details.get("objects") or [entry.details.get("object", 0)]
        found = {i for i in ids if known.get(i, state.facts(i)).origin == "found"}
        for change in entry.pixels if found else ():
            if change.plane in away:
                away[change.plane] += _taken_by(change, found)
    return {plane: tuple(patches) for plane, patches in away.items()}


def _taken_by(change: PixelChange, object_ids: AbstractSet[int]) -> Iterator[Patch]:
    """Yield the pixels that each of some objects loses by a change."""
    where, before = change.where, change.before
    r, c = change.region[:2]
    labels = np.zeros(where.shape, before.dtype)
    labels[where] = before
    for number, extent in extents(labels).items():
        if number in object_ids:
            r0, c0, r1, c1 = extent.box
            part = labels[r0 : r1 + 1, c0 : c1 + 1] == number
            yield cut(part, (r + r0, c + c0))


class SimilarSearch:
    """Finds more objects like some examples, plane by plane.

    Parameters
    ----------
    segmenter, source, canvas
        The model, the image, and the labels.
    examples
        The examples and counterexamples.
    away
        The result of :func:`refused` for all planes, used as counterexamples.
    settings
        Fields of :class:`~napari_sam.automask.similar.SimilarSettings`.

    Attributes
    ----------
    given
        The model's input of each plane with examples, as words, after they were read.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        source: PlaneSource,
        canvas: LabelCanvas,
        examples: Sequence[Example],
        away: Mapping[Plane, Sequence[Patch]],
        settings: Mapping[str, Any],
    ) -> None:
        self._segmenter, self._source, self._canvas = segmenter, source, canvas
        self.examples = tuple(examples)
        self._away = away
        self._settings = settings
        self._examples: Examples | None = None
        self.given: dict[Plane, dict[str, str]] = {}

    def find(self, plane: Plane, post_processing: PostProcessing, report: Report) -> Found:
        """Find similar objects on a plane; the first call also reads the examples."""
        from napari_sam.automask import place_objects
        from napari_sam.automask.similar import SimilarSettings, find_similar

        report(0.0)
        start = 0.5 if self._examples is None else 0.0
        if self._examples is None:
            self._examples = self._read_examples(part_of(report, 0.0, start))
        pixels, limits, given = self._source.read_described(plane)
        shape = (pixels.shape[0], pixels.shape[1])
        taken = self._canvas.read(plane, (slice(0, shape[0]), slice(0, shape[1]))) != 0
        for patch in self._away.get(plane, ()):
            taken[patch.region] |= patch.pixels
        halfway = start + (1 - start) / 2
        embedding = self._segmenter.embed(pixels, limits, part_of(report, start, halfway))
        objects = find_similar(
            self._segmenter,
            embedding,
            self._examples,
            taken,
            SimilarSettings(**self._settings),
            part_of(report, halfway, 1.0),
        )
        return found_of(*place_objects(objects, shape, taken), given, post_processing)

    def _read_examples(self, report: Report | None) -> Examples:
        from napari_sam.automask.similar import examples_of, join_examples

        planes = dict.fromkeys(one.plane for one in self.examples)
        parts = []
        for i, plane in enumerate(planes):
            progress = part_of(report, i / len(planes), (i + 1) / len(planes))
            pixels, limits, given = self._source.read_described(plane)
            self.given[plane] = given.words()
            shape = (pixels.shape[0], pixels.shape[1])
            embedding = self._segmenter.embed(pixels, limits, progress)
            here = [one for one in self.examples if one.plane == plane]
            accepted = [one.mask(self._canvas, shape) for one in here if one.accepted]
            rejected = [one.mask(self._canvas, shape) for one in here if not one.accepted]
            rejected += [
                patch.within((slice(0, shape[0]), slice(0, shape[1])))
                for patch in self._away.get(plane, ())
                if patch.area >= _LEAST_REFUSED
            ]
            parts.append(examples_of(self._segmenter, embedding, accepted, rejected))
        return join_examples(parts)
