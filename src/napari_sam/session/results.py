"""What came of the prompts: a mask for each object on each plane."""

from __future__ import annotations

from collections import OrderedDict

from napari_sam.patches import Patch
from napari_sam.session.answers import Answer, Chain
from napari_sam.session.prompt_book import ObjectPlane

_CHAINS = 64  # objects whose steps are kept, so that one more click is one decode


class Results:
    """Answers by object and plane, and the steps that led to the latest of them.

    Drafts are kept apart: nothing is built on them.
    """

    def __init__(self) -> None:
        self._answers: dict[ObjectPlane, Answer] = {}
        self._chains: OrderedDict[ObjectPlane, Chain] = OrderedDict()
        self._drafts: dict[ObjectPlane, Patch] = {}

    def answer(self, key: ObjectPlane) -> Answer | None:
        """Return the latest answer; None where there is none."""
        return self._answers.get(key)

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

    def put(self, key: ObjectPlane, answer: Answer, chain: Chain | None) -> None:
        """Keep an answer; the steps of the least recently answered objects go."""
        self._answers[key] = answer
        if chain is None:  # those of other prompts hold as far as they are the same
            return
        self._chains[key] = chain
        self._chains.move_to_end(key)
        while len(self._chains) > _CHAINS:
            self._chains.popitem(last=False)

    def drop(self, key: ObjectPlane) -> bool:
        """Forget an answer; return whether there was one."""
        self._chains.pop(key, None)
        return self._answers.pop(key, None) is not None

    def forget_chains(self) -> None:
        """Forget all steps: they came from another model or image. Answers stay."""
        self._chains.clear()
