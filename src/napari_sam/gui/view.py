"""What of an image is on screen: the plane, and the part of it that is seen."""

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
_CAMERA_MS = 200  # what is on screen is encoded when the camera has rested this long
_SLICE_EVENTS = ("point", "order", "ndisplay", "margin_left", "margin_right", "units")


class View:
    """Tells a session which plane of its image is on screen, and which part of it.

    Parameters
    ----------
    viewer, image
        Where the image is.
    source, session
        What the session reads of it; taken up before the session is told of a plane.
    changed
        Called at once when another plane is on screen, and again when the session knows it.
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
        self._looking = Delay(_CAMERA_MS, self._look)
        for name in _SLICE_EVENTS:
            getattr(viewer.dims.events, name).connect(self._scrolled)
        image.events.projection_mode.connect(self._scrolled)
        viewer.scene.camera.events.center.connect(self._looking.start)
        viewer.scene.camera.events.zoom.connect(self._looking.start)
        viewer.canvas.events.size.connect(self._looking.start)

    def displayed(self) -> Plane | None:
        """Return the plane on screen; None in 3-D, outside of the image, or if it is another."""
        if self._session.closed is not None:
            return None
        return displayed_plane(self._viewer.dims, self._image, self._source.now)

    def plane_to_prompt(self) -> Plane:
        """Return the plane on screen, as it is shown now.

        Raises
        ------
        ValueError
            In 3-D or outside of the image, or if it is another one: what is missing.
        """
        self._catch_up()
        if self._session.closed is not None:
            raise self._session.closed
        plane = self.displayed()
        if plane is None:
            raise ValueError(why_no_plane(self._viewer.dims, self._image))
        return plane

    def show(self) -> None:
        """Tell the session which plane is on screen."""
        if not self._resting:
            self._source.check_shape()
            self._source.take_up()
            plane = self.displayed()
            if plane is not None:
                self._session.show(plane, *self._part_on_screen(plane))
        self._changed()
        self._session.activity_changed.emit()

    def show_soon(self) -> None:
        """Tell the session when whatever moves has paused."""
        self._scrolling.start()

    def rest(self) -> None:
        """Tell the session nothing while another image is chosen."""
        self._resting = True
        self._scrolling.stop()
        self._looking.stop()

    def wake(self) -> None:
        """Tell the session which plane is on screen, from now on."""
        self._resting = False
        self.show()

    def close(self) -> None:
        """Let go of the viewer and the image."""
        self._scrolling.close()
        self._looking.close()
        for name in _SLICE_EVENTS:
            getattr(self._viewer.dims.events, name).disconnect(self._scrolled)
        self._image.events.projection_mode.disconnect(self._scrolled)
        self._viewer.scene.camera.events.center.disconnect(self._looking.start)
        self._viewer.scene.camera.events.zoom.disconnect(self._looking.start)
        self._viewer.canvas.events.size.disconnect(self._looking.start)

    def _catch_up(self) -> None:
        """Take up at once what was to be taken up in a moment: a click is meant for what is shown.

        A plane that was scrolled to needs no more than its number.
        """
        self._source.check_shape()
        if self._source.is_pending or self._scrolling.is_pending:
            self._source.catch_up()

    def _scrolled(self) -> None:
        self._changed()
        self._scrolling.start()

    def _look(self) -> None:
        """Tell the session which part of the plane is on screen."""
        plane = self.displayed()
        if plane is not None and plane == self._session.shown and not self._resting:
            self._session.look(*self._part_on_screen(plane))
            self._session.activity_changed.emit()

    def _part_on_screen(self, plane: Plane) -> tuple[tuple[float, float], Box]:
        middle = middle_of_view(self._viewer, self._image, plane)
        return middle, visible_part(self._viewer, self._image, plane)
