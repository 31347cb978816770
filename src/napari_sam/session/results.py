"""What came of the prompts: a mask for each object on each plane, and what it wrote."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from napari_sam.plane_input import PlaneInput
from napari_sam.session.answers import Answer, Chain
from napari_sam.session.patches import Edit, Patch, Region, Written
from napari_sam.session.prompt_book import ObjectPlane

_CHAINS = 64  # objects whose steps are kept, so that one more click is one decode


class Results:
    """Answers by object and plane, the candidates users chose, and what labels hold of them.

    Drafts are kept apart: nothing is built on them.
    """

    def __init__(self) -> None:
        self._answers: dict[ObjectPlane, Answer] = {}
        self._chains: OrderedDict[ObjectPlane, Chain] = OrderedDict()
        self._drafts: dict[ObjectPlane, Patch] = {}
        self._candidates: dict[ObjectPlane, int] = {}
        self._inputs: dict[ObjectPlane, PlaneInput] = {}
        self._written: dict[ObjectPlane, Written] = {}

    def answer(self, key: ObjectPlane) -> Answer | None:
        """Return the latest answer; None where there is none."""
        return self._answers.get(key)

    def input(self, key: ObjectPlane) -> PlaneInput | None:
        """Return what the model was given for the latest answer; None where there is none."""
        return self._inputs.get(key)

    def note_input(self, key: ObjectPlane, given: PlaneInput | None) -> None:
        """Keep what the model was given for the latest answer."""
        if given is not None:
            self._inputs[key] = given

    def chain(self, key: ObjectPlane) -> Chain | None:
        """Return the steps that led to the latest answer, if they are still kept."""
        return self._chains.get(key)

    def draft(self, key: ObjectPlane) -> Patch | None:
        """Return the draft of an answer that is still to come; None where there is none."""
        return self._drafts.get(key)

    def put_draft(self, key: ObjectPlane, patch: Patch) -> None:
        """Keep a draft until it is dropped; the answer before it stays what it was."""
        self._drafts[key] = patch

    def drop_draft(self, key: ObjectPlane) -> bool:
        """Forget a draft; return whether there was one."""
        return self._drafts.pop(key, None) is not None

    def candidate(self, key: ObjectPlane) -> int | None:
        """Return the candidate a user chose; None for the model's choice."""
        return self._candidates.get(key)

    def choose(self, key: ObjectPlane, candidate: int | None) -> None:
        """Keep a user's choice of a candidate, or forget it."""
        if candidate is None:
            self._candidates.pop(key, None)
        else:
            self._candidates[key] = candidate

    def put(self, key: ObjectPlane, answer: Answer, chain: Chain) -> None:
        """Keep an answer; the steps of the least recently answered objects go."""
        self._answers[key], self._chains[key] = answer, chain
        self._chains.move_to_end(key)
        while len(self._chains) > _CHAINS:
            self._chains.popitem(last=False)

    def drop(self, key: ObjectPlane) -> bool:
        """Forget an answer; return whether there was one."""
        self._chains.pop(key, None)
        self._inputs.pop(key, None)
        return self._answers.pop(key, None) is not None

    def forget_chains(self) -> None:
        """Forget all steps: they came from another model or image. Answers stay."""
        self._chains.clear()

    def merge(
        self, key: ObjectPlane, read: Callable[[Region], NDArray[Any]], overwrite: bool
    ) -> Edit:
        """Decide what the answer changes in labels, and count it as written.

        See :meth:`Written.merge`.
        """
        answer = self._answers.get(key)
        written = self._written.setdefault(key, Written())
        return written.merge(answer.patch if answer else Patch(), key[0], read, overwrite)

    def forget_written(self) -> None:
        """Start with other labels: nothing in them was written by these answers."""
        self._written.clear()

    def note_painting(self) -> None:
        """Somebody painted in the labels: pixels like those of an undone write are theirs now."""
        for written in self._written.values():
            written.keep_last()
