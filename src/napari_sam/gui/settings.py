"""The plugin's page in napari's preferences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari.settings import get_plugin_settings

PLUGIN = "napari-sam-live"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The settings that a new dock starts with.

    Parameters
    ----------
    model, device
        As for :func:`~napari_sam.load_segmenter`.
    disk_bytes, memory_bytes
        Largest size of the embeddings on disk and, per image, in memory.
    prefetch
        Number of neighbouring planes, in each direction, that are embedded in advance.
    """

    model: str = "nano"
    device: str = "auto"
    disk_bytes: int = 8 << 30
    memory_bytes: int = 2 << 30
    prefetch: int = 1


def preferences() -> Preferences:
    """Return the preferences; the defaults if napari doesn't know the plugin."""
    try:
        page: Any = get_plugin_settings(PLUGIN)
    except KeyError:
        return Preferences()
    return Preferences(
        page.model.name,
        page.model.device,
        round(page.embeddings.disk_gb * 1e9),
        round(page.embeddings.memory_gb * 1e9),
        page.embeddings.prefetch,
    )
