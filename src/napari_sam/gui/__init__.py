"""The dock widget and commands in napari. Only this subpackage imports napari or Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam.gui.controller import Controller
    from napari_sam.session import Session

__all__ = ["current_session"]


def current_session(viewer: Any) -> Session:
    """Return the session of the image chosen in the dock widget, to script what the mouse does.

    The viewer's layers update when the session changes. Call it from the GUI thread.

    Parameters
    ----------
    viewer
        A ``napari.Viewer``. The dock widget is opened if it isn't open.

    Returns
    -------
    session
        The :class:`~napari_sam.session.Session` of the chosen image.

    Raises
    ------
    RuntimeError
        If no image is chosen.

    Examples
    --------
    In napari's console, with an image open::

        from napari_sam.gui import current_session
        s = current_session(viewer)
        s.add_point(plane=(), point=(120, 80))
        s.wait()
        s.mask(object_id=1, plane=()).sum()
    """
    controller = open_dock(viewer)
    if controller.annotation is None:
        raise RuntimeError(
            "expected an image chosen in the Segment Anything dock, got none; add an image layer "
            "and select it"
        )
    return controller.annotation.session


def open_dock(viewer: Any) -> Controller:
    """Return the controller of a viewer's dock, ready to work; open the dock if necessary."""
    from napari_sam.gui.controller import controller_of

    controller = controller_of(viewer)
    if controller is None:
        viewer.window.add_plugin_dock_widget("napari-sam-live", "Segment Anything")
        controller = controller_of(viewer)
    assert controller is not None
    controller.begin()
    return controller
