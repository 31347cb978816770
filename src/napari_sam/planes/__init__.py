"""The planes of n-D images, one at a time, as the model is given them.

Viewer, runs over stacks and batches all read through a :class:`PlaneSource`, so that the same
pixels and contrast limits reach the model for every caller.
"""

from napari_sam.planes.array_source import ArraySource, Channel
from napari_sam.planes.slabs import Slab
from napari_sam.planes.source import Plane, PlaneSource, extends, plane_axes, same_planes

__all__ = [
    "ArraySource",
    "Channel",
    "Plane",
    "PlaneSource",
    "Slab",
    "extends",
    "plane_axes",
    "same_planes",
]
