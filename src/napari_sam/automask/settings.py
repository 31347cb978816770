"""What decides which masks are generated and kept."""

from __future__ import annotations

from dataclasses import dataclass

from napari_sam.prompts import Box
from napari_sam.segmentation.concepts import Concept

_MOST_SMOOTHING = 100


@dataclass(frozen=True, slots=True)
class AutomaskSettings:
    """Settings of :func:`generate_masks`; names and defaults as in SAM's mask generator.

    Those of a decoder for instances have the names and defaults of micro-sam's.

    Parameters
    ----------
    proposals
        Whether objects come from what the model has for it, a dense head that proposes boxes or a
        decoder for instances, rather than from a grid of points. ``None`` uses what the model
        has.
    points_per_side
        Points along each side of the grid; the grid has its square.
    points_per_batch
        Prompts decoded in one pass.
    pred_iou_thresh, stability_score_thresh
        With a grid: masks of a smaller predicted IoU, or a smaller stability, are dropped; 0
        drops none.
    stability_score_offset
        The stability compares the mask cut at +offset with the one cut at −offset (logits).
    box_nms_thresh
        With a grid: largest IoU of the boxes of two kept masks of one crop.
    crop_n_layers
        With a grid: number of further passes over crops; pass i has 4**i crops.
    crop_nms_thresh
        With a grid: largest IoU of the boxes of two kept masks of different crops.
    crop_overlap_ratio
        Overlap of neighbouring crops of the first pass, as a share of the plane's shorter side.
    crop_n_points_downscale_factor
        The grid of pass i has `points_per_side` divided by this factor to the power i.
    min_mask_region_area
        With a grid: holes and islands of fewer pixels are removed, and the masks compared again.
        With a decoder: objects of fewer pixels are dropped.
    proposal_iou_thresh
        With proposals: boxes of a smaller predicted IoU are not decoded. ``None`` takes what the
        model was tuned for: with `nano` 0.55, or 0.65 where no head judges boxes region by region
        and they are as cells say them, of which there are none below 0.4. Which of boxes that
        overlap are taken does not depend on it.
    proposal_window
        With proposals: side, in model pixels, of the square that an object is decoded in first;
        in squares of twice the side as long as its mask goes on beyond; 0 decodes in the whole
        plane or tile. ``None``, here and below, takes what the model was tuned for: with `nano`
        64.
    proposal_diameter
        With proposals: diameter, in model pixels, at which the head sees objects best; it leads
        the search for the scale of a plane, which ends at the model's `max_upscale`. 0 takes the
        scale that the model chooses for any plane; with `nano` it is 28.
    proposal_overlap
        With proposals: largest share of a kept mask that may lie in masks of a higher score; with
        `nano` 0.3.
    text, boxes, negative_boxes
        What is looked for, with a model that reads text; see :func:`find_text`. Without any it is
        everything.
    text_score_thresh
        With a text or boxes: what an object's score must exceed.
    foreground_threshold
        With a decoder: pixels of at most this probability are background.
    center_distance_threshold, boundary_distance_threshold
        With a decoder: an object grows from where both distances are below these.
    foreground_smoothing, distance_smoothing
        With a decoder: standard deviations, in pixels, of the Gaussians that smooth the
        foreground and the distances; 0 smooths nothing.
    instance_score_thresh
        With a decoder: objects of a smaller score, which is the mean probability of foreground,
        are dropped.

    Raises
    ------
    ValueError
        For numbers that make no sense.
    """

    proposals: bool | None = None
    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    proposal_iou_thresh: float | None = None
    proposal_window: int | None = None
    proposal_diameter: float | None = None
    proposal_overlap: float | None = None
    text: str = ""
    boxes: tuple[Box, ...] = ()
    negative_boxes: tuple[Box, ...] = ()
    text_score_thresh: float = 0.5
    foreground_threshold: float = 0.5
    center_distance_threshold: float = 0.5
    boundary_distance_threshold: float = 0.5
    foreground_smoothing: float = 1.0
    distance_smoothing: float = 1.6
    instance_score_thresh: float = 0.0

    @property
    def concept(self) -> Concept | None:
        """What is looked for; None where it is everything."""
        if not (self.text or self.boxes or self.negative_boxes):
            return None
        return Concept(self.text, tuple(self.boxes), tuple(self.negative_boxes))

    def __post_init__(self) -> None:
        if self.concept is not None and not 0 <= self.text_score_thresh <= 1:
            raise ValueError(
                f"expected text_score_thresh between 0 and 1, got {self.text_score_thresh}"
            )
        for name in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        for name in ("crop_n_layers", "min_mask_region_area", "proposal_window"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if not 0 < self.foreground_threshold < 1:
            raise ValueError(
                "expected foreground_threshold between 0 and 1, which it is a probability of, got "
                f"{self.foreground_threshold}"
            )
        for name in ("foreground_smoothing", "distance_smoothing"):
            if not 0 <= getattr(self, name) <= _MOST_SMOOTHING:
                raise ValueError(
                    f"expected {name} from 0 to {_MOST_SMOOTHING} pixels, got {getattr(self, name)}"
                )
        finest = self.points_per_side // self.crop_n_points_downscale_factor**self.crop_n_layers
        if finest < 1:
            raise ValueError(
                f"expected at least one point in the crops of the last pass, got none of "
                f"{self.points_per_side} per side after {self.crop_n_layers} divisions by "
                f"{self.crop_n_points_downscale_factor}; use fewer passes or more points"
            )
