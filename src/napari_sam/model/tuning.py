"""Numbers tuned for one model on images it was not trained on; they travel in its checkpoint.

What is the same for every model, such as tolerances and step sizes, is a constant where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

_Group = TypeVar("_Group", bound="_Numbers")


def _number(default: float, lowest: float, highest: float) -> Any:
    """Declare a number and what it may be: it may come from a file that anybody has made."""
    return field(default=default, metadata={"bounds": (lowest, highest)})


class _Numbers:
    """Numbers that are checked."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            value, (lowest, highest) = getattr(self, one.name), one.metadata["bounds"]
            kinds, wanted = (
                ((int,), "a whole number")
                if type(one.default) is int
                else (
                    (int, float),
                    "a number",
                )
            )
            if type(value) not in kinds or not math.isfinite(value):
                fits = False
            else:
                fits = lowest <= value <= highest
            if not fits:
                raise ValueError(
                    f"expected a model tuned with {type(self).__name__}.{one.name} {wanted} from "
                    f"{lowest} to {highest}, got {repr(value)[:80]}; the checkpoint is damaged or "
                    "was written by another program"
                )


@dataclass(frozen=True, slots=True)
class ScaleTuning(_Numbers):
    """Scales at which a model of small inputs decodes an object of a large plane.

    Parameters
    ----------
    magnified, magnified_halo
        Side of a magnified tile as a share of a tile's, and its halo as a share of that side: wide
        enough that small objects lie in one tile entirely.
    small
        Objects up to this share of a magnified tile's side are decoded in a magnified tile.
    halvings, least_side
        The scale of a tile is halved up to so many times, as long as its longer side has at least
        `least_side` model pixels.
    unsure
        A click's mask of a lower predicted IoU may be a part of an object that is too large for
        the scale, so that coarser ones are tried.
    surer, large
        The mask of a coarser scale is taken if its predicted IoU is higher by `surer`, and the
        object at least as large as a square of the side `large`, in model pixels of the first
        scale.
    largest, thinnest
        Boxes and masks larger than a square of the side `largest`, in model pixels, are decoded at
        a coarser scale, if a box's shorter side is longer than `thinnest`, too: thin objects would
        get lost.
    """

    magnified: float = _number(5 / 8, 0.25, 1)
    magnified_halo: float = _number(0.15, 0, 0.4)
    small: float = _number(1 / 8, 0, 1)
    halvings: int = _number(2, 0, 8)
    least_side: int = _number(128, 32, 8192)
    unsure: float = _number(0.75, 0, 1)
    surer: float = _number(0.05, 0, 1)
    large: float = _number(130.0, 0, 8192)
    largest: float = _number(120.0, 1, 8192)
    thinnest: float = _number(80.0, 1, 8192)


@dataclass(frozen=True, slots=True)
class WindowTuning(_Numbers):
    """Size of the square window of the embedding in which an object is decoded first.

    Parameters
    ----------
    click
        Side for a first click, in model pixels.
    least, room
        For a box or a mask, whose size is known: the window is `room` times its extent, and its
        side is at least `least`.
    """

    click: int = _number(192, 32, 8192)
    least: int = _number(128, 32, 8192)
    room: float = _number(1.25, 1, 16)


@dataclass(frozen=True, slots=True)
class BoxFitTuning(_Numbers):
    """How masks are fitted to a user's box.

    Parameters
    ----------
    steepness
        Logits are reduced by so much per cell beyond a side; a later click easily reverses that.
    deepest
        Lowest threshold near a side that the mask doesn't reach.
    caution
        The threshold is lowered by 1 if that brings the mask nearer to a side by this share of the
        box's extent. With less, masks swell in boxes that were drawn with room around the object.
    """

    steepness: float = _number(2.0, 0.01, 100)
    deepest: float = _number(-1.6, -20, 0)
    caution: float = _number(0.05, 0, 1)


