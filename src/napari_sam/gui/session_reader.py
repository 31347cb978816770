"""napari readers for session files and files of objects, dropped on the viewer or opened there.

They return no layers: the dock of the viewer resumes the session or imports the objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

SUFFIX = ".napari-sam"


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[tuple[None]]] | None:
    """Return a reader if all paths are session files, else None."""
    return read_session if all(one.endswith(SUFFIX) for one in _listed(path)) else None


def read_session(path: str | Sequence[str]) -> list[tuple[None]]:
    """Resume a session in the dock of the viewer, on the image that it was made on.

    Returns
    -------
    nothing
        The value that means "no layers" to napari: the layers belong to the session's image.

    Raises
    ------
    RuntimeError
        If there is no viewer.
    ValueError
        If there are several sessions.
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
    """Return a reader if all paths hold objects as COCO, GeoJSON or ImageJ regions, else None."""
    from napari_sam.io.imports import holds_objects

    return read_objects if all(holds_objects(Path(one)) for one in _listed(path)) else None


def read_objects(path: str | Sequence[str]) -> list[tuple[None]]:
    """Import the objects of files as labels of the image chosen in the dock.

    Returns
    -------
    nothing
        The value that means "no layers" to napari.

    Raises
    ------
    RuntimeError
        If there is no viewer.
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
