"""The state of one interactive segmentation: prompts, embeddings and masks of one image.

Everything that can change is here; windows only show it and turn a user's edits into commands.
"""

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
from napari_sam.session.decoding import Backlog
from napari_sam.session.embeddings import PlaneState
from napari_sam.session.interactive import Session
from napari_sam.session.patches import Edit, Patch
from napari_sam.session.prompt_book import BoxPrompt, Click, Group, ObjectPlane, PromptBook

__all__ = [
    "ArraySource",
    "Backlog",
    "BoxPrompt",
    "Channel",
    "Click",
    "Edit",
    "Group",
    "ObjectPlane",
    "Patch",
    "Plane",
    "PlaneSource",
    "PlaneState",
    "PromptBook",
    "Session",
    "Slab",
    "extends",
    "plane_axes",
    "same_planes",
]
