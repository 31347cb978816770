"""Passes the plane on screen, and the visible part of it, to a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.layers import Image

from napari_sam.gui.delay import Delay
from napari_sam.gui.live_source import LiveSource
from napari_sam.gui.planes import displayed_plane, middle_of_view, visible_part, why_no_plane
from napari_sam.prompts import Box
from napari_sam.session import Plane, Session

if TYPE_CHECKING:
    from napari.components import ViewerModel

_SCROLL_MS = 120  # a plane is embedded when scrolling has paused this long
_CAMERA_MS = 200  # the part on screen is embedded when the camera has rested this long
_SLICE_EVENTS = ("point", "order", "ndisplay", "margin_left", "margin_right", "units")


class View:
    """Passes to a session which plane of its image is on screen, and which part of it.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.
    source, session
        The session, and its source, which is updated before the session gets a plane.
    changed
        Called at once when another plane is on screen, and again when the session has got it.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        source: LiveSource,
        session: Session,
        changed: Callable[[], None],
    ) -> None:
        self._viewer, self._image = viewer, image
        self._source, self._session = source, session
        self._changed = changed
        self._resting = False
        self._scrolling = Delay(_SCROLL_MS, self.show)
        self._camera_rest = Delay(_CAMERA_MS, self._pass_view)
        for name in _SLICE_EVENTS:
            getattr(viewer.dims.events, name).connect(self._scrolled)
        image.events.projection_mode.connect(self._scrolled)
        viewer.scene.camera.events.center.connect(self._camera_rest.start)
        viewer.scene.camera.events.zoom.connect(self._camera_rest.start)
        viewer.canvas.events.size.connect(self._camera_rest.start)

    def displayed(self) -> Plane | None:
        """Return the plane on screen; None in 3-D, outside the image, or if its data changed."""
        if self._session.closed is not None:
            return None
        return displayed_plane(self._viewer.dims, self._image, self._source.now)

    def plane_to_prompt(self) -> Plane:
        """Return the plane on screen, as it is shown now.

        Raises
        ------
        ValueError
            In the 3-D view, outside the image, or if the layer holds another image by now.
        """
        self._catch_up()
        if self._session.closed is not None:
            raise self._session.closed
        plane = self.displayed()
        if plane is None:
            raise ValueError(why_no_plane(self._viewer.dims, self._image))
        return plane

    def show(self) -> None:
        """Pass the plane on screen to the session."""
        if not self._resting:
            self._source.check_shape()
            self._source.take_up()
            plane = self.displayed()
            if plane is not None:
                self._session.show(plane, *self._part_on_screen(plane))
        self._changed()
        self._session.activity_changed.emit()

    def show_soon(self) -> None:
        """Pass the plane on screen to the session when scrolling has paused."""
        self._scrolling.start()

    def rest(self) -> None:
        """Pause while another image is chosen."""
        self._resting = True
        self._scrolling.stop()
        self._camera_rest.stop()

    def wake(self) -> None:
        """Resume, and pass the plane on screen to the session."""
        self._resting = False
        self.show()

    def close(self) -> None:
        """Disconnect from the viewer and the image."""
        self._scrolling.close()
        self._camera_rest.close()
        for name in _SLICE_EVENTS:
            getattr(self._viewer.dims.events, name).disconnect(self._scrolled)
        self._image.events.projection_mode.disconnect(self._scrolled)
        self._viewer.scene.camera.events.center.disconnect(self._camera_rest.start)
        self._viewer.scene.camera.events.zoom.disconnect(self._camera_rest.start)
        self._viewer.canvas.events.size.disconnect(self._camera_rest.start)

    def _catch_up(self) -> None:
        """Pass pending changes to the session now: a click is meant for what is shown.

        After scrolling, the plane itself need not be passed.
        """
        self._source.check_shape()
        if self._source.is_pending or self._scrolling.is_pending:
            self._source.catch_up()

    def _scrolled(self) -> None:
        self._changed()
        self._scrolling.start()

    def _pass_view(self) -> None:
        """Pass the part of the plane on screen to the session."""
        plane = self.displayed()
        if plane is not None and plane == self._session.shown and not self._resting:
            self._session.set_view(*self._part_on_screen(plane))
            self._session.activity_changed.emit()

    def _part_on_screen(self, plane: Plane) -> tuple[tuple[float, float], Box]:
        middle = middle_of_view(self._viewer, self._image, plane)
        return middle, visible_part(self._viewer, self._image, plane)
