"""Finding objects on whole planes: all objects, or those like a text, boxes or examples."""

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
    """The part of a session that finds objects without prompts for each."""

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
        """Find every object on some planes, in the background, as one step.

        Objects get new numbers and are written only where the labels are 0 and where the user has
        not erased anything. :attr:`run` is the progress, and :attr:`noticed` is emitted with the
        outcome. If there is one plane, larger than the model's field of view, objects are written
        tile by tile, as soon as later tiles can't change them; with post-processing, at the end.

        Parameters
        ----------
        planes
            Indices of the planes, as for :meth:`add_point`, in order.
        linked
            Whether objects that overlap on consecutive planes become one object.
        **settings
            Fields of :class:`~napari_sam.automask.AutomaskSettings`.

        Raises
        ------
        ValueError
            If a plane doesn't exist, a setting is not valid, there is no model, there are no
            labels to write into, or another run is in progress.
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
        """Find every object that a text or example boxes describe, as one step.

        Objects are written as by :meth:`find_all`.

        Parameters
        ----------
        text
            A short noun phrase in English, such as ``"nuclei"``; empty to search by boxes alone.
        planes, linked
            As for :meth:`find_all`.
        boxes, negative_boxes
            Boxes around examples of the objects, and around objects that are not to be found:
            (row 0, column 0, row 1, column 1) in pixels of each of the planes, ends inclusive.
        least_score
            The score (0-1) that an object must exceed.

        Raises
        ------
        ValueError
            As for :meth:`find_all`, or if the model can't search by text, neither a text nor a
            box is given, or a box is not valid.
        """
        concept = Concept(text, tuple(boxes), tuple(negative_boxes))
        settings: dict[str, Any] = {"text": concept.text, "text_score_thresh": float(least_score)}
        if concept.has_boxes:  # lists, as in a session's file
            settings["boxes"] = [list(box) for box in concept.boxes]
            settings["negative_boxes"] = [list(box) for box in concept.negative_boxes]
        self.find_all(planes, linked, **settings)

    def find_similar(
        self,
        planes: Iterable[object] | None = None,
        object_ids: Iterable[int] | None = None,
        linked: bool = False,
        **settings: Any,
    ) -> None:
        """Find more objects like those that are accepted, as one step.

        Objects are written as by :meth:`find_all`. Objects that were rejected, or deleted after
        they had been found, serve as counterexamples.

        Parameters
        ----------
        planes
            Indices of the planes, in order; by default those of the example objects.
        object_ids
            The examples; by default every accepted object and, if it has prompts, the current
            one.
        linked
            Whether objects that overlap on consecutive planes become one object.
        **settings
            Fields of :class:`~napari_sam.automask.SimilarSettings`.

        Raises
        ------
        ValueError
            As for :meth:`find_all`, or if there are no examples.
        """
        self._check_open()
        examples = chosen(self._examples(None if object_ids is None else set(object_ids)))
        at = list(dict.fromkeys(one.plane for one in examples if one.accepted))
        if planes is not None:
            at = [self.source.plane_of(plane) for plane in planes]
        self._runs.find_similar(self.segmenter, self.source, at, examples, linked, settings)

    @property
    def has_examples(self) -> bool:
        """Whether any object was made or accepted by a user, as :meth:`find_similar` needs."""
        facts, proposed = self._state.all_facts, self._state.proposed
        return bool(self._state.book.object_ids) or len(facts) > len(proposed)

    def _examples(self, wanted: AbstractSet[int] | None) -> Iterator[Example]:
        """Yield accepted and rejected objects on each of their planes."""
        for row in self._table.rows:
            accepted = row.state != "proposed" or (row.id == self.object_id and row.prompts > 0)
            if wanted is not None:
                accepted = row.id in wanted
            if not accepted and self.facts(row.id).accepted is not False:
                continue
            for plane, extent in self._table.extents(row.id).items():
                yield Example(row.id, plane, extent.box, accepted)

    def cancel_run(self, keep: bool = False) -> None:
        """Stop the run that is finding objects.

        Parameters
        ----------
        keep
            Whether to write the objects of the planes that are finished, and those found so far
            in a single large plane; otherwise all are dropped.
        """
        entries = self._runs.cancel(keep)
        if entries and not keep:
            self._follow(self._travel.drop(entries))
