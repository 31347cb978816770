"""Objects over time: those of all frames linked to tracks, and their divisions."""

from napari_sam.tracking.divisions import Division, suggest_divisions
from napari_sam.tracking.linking import LinkSettings, Tracks, link
from napari_sam.tracking.seen import Seen

__all__ = ["Division", "LinkSettings", "Seen", "Tracks", "link", "suggest_divisions"]
