"""Kinds of objects, described by a text or by example boxes, and the instances found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from napari_sam.patches import Patch
from napari_sam.prompts import Box

LONGEST_TEXT = 200
"""Largest number of characters of a text; a model's own limit may be lower."""

MOST_BOXES = 64
"""Largest number of example boxes."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A kind of object, described by a text, by example boxes, or by both.

    Parameters
    ----------
    text
        A short noun phrase in English, such as ``"nuclei"``; may be empty if there are boxes.
    boxes, negative_boxes
        Example boxes as (row 0, column 0, row 1, column 1) in pixels of the plane, as in
        :attr:`Prompts.box`: around objects of this kind, and around objects that are not.

    Raises
    ------
    ValueError
        If there is neither a text nor a box, if the text is too long or no string, if a box is
        malformed, or if there are too many boxes.
    """

    text: str = ""
    boxes: tuple[Box, ...] = ()
    negative_boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or len(self.text) > LONGEST_TEXT:
            raise ValueError(
                f"expected a text of at most {LONGEST_TEXT} letters, got {self.text!r:.80}; a noun "
                "with a word or two before it is enough"
            )
        object.__setattr__(self, "text", " ".join(self.text.split()))
        for name in ("boxes", "negative_boxes"):
            object.__setattr__(self, name, tuple(_box(one) for one in getattr(self, name)))
        if not self.text and not self.boxes:
            raise ValueError(
                "expected a text, or boxes around objects to look for more of, got neither; say "
                'what to find, such as "nuclei"'
            )
        if self.has_boxes and len(self.boxes) + len(self.negative_boxes) > MOST_BOXES:
            raise ValueError(
                f"expected at most {MOST_BOXES} boxes, got "
                f"{len(self.boxes) + len(self.negative_boxes)}; a few typical ones are enough"
            )

    @property
    def has_boxes(self) -> bool:
        """Whether there are example boxes."""
        return bool(self.boxes or self.negative_boxes)

    def check(self, plane_shape: tuple[int, int]) -> None:
        """Raise a `ValueError` if an example box lies outside a plane of shape (H, W)."""
        last = np.subtract(plane_shape, 1)
        for box in (*self.boxes, *self.negative_boxes):
            if min(box) < -0.5 or box[2] > last[0] + 0.5 or box[3] > last[1] + 0.5:
                raise ValueError(
                    f"expected boxes inside the plane of shape {plane_shape}, got {box}"
                )


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """An object that was found by a :class:`Concept`.

    Parameters
    ----------
    patch
        Its pixels, at least one.
    box
        (row 0, column 0, row 1, column 1) in pixels of the plane, as the model predicts it.
    score
        Probability that it is of the wanted kind, 0-1.
    stability
        IoU of its masks thresholded a little above and a little below the usual threshold, 0-1.
    seen
        (row 0, column 0, row 1, column 1), half-open: the part of the plane that the model was
        given.
    """

    patch: Patch
    box: Box
    score: float
    stability: float
    seen: tuple[int, int, int, int]

    def lies_in(self, part: tuple[int, int, int, int]) -> bool:
        """Whether the centre of its pixels' bounding box lies in a part of the plane.

        `part` is half-open like `seen`, so that of parts without overlap at most one has it.
        """
        r0, c0, r1, c1 = self.patch.box
        row, column = (r0 + r1 + 1) / 2, (c0 + c1 + 1) / 2
        return part[0] <= row < part[2] and part[1] <= column < part[3]


def in_order(instances: Iterable[Instance]) -> list[Instance]:
    """Return instances, the most likely first."""
    return sorted(instances, key=lambda one: -one.score)


def _box(given: Iterable[float]) -> Box:
    try:
        r0, c0, r1, c1 = (float(value) for value in given)
        if np.isfinite([r0, c0, r1, c1]).all() and r0 <= r1 and c0 <= c1:
            return r0, c0, r1, c1
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"expected a box (row 0, column 0, row 1, column 1) with row 0 ≤ row 1 and column 0 ≤ "
        f"column 1, got {given!r:.80}"
    )