@dataclass(frozen=True, slots=True)
class TidyTuning(_Numbers):
    """Removal of islands, and filling of holes in masks.

    Parameters
    ----------
    largest_hole
        Holes up to this share of the mask are filled: a larger one may be real.
    least_part
        In a box, parts of less than this share of the largest one are removed as specks.
    turned
        Logit of removed and filled pixels: a later click easily reverses that.
    """

    largest_hole: float = _number(0.1, 0, 1)
    least_part: float = _number(0.1, 0, 1)
    turned: float = _number(1.0, 1e-3, 20)


@dataclass(frozen=True, slots=True)
class ProposalTuning(_Numbers):
    """How boxes of a dense head become objects.

    Parameters
    ----------
    least_cell
        Cells whose box has a lower predicted IoU with its object's box are ignored.
    same_object, same_box
        Boxes of a larger IoU belong to one object, and from `same_box` on they are averaged.
    same_candidate, same_candidates_box
        The same where both the boxes of a clump and of the objects in it should be kept as
        candidates.
    least_judged, least_said
        Boxes of a lower predicted IoU, as rescored by the RoI head or as predicted by the dense
        head alone, are left out.
    worth, many
        The score of a scale is the boxes' mean excess over the score `worth`, times the power
        `many` of their number: a head often has the same scores for a clump at a coarse scale as
        for the objects in it at a fine one.
    window
        Side, in model pixels, of the square window in which an object is decoded first.
    diameter
        Diameter, in model pixels, of the objects that the head detects best.
    overlap
        Largest share of a kept mask that may lie in masks of a higher score.
    """

    least_cell: float = _number(0.4, 0, 1)
    same_object: float = _number(0.2, 0, 1)
    same_box: float = _number(0.6, 0, 1)
    same_candidate: float = _number(0.6, 0, 1)
    same_candidates_box: float = _number(0.7, 0, 1)
    least_judged: float = _number(0.55, 0, 1)
    least_said: float = _number(0.65, 0, 1)
    worth: float = _number(0.62, 0, 1)
    many: float = _number(0.5, 0, 4)
    window: int = _number(64, 0, 8192)
    diameter: float = _number(28.0, 0, 8192)
    overlap: float = _number(0.3, 0, 1)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Numbers tuned for one model.

    The defaults are those of checkpoints that carry none, so they never change: a model that
    needs others carries them. Segment Anything's models use none of them.

    Parameters
    ----------
    scales, windows, box_fit, tidying, proposals
        By what they are for.

    Raises
    ------
    ValueError
        If a number is out of its bounds.
    """

    scales: ScaleTuning = field(default_factory=ScaleTuning)
    windows: WindowTuning = field(default_factory=WindowTuning)
    box_fit: BoxFitTuning = field(default_factory=BoxFitTuning)
    tidying: TidyTuning = field(default_factory=TidyTuning)
    proposals: ProposalTuning = field(default_factory=ProposalTuning)

    def to_values(self) -> dict[str, dict[str, float]]:
        """Return the numbers by group and name, as stored in a checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: object) -> Tuning:
        """Read what :meth:`to_values` gives; what is missing has its default.

        Raises
        ------
        ValueError
            For unknown groups or names, and numbers out of their bounds.
        """
        groups = {one.name: one.default_factory for one in fields(cls)}
        return cls(
            **{
                name: _group(groups[name], name, given)  # type: ignore[arg-type]
                for name, given in _known(values, groups, "").items()
            }
        )


def _group(kind: type[_Group], name: str, given: object) -> _Group:
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    return kind(**_known(given, known, f".{name}"))


def _known(values: object, names: Mapping[str, Any] | set[str], prefix: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(
            f"expected a network with tuning{prefix} as numbers by name, got {repr(values)[:80]}; "
            "the checkpoint is damaged or was written by another program"
        )
    if unknown := [name for name in values if name not in names]:
        name = f"tuning{prefix}.{unknown[0]}"
        raise ValueError(
            f"expected tuned numbers that this version knows, got {name[:80]!r}; "
            "the checkpoint was made for a newer version of napari-sam-live: install that"
        )
    return values
