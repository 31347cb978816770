"""Folders and stacks without a viewer: embed, segment from prompts, or segment everything.

Each name is loaded on first use, so that functions for paths alone don't import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam.batch.cluster import ClusterError, ClusterModel, on_cluster
    from napari_sam.batch.exporting import export_sessions, import_session, objects_of_session
    from napari_sam.batch.files import embed_files, segment_all_files, segment_files
    from napari_sam.batch.image import label_everything, label_objects
    from napari_sam.batch.inputs import PromptCount, check_request, count_prompts, find_images
    from napari_sam.batch.manifest import ManifestWarning
    from napari_sam.batch.replay import Replayed, replay_session, write_replayed
    from napari_sam.batch.run import BatchProgress, BatchSummary, Failure, Note
    from napari_sam.batch.tracking import track_files
    from napari_sam.io.measured import measure_labels

__all__ = [
    "BatchProgress",
    "BatchSummary",
    "ClusterError",
    "ClusterModel",
    "Failure",
    "ManifestWarning",
    "Note",
    "PromptCount",
    "Replayed",
    "check_request",
    "count_prompts",
    "embed_files",
    "export_sessions",
    "find_images",
    "import_session",
    "label_everything",
    "label_objects",
    "measure_labels",
    "objects_of_session",
    "on_cluster",
    "replay_session",
    "segment_all_files",
    "segment_files",
    "track_files",
    "write_replayed",
]

_HOMES = {
    "BatchProgress": "run",
    "BatchSummary": "run",
    "ClusterError": "cluster",
    "ClusterModel": "cluster",
    "Failure": "run",
    "ManifestWarning": "manifest",
    "Note": "run",
    "PromptCount": "inputs",
    "Replayed": "replay",
    "check_request": "inputs",
    "count_prompts": "inputs",
    "embed_files": "files",
    "export_sessions": "exporting",
    "find_images": "inputs",
    "import_session": "exporting",
    "label_everything": "image",
    "label_objects": "image",
    "measure_labels": "labelling",
    "objects_of_session": "exporting",
    "on_cluster": "cluster",
    "replay_session": "replay",
    "segment_all_files": "files",
    "segment_files": "files",
    "track_files": "tracking",
    "write_replayed": "replay",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
