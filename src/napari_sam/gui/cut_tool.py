"""A tool that cuts an object in two along a stroke drawn on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from vispy.scene import visuals
from vispy.visuals.transforms import MatrixTransform

from napari_sam.gui.planes import plane_and_point
from napari_sam.gui.scene import matrix_of, node_of, take_out
from napari_sam.gui.slicing import data_of_world

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation

_ABOVE = 10_100  # of all layers, and of the preview


class CutTool:
    """Waits for one stroke; meanwhile a drag neither moves the view nor reaches a layer.

    If the user activates another layer or tool meanwhile, the tool is switched off.

    Parameters
    ----------
    viewer
        The viewer.
    refused
        Called with the error if the object can't be cut along the stroke.

    Attributes
    ----------
    changed
        Signal: the tool was switched on or off.
    """

    changed = Signal()

    def __init__(self, viewer: Any, refused: Callable[[Exception], None]) -> None:
        self._viewer = viewer
        self._refused = refused
        self._annotation: Annotation | None = None
        self._line: Any = None
        self._before: tuple[Any, str, bool] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the next drag cuts."""
        return self._annotation is not None

    def begin(self, annotation: Annotation) -> None:
        """Let the next drag cut the current object."""
        if self.is_waiting:
            return
        self._annotation = annotation
        layers, camera = self._viewer.layers, self._viewer.scene.camera
        active = layers.selection.active
        self._before = active, "" if active is None else str(active.mode), camera.mouse_pan
        annotation.image.mode = "pan_zoom"
        layers.selection.active = annotation.image  # which takes no clicks
        layers.selection.events.active.connect(self._active_changed)
        camera.mouse_pan = False
        self._viewer.mouse_drag_callbacks.append(self._drawn)
        self.changed.emit()

    def toggle(self, annotation: Annotation) -> None:
        """Switch the tool on or off."""
        if self.is_waiting:
            self.end()
        else:
            self.begin(annotation)

    def end(self) -> None:
        """Switch the tool off, and restore the layer and mode from before."""
        if self._annotation is None:
            return
        self._stop()
        assert self._before is not None
        active, mode, pans = self._before
        self._viewer.scene.camera.mouse_pan = pans
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active
            active.mode = mode
        self.changed.emit()

    def _active_changed(self, event: Any) -> None:
        """Switch off, and keep the layer that the user has activated."""
        if self._annotation is not None and event.value is not self._annotation.image:
            self._stop()
            self.changed.emit()

    def _stop(self) -> None:
        self._annotation = None
        self._viewer.layers.selection.events.active.disconnect(self._active_changed)
        if self._drawn in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drawn)
        if self._line is not None:
            take_out([self._line])
            self._line = None

    def _drawn(self, viewer: Any, event: Any) -> Iterator[None]:
        annotation = self._annotation
        if annotation is None:
            return
        path: list[tuple[float, float]] = []
        plane = annotation.displayed()
        self._take(event, path)
        yield
        while event.type == "mouse_move":
            self._take(event, path)
            yield
        if self._annotation is not annotation:
            return  # the image was closed, or the user activated something else
        self.end()
        try:
            if plane is None:
                plane = annotation.plane_to_prompt()
            session = annotation.session
            session.split_object(session.object_id, plane, path)
        except (ValueError, OSError) as error:
            self._refused(error)

    def _take(self, event: Any, path: list[tuple[float, float]]) -> None:
        annotation = self._annotation
        plane = annotation.displayed() if annotation is not None else None
        if annotation is None or plane is None:
            return
        at = data_of_world(self._viewer.dims, annotation.image, event.position)
        _, (row, column) = plane_and_point(at, plane)
        path.append((float(row), float(column)))
        node = node_of(self._viewer, annotation.image)
        if node is None or len(path) < 2:
            return
        if self._line is None:
            self._line = visuals.Line(width=2, color=(1, 1, 1, 1), parent=node)
            self._line.set_gl_state("translucent", depth_test=False)
            self._line.order = _ABOVE
            self._line.transform = MatrixTransform(
                matrix_of(self._viewer, annotation.image, plane, (0, 0))
            )
        self._line.set_data(pos=np.array(path, np.float32)[:, ::-1] + 0.5)
