"""How later masks are written: over what, and what is done to them before."""

from __future__ import annotations

from dataclasses import replace

from psygnal import SignalInstance

from napari_sam.session.mask_rules import MaskRules, Overlap
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.readable import Readable


class MaskSettings(Readable):
    """The part of a session that says how masks are written."""

    rules_changed: SignalInstance

    @property
    def overlap(self) -> Overlap:
        """What later masks do where other labels are: keep, overwrite, or fill gaps."""
        return self._state.rules.overlap

    @overlap.setter
    def overlap(self, overlap: Overlap) -> None:
        self._set_rules(replace(self._state.rules, overlap=overlap))

    @property
    def overwrite(self) -> bool:
        """Whether :attr:`overlap` is to overwrite; False keeps what other labels have."""
        return self.overlap == "overwrite"

    @overwrite.setter
    def overwrite(self, overwrite: bool) -> None:
        if overwrite != self.overwrite:
            self.overlap = "overwrite" if overwrite else "keep"

    @property
    def post_processing(self) -> PostProcessing:
        """What is done to later masks before they are written; nothing by default."""
        return self._state.rules.post_processing

    @post_processing.setter
    def post_processing(self, how: PostProcessing) -> None:
        self._set_rules(replace(self._state.rules, post_processing=how))

    def _set_rules(self, rules: MaskRules) -> None:
        before, self._state.rules = self._state.rules, rules
        if rules != before:
            self.rules_changed.emit()
