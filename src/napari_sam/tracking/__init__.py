"""Objects over time: those of all frames linked to tracks, and their divisions."""

from napari_sam.tracking.divisions import Division, divisions_of, suggest_divisions
from napari_sam.tracking.linking import LinkSettings, Tracks, link
from napari_sam.tracking.seen import Observed, Seen

__all__ = [
    "Division",
    "LinkSettings",
    "Observed",
    "Seen",
    "Tracks",
    "divisions_of",
    "link",
    "suggest_divisions",
]
