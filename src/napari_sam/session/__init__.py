"""The state of one interactive segmentation: prompts, embeddings and masks of one image.

Everything that can change is here; windows only show it and turn a user's edits into commands.
"""

from napari_sam.patches import Patch
from napari_sam.planes import (
    ArraySource,
    Channel,
    Plane,
    PlaneSource,
    Slab,
    extends,
    plane_axes,
    same_planes,
)
from napari_sam.session.canvas import ArrayCanvas, LabelCanvas, Write
from napari_sam.session.decoding import Backlog
from napari_sam.session.embeddings import PlaneState
from napari_sam.session.image_identity import ImageContent
from napari_sam.session.interactive import Session
from napari_sam.session.journal import (
    Change,
    Entry,
    Journal,
    JournalChange,
    ObjectFacts,
    PlaneFacts,
)
from napari_sam.session.keeping import ImageFacts, Keeping
from napari_sam.session.library import KeptSession, Library
from napari_sam.session.mask_rules import MaskRules, Overlap
from napari_sam.session.object_classes import ObjectClass
from napari_sam.session.object_table import ObjectRow, ObjectState
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import PixelChange, pixel_changes
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.preview import Preview
from napari_sam.session.prompt_book import (
    NOTHING,
    BoxPrompt,
    Click,
    Group,
    ObjectPlane,
    PromptBook,
)
from napari_sam.session.proofreading import Queue, QueueItem, QueueProgress
from napari_sam.session.runs import RunProgress
from napari_sam.session.saved import SavedSession, read_session
from napari_sam.session.spans import FollowProgress, Span

__all__ = [
    "NOTHING",
    "ArrayCanvas",
    "ArraySource",
    "Backlog",
    "BoxPrompt",
    "Change",
    "Channel",
    "Click",
    "Entry",
    "FollowProgress",
    "Group",
    "ImageContent",
    "ImageFacts",
    "Journal",
    "JournalChange",
    "Keeping",
    "KeptSession",
    "LabelCanvas",
    "Library",
    "Marks",
    "MaskRules",
    "ObjectClass",
    "ObjectFacts",
    "ObjectPlane",
    "ObjectRow",
    "ObjectState",
    "Overlap",
    "Patch",
    "PixelChange",
    "Plane",
    "PlaneFacts",
    "PlaneSource",
    "PlaneState",
    "PostProcessing",
    "Preview",
    "PromptBook",
    "Queue",
    "QueueItem",
    "QueueProgress",
    "RunProgress",
    "SavedSession",
    "Session",
    "Slab",
    "Span",
    "Write",
    "extends",
    "pixel_changes",
    "plane_axes",
    "read_session",
    "same_planes",
]
