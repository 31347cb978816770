"""Looking for objects on whole planes: for every one, or for more like those that are there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from napari_sam.planes import PlaneSource
from napari_sam.prompts import Box
from napari_sam.segmentation.concepts import Concept
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.object_commands import ObjectCommands
from napari_sam.session.similar import Example, chosen
from napari_sam.session.travel import Travel


class Searching(ObjectCommands):
    """The part of a session that looks for objects by itself."""

    _travel: Travel

    @property
    @abstractmethod
    def segmenter(self) -> Segmenter | None:
        """The model."""

    @property
    @abstractmethod
    def source(self) -> PlaneSource:
        """The image."""

    def find_all(
        self, planes: Iterable[object] = ((),), linked: bool = True, **settings: Any
    ) -> None:
        """Find every object of some planes, in the background, as one step of the journal.

        Objects are written where the labels are 0 and where nobody has erased anything; their
        numbers are new. :attr:`run` says how far that is, :attr:`noticed` how it ended. On one
        plane that is larger than the model sees at once they are written and numbered square by
        square, as soon as nothing still to come can change them; with post-processing, which
        needs all of them, at the end.

        Parameters
        ----------
        planes
            Indices of planes, as for :meth:`add_point`, in their order.
        linked
            Whether objects that overlap from one plane to the next are one.
        **settings
            Fields of :class:`~napari_sam.automask.AutomaskSettings`.

        Raises
        ------
        ValueError
            If a plane doesn't exist, a setting makes no sense, there is no model or are no labels
            to write into, or a run is going on already.
        """
        self._check_open()
        at = [self.source.plane_of(plane) for plane in planes]
        self._runs.find_all(self.segmenter, self.source, at, linked, settings)

    def find_text(
        self,
        text: str = "",
        planes: Iterable[object] = ((),),
        linked: bool = True,
        boxes: Iterable[Box] = (),
        negative_boxes: Iterable[Box] = (),
        least_score: float = 0.5,
    ) -> None:
        """Find every object that a text or some boxes tell of, as one step of the journal.

        Objects are written as by :meth:`find_all`.

        Parameters
        ----------
        text
            A short noun phrase in English, such as ``"nuclei"``; empty where boxes alone tell.
        planes, linked
            As of :meth:`find_all`.
        boxes, negative_boxes
            (row 0, column 0, row 1, column 1) in pixels of each of these planes: around objects
            of the kind, and around some that are none.
        least_score
            What the score of an object must exceed, 0-1.

        Raises
        ------
        ValueError
            As :meth:`find_all` does, and where the model reads no text, nothing is told, or a box
            is none.
        """
        concept = Concept(text, tuple(boxes), tuple(negative_boxes))
        told: dict[str, Any] = {"text": concept.text, "text_score_thresh": float(least_score)}
        if concept.has_boxes:  # as a file keeps them
            told["boxes"] = [list(box) for box in concept.boxes]
            told["negative_boxes"] = [list(box) for box in concept.negative_boxes]
        self.find_all(planes, linked, **told)

    def find_similar(
        self,
        planes: Iterable[object] | None = None,
        object_ids: Iterable[int] | None = None,
        linked: bool = False,
        **settings: Any,
    ) -> None:
        """Find more objects like those that are accepted, as one step of the journal.

        Objects are written as by :meth:`find_all`. Those that were rejected, or deleted after
        they had been found, count as what isn't looked for.

        Parameters
        ----------
        planes
            Indices of planes, in their order; by default those that have such objects.
        object_ids
            What to look for more of; by default every accepted object and, if it has prompts,
            the current one.
        linked
            Whether objects that overlap from one plane to the next are one.
        **settings
            Fields of :class:`~napari_sam.automask.SimilarSettings`.

        Raises
        ------
        ValueError
            As :meth:`find_all` does, and where there is nothing to look for more of.
        """
        self._check_open()
        examples = chosen(self._examples(None if object_ids is None else set(object_ids)))
        at = list(dict.fromkeys(one.plane for one in examples if one.accepted))
        if planes is not None:
            at = [self.source.plane_of(plane) for plane in planes]
        self._runs.find_similar(self.segmenter, self.source, at, examples, linked, settings)

    @property
    def has_examples(self) -> bool:
        """Whether a person made or accepted anything that there may be more of."""
        facts, proposed = self._state.all_facts, self._state.proposed
        return bool(self._state.book.object_ids) or len(facts) > len(proposed)

    def _examples(self, wanted: AbstractSet[int] | None) -> Iterator[Example]:
        """Return where accepted and rejected objects lie."""
        for row in self._table.rows:
            accepted = row.state != "proposed" or (row.id == self.object_id and row.prompts > 0)
            if wanted is not None:
                accepted = row.id in wanted
            if not accepted and self.facts(row.id).accepted is not False:
                continue
            for plane, extent in self._table.extents(row.id).items():
                yield Example(row.id, plane, extent.box, accepted)

    def cancel_run(self, keep: bool = False) -> None:
        """Stop finding objects.

        Parameters
        ----------
        keep
            Whether what was found on planes that are done, and in one large plane so far, is
            written; otherwise it is dropped.
        """
        entries = self._runs.cancel(keep)
        if entries and not keep:
            self._follow(self._travel.drop(entries))
