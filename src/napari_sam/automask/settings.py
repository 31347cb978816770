"""Settings of the generation of masks for every object of a plane."""

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
        Whether to use the model's dense head, which proposes boxes, or its decoder for instances
        rather than a grid of points. ``None`` uses whichever the model has, otherwise the grid.
    points_per_side
        Points along each side of the grid, whose number of points is the square of this.
    points_per_batch
        Prompts decoded in one batch.
    pred_iou_thresh, stability_score_thresh
        With a grid: masks of a lower predicted IoU, or a lower stability, are dropped; 0 drops
        none.
    stability_score_offset
        The stability is the IoU of the masks thresholded at +offset and at −offset (logits).
    box_nms_thresh
        With a grid: largest IoU of the boxes of two kept masks of one crop.
    crop_n_layers
        With a grid: number of additional passes over crops; pass i has 4**i crops.
    crop_nms_thresh
        With a grid: largest IoU of the boxes of two kept masks of different crops.
    crop_overlap_ratio
        Overlap of neighbouring crops of the first pass, as a share of the plane's shorter side.
    crop_n_points_downscale_factor
        The grid of pass i has `points_per_side` divided by this factor to the power i.
    min_mask_region_area
        With a grid: holes and islands of fewer pixels are removed, and duplicates are removed once
        more. With a decoder: objects of fewer pixels are dropped.
    proposal_iou_thresh
        With proposals: boxes of a lower predicted IoU are not decoded. ``None`` is the value that
        the model was tuned for: with `nano` 0.55, or 0.65 for boxes that its RoI head doesn't
        rescore; the dense head proposes none below 0.4. Non-maximum suppression of overlapping
        boxes does not depend on it.
    proposal_window
        With proposals: side, in model pixels, of the square window in which an object is decoded
        first; the side is doubled as long as the mask reaches beyond the window. 0 decodes in the
        whole plane or tile. ``None``, here and below, is the value that the model was tuned for:
        with `nano` 64.
    proposal_diameter
        With proposals: diameter of objects, in model pixels, at which the dense head detects them
        best. The scale at which a plane is encoded is searched for to match it, up to the model's
        `max_upscale`. 0 uses the model's default scale instead; with `nano` it is 28.
    proposal_overlap
        With proposals: largest share of a kept mask that may lie in masks of a higher score; with
        `nano` 0.3.
    text, boxes, negative_boxes
        What to find, with a model that reads text; see :func:`find_text`. Without any of them,
        every object is found.
    text_score_thresh
        With a text or boxes: objects whose score is not above this are left out.
    foreground_threshold
        With a decoder: pixels of at most this foreground probability are background.
    center_distance_threshold, boundary_distance_threshold
        With a decoder: the watershed's seeds are where both distances are below these.
    foreground_smoothing, distance_smoothing
        With a decoder: standard deviations, in pixels, of the Gaussians that smooth the
        foreground and the distances; 0 smooths nothing.
    instance_score_thresh
        With a decoder: objects of a lower score, which is the mean foreground probability, are
        dropped.

    Raises
    ------
    ValueError
        If a number is out of range.
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
        """The text and boxes as one value; None where every object is wanted."""
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
