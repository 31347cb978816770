"""The settings of later masks: overlaps with other labels, and post-processing."""

from __future__ import annotations

from dataclasses import replace

from psygnal import SignalInstance

from napari_sam.session.mask_rules import MaskRules, Overlap
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.readable import Readable


class MaskSettings(Readable):
    """The part of a session with the settings for how masks are written."""

    rules_changed: SignalInstance

    @property
    def overlap(self) -> Overlap:
        """How later masks treat pixels of other labels.

        ``"keep"``: these pixels stay with their labels. ``"overwrite"``: the mask takes them,
        except those of locked objects. ``"fill gaps"``: as ``"keep"``, and narrow gaps between the
        mask and other labels are filled.
        """
        return self._state.rules.overlap

    @overlap.setter
    def overlap(self, overlap: Overlap) -> None:
        self._set_rules(replace(self._state.rules, overlap=overlap))

    @property
    def overwrite(self) -> bool:
        """Whether :attr:`overlap` is ``"overwrite"``; assigning False sets it to ``"keep"``."""
        return self.overlap == "overwrite"

    @overwrite.setter
    def overwrite(self, overwrite: bool) -> None:
        if overwrite != self.overwrite:
            self.overlap = "overwrite" if overwrite else "keep"

    @property
    def post_processing(self) -> PostProcessing:
        """The post-processing of later masks before they are written; none by default."""
        return self._state.rules.post_processing

    @post_processing.setter
    def post_processing(self, how: PostProcessing) -> None:
        self._set_rules(replace(self._state.rules, post_processing=how))

    def _set_rules(self, rules: MaskRules) -> None:
        before, self._state.rules = self._state.rules, rules
        if rules != before:
            self.rules_changed.emit()
