"""What napari asks for when a session file is dropped on the viewer, or opened with File › Open.

A session is no layer: the dock of the viewer goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

SUFFIX = ".napari-sam"


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[tuple[None]]] | None:
    """Return what reads session files; None for any others."""
    return read_session if all(one.endswith(SUFFIX) for one in _listed(path)) else None


def read_session(path: str | Sequence[str]) -> list[tuple[None]]:
    """Have the dock of the viewer go on with a session, as soon as its image is found there.

    Returns
    -------
    nothing
        What napari takes for "no layers": those of the session belong to its image.

    Raises
    ------
    RuntimeError
        Without a viewer.
    ValueError
        If there are several.
    """
    import napari

    from napari_sam.gui import open_dock

    paths = _listed(path)
    if len(paths) > 1:
        raise ValueError(f"expected one session, got {len(paths)}; open one after the other")
    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError(
            "expected a viewer in which the session goes on, got none; without one use "
            "'napari-sam replay' or 'napari-sam info'"
        )
    open_dock(viewer).keeping.open(Path(paths[0]))
    return [(None,)]


def _listed(path: str | Sequence[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)


def get_objects_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[tuple[None]]] | None:
    """Return what reads files of objects: COCO, GeoJSON, ImageJ's regions; None for others."""
    from napari_sam.io.imports import holds_objects

    return read_objects if all(holds_objects(Path(one)) for one in _listed(path)) else None


def read_objects(path: str | Sequence[str]) -> list[tuple[None]]:
    """Have the dock take objects of files into the labels of the image that is chosen there.

    Returns
    -------
    nothing
        What napari takes for "no layers".

    Raises
    ------
    RuntimeError
        Without a viewer.
    """
    import napari

    from napari_sam.gui import open_dock

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError(
            "expected a viewer with the image of these objects, got none; without one use "
            "'napari-sam import'"
        )
    keeping = open_dock(viewer).keeping
    for one in _listed(path):
        keeping.bring(Path(one))
    return [(None,)]
