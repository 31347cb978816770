"""How masks are written: over what, and what is done to them before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from napari_sam.session.post_processing import OFF, PostProcessing

Overlap = Literal["keep", "overwrite", "fill gaps"]
"""What a mask does where other labels are.

``keep``: these keep their pixels. ``overwrite``: the mask takes them, but for those of locked
objects. ``fill gaps``: they keep them, and narrow gaps between them and the mask are filled, too.
"""


@dataclass(frozen=True, slots=True)
class MaskRules:
    """How masks are written.

    Parameters
    ----------
    overlap
        What happens where other labels are.
    post_processing
        What is done to a mask before.

    Raises
    ------
    ValueError
        If there is no such rule.
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
        """Return what differs from the default, as values of JSON by name."""
        told: dict[str, Any] = {} if self.overlap == "keep" else {"overlap": self.overlap}
        if words := self.post_processing.words():
            told["post_processing"] = words
        return told

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> MaskRules:
        """Return what :meth:`words` tells, among other things; ``overwrite`` is how it was told.

        Raises
        ------
        ValueError, TypeError
            If it tells no rules.
        """
        overlap = words.get("overlap", "overwrite" if words.get("overwrite") else "keep")
        return cls(overlap, PostProcessing.of_words(words.get("post_processing", {})))
