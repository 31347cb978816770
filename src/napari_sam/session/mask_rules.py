"""How masks are written: overlaps with other labels, and post-processing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from napari_sam.session.post_processing import OFF, PostProcessing

Overlap = Literal["keep", "overwrite", "fill gaps"]
"""How a mask treats pixels of other labels.

``keep``: these pixels stay with their labels. ``overwrite``: the mask takes them, except those of
locked objects. ``fill gaps``: as ``keep``, and narrow gaps between the mask and other labels are
filled.
"""


@dataclass(frozen=True, slots=True)
class MaskRules:
    """How masks are written.

    Parameters
    ----------
    overlap
        How a mask treats pixels of other labels.
    post_processing
        What is done to a mask before it is written.

    Raises
    ------
    ValueError
        If `overlap` is none of the rules.
    """

    overlap: Overlap = "keep"
    post_processing: PostProcessing = OFF

    def __post_init__(self) -> None:
        if self.overlap not in get_args(Overlap):
            raise ValueError(
                f"expected one of {', '.join(get_args(Overlap))} as the rule for overlaps, got "
                f"{str(self.overlap)[:40]!r}"
            )

    def words(self) -> dict[str, Any]:
        """Return the settings that differ from the default, as JSON values by name."""
        words: dict[str, Any] = {} if self.overlap == "keep" else {"overlap": self.overlap}
        if post_processing := self.post_processing.words():
            words["post_processing"] = post_processing
        return words

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> MaskRules:
        """Return the rules that :meth:`words` returned; other entries are ignored.

        Earlier versions stored ``overwrite`` in the place of ``overlap``.

        Raises
        ------
        ValueError, TypeError
            If a value is not one of a rule.
        """
        overlap = words.get("overlap", "overwrite" if words.get("overwrite") else "keep")
        return cls(overlap, PostProcessing.of_words(words.get("post_processing", {})))
