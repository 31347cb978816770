"""The answers to the prompts: a mask for each object on each plane."""

from __future__ import annotations

from collections import OrderedDict

from napari_sam.patches import Patch
from napari_sam.session.answers import Answer, DecodeHistory
from napari_sam.session.prompt_book import ObjectPlane

_MOST_HISTORIES = 64  # objects whose decode history is kept, so that another click is one decode


class Results:
    """Answers by object and plane, and the decode histories of the latest of them.

    Drafts are kept apart: they are only for display.
    """

    def __init__(self) -> None:
        self._answers: dict[ObjectPlane, Answer] = {}
        self._histories: OrderedDict[ObjectPlane, DecodeHistory] = OrderedDict()
        self._drafts: dict[ObjectPlane, Patch] = {}

    def answer(self, key: ObjectPlane) -> Answer | None:
        """Return the latest answer; None if there is none."""
        return self._answers.get(key)

    def history(self, key: ObjectPlane) -> DecodeHistory | None:
        """Return the decode history of the latest answer; None if it isn't kept any more."""
        return self._histories.get(key)

    def draft(self, key: ObjectPlane) -> Patch | None:
        """Return the draft of an answer that is still being predicted; None if there is none."""
        return self._drafts.get(key)

    def put_draft(self, key: ObjectPlane, patch: Patch) -> None:
        """Store a draft until it is dropped; the previous answer stays."""
        self._drafts[key] = patch

    def drop_draft(self, key: ObjectPlane) -> bool:
        """Drop a draft; return whether there was one."""
        return self._drafts.pop(key, None) is not None

    def put(self, key: ObjectPlane, answer: Answer, history: DecodeHistory | None) -> None:
        """Store an answer; the histories of the least recently answered objects are dropped."""
        self._answers[key] = answer
        if history is None:  # the earlier history stays of use as far as prompts are the same
            return
        self._histories[key] = history
        self._histories.move_to_end(key)
        while len(self._histories) > _MOST_HISTORIES:
            self._histories.popitem(last=False)

    def drop(self, key: ObjectPlane) -> bool:
        """Drop an answer; return whether there was one."""
        self._histories.pop(key, None)
        return self._answers.pop(key, None) is not None

    def forget_histories(self) -> None:
        """Drop all histories, as after a change of model or image. Answers stay."""
        self._histories.clear()
