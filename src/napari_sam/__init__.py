"""Segment Anything for microscopy, live in napari and headless.

Everything public is loaded on first use, so that importing the package costs next to nothing:
neither torch nor napari nor Qt is imported with it.

Examples
--------
>>> from napari_sam import Prompts
>>> Prompts(points=[(30, 40)], point_labels=[1]).points.tolist()
[[30.0, 40.0]]
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam.automask import ObjectMask, find_text, generate_masks, segment_all
    from napari_sam.prompts import Prompts
    from napari_sam.propagate import propagate
    from napari_sam.segmentation.cached import CachedSegmenter
    from napari_sam.segmentation.loading import load_segmenter
    from napari_sam.segmentation.protocol import (
        Cancelled,
        Embedding,
        MaskPrediction,
        Segmenter,
    )
    from napari_sam.segmentation.replay import replay
    from napari_sam.segmentation.tiled import TiledSegmenter

__all__ = [
    "CachedSegmenter",
    "Cancelled",
    "Embedding",
    "MaskPrediction",
    "ObjectMask",
    "Prompts",
    "Segmenter",
    "TiledSegmenter",
    "__version__",
    "find_text",
    "generate_masks",
    "load_segmenter",
    "propagate",
    "replay",
    "segment_all",
]

__version__ = "1.0.0"

_HOMES = {
    "CachedSegmenter": "segmentation.cached",
    "Cancelled": "segmentation.protocol",
    "Embedding": "segmentation.protocol",
    "MaskPrediction": "segmentation.protocol",
    "ObjectMask": "automask",
    "Prompts": "prompts",
    "Segmenter": "segmentation.protocol",
    "TiledSegmenter": "segmentation.tiled",
    "find_text": "automask",
    "generate_masks": "automask",
    "load_segmenter": "segmentation.loading",
    "propagate": "propagate",
    "replay": "segmentation.replay",
    "segment_all": "automask",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A package whose functions are not hidden by its modules of the same name.

    The import system binds each imported module to its package, so that `napari_sam.propagate`
    would be the module or the function depending on what was imported first.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
