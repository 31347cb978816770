"""Previews of the mask that a click would give, while the mouse moves over the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.gui.delay import Delay
from napari_sam.gui.planes import plane_and_point
from napari_sam.gui.preview_overlay import PreviewOverlay
from napari_sam.session import Preview, Session

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation

_SLICE_EVENTS = ("point", "order", "ndisplay")

LONGEST = 0.06
"""Seconds that a decode may take for previews to be on by default."""


class Hover:
    """Asks the session of the chosen image for previews, and shows them on the canvas.

    Parameters
    ----------
    viewer
        The viewer.
    annotation
        Returns the annotation of the chosen image; None if there is none.

    Attributes
    ----------
    changed
        Signal: the preview changed, or previews were switched on or off.
    """

    changed = Signal()

    def __init__(self, viewer: Any, annotation: Callable[[], Annotation | None]) -> None:
        self._viewer = viewer
        self._annotation = annotation
        self._followed: Annotation | None = None
        self._overlay: PreviewOverlay | None = None
        self._wanted: bool | None = None
        self._at: tuple[np.ndarray, bool] | None = None  # last mouse position, and whether Shift
        self._turns = 0.0  # of the wheel, in steps
        self._again = Delay(0, self._ask_if_none)
        viewer.mouse_move_callbacks.append(self._moved)
        viewer.mouse_drag_callbacks.append(self._pressed)
        viewer.mouse_wheel_callbacks.append(self._turned)
        viewer.events.mouse_over_canvas.connect(self._over_canvas)
        for name in _SLICE_EVENTS:
            getattr(viewer.dims.events, name).connect(self._scrolled)

    @property
    def is_on(self) -> bool:
        """Whether previews are on: as the user chose, else if they are decoded quickly."""
        if self._wanted is not None or self._session is None:
            return self._wanted is not False
        seconds = self._session.preview_seconds
        return seconds is None or seconds <= LONGEST

    @is_on.setter
    def is_on(self, on: bool) -> None:
        self._wanted = on
        self._ask()
        self.changed.emit()

    @property
    def is_automatic(self) -> bool:
        """Whether the user hasn't chosen, so that the speed decides."""
        return self._wanted is None

    @property
    def preview(self) -> Preview | None:
        """The preview on screen; None if there is none."""
        return None if self._overlay is None else self._overlay.preview

    def follow(self) -> None:
        """Change to the image that is chosen now."""
        annotation = self._annotation()
        if annotation is self._followed:
            return
        self._let_go()
        self._followed = annotation
        if annotation is not None:
            self._overlay = PreviewOverlay(self._viewer, annotation.image)
            self._listen(annotation.session, "connect")
            annotation.view_moved.connect(self._forget)
        self.changed.emit()

    def close(self) -> None:
        """Disconnect from the viewer."""
        self._again.close()
        self._let_go()
        viewer = self._viewer
        for callbacks, mine in (
            (viewer.mouse_move_callbacks, self._moved),
            (viewer.mouse_drag_callbacks, self._pressed),
            (viewer.mouse_wheel_callbacks, self._turned),
        ):
            if mine in callbacks:
                callbacks.remove(mine)
        viewer.events.mouse_over_canvas.disconnect(self._over_canvas)
        for name in _SLICE_EVENTS:
            getattr(viewer.dims.events, name).disconnect(self._scrolled)

    @property
    def _session(self) -> Session | None:
        return None if self._followed is None else self._followed.session

    def _listen(self, session: Session, verb: str) -> None:
        getattr(session.preview_changed, verb)(self._show)
        for signal in (
            session.journal_changed, session.object_changed, session.activity_changed,
            session.queue_changed,
        ):  # fmt: skip
            getattr(signal, verb)(self._ask_again)

    def _let_go(self) -> None:
        if self._followed is not None:
            self._listen(self._followed.session, "disconnect")
            self._followed.view_moved.disconnect(self._forget)
            self._followed.session.preview(None, None)
        if self._overlay is not None:
            self._overlay.close()
        self._followed = self._overlay = self._at = None

    # The mouse

    def _moved(self, viewer: Any, event: Any) -> None:
        self._at = np.array(event.position, float), "Shift" in event.modifiers
        self._ask()

    def _pressed(self, viewer: Any, event: Any) -> None:
        """Show no preview after a click until the mouse moves on."""
        self._at = None

    def _forget(self) -> None:
        """Show no preview until the mouse moves: the view below it has changed."""
        self._at = None
        self._ask()

    def _over_canvas(self, event: Any = None) -> None:
        if not self._viewer.mouse_over_canvas:
            self._forget()

    def _turned(self, viewer: Any, event: Any) -> None:
        """Use the next candidate of the click as its mask, with Shift and the wheel."""
        annotation = self._followed
        if {*event.modifiers} != {"Shift"} or annotation is None or not annotation.tool:
            return
        event.handled = True
        self._turns += sum(event.delta)  # which of the two is set depends on the system
        plane = annotation.displayed()
        if abs(self._turns) >= 1 and plane is not None:
            annotation.session.next_candidate(plane, step=1 if self._turns < 0 else -1)
            self._turns = 0.0

    def _scrolled(self, event: Any = None) -> None:
        """Replace the preview of the previous plane by one of the plane on screen."""
        if self._session is not None:
            self._session.preview(None, None)
        self._ask_again()

    # Asking and showing

    def _ask_again(self, *_: object) -> None:
        if self._at is not None:
            self._again.start()

    def _ask_if_none(self) -> None:
        if self.preview is None:
            self._ask()

    def _ask(self) -> None:
        annotation, session = self._followed, self._session
        if annotation is None or session is None:
            return
        plane = annotation.displayed() if self._at is not None and self.is_on else None
        layer = annotation.points
        if plane is None or layer is None or annotation.tool not in ("inside", "outside"):
            session.preview(None, None)
            return
        assert self._at is not None
        position, shift = self._at
        dims = self._viewer.dims  # which may have been scrolled since
        for axis in dims.not_displayed:
            position[axis] = dims.point[axis]
        at = np.asarray(layer.world_to_data(position), float)  # as napari adds a point
        plane, point = plane_and_point(at, plane)
        try:
            session.preview(plane, point, annotation.sign, shift)
        except ValueError:  # beyond the image by now
            session.preview(None, None)

    def _show(self, preview: Preview | None) -> None:
        if self._overlay is not None and self._followed is not None:
            self._overlay.show(preview, self._followed.labels)
            self.changed.emit()
