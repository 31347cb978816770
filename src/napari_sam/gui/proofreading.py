"""Shows the objects that the proofreading queue offers, and binds its keys while it is open."""

from __future__ import annotations

from functools import partial

from napari.components import ViewerModel
from psygnal import Signal

from napari_sam.gui.annotation import Annotation
from napari_sam.planes import Plane
from napari_sam.session.proofreading import Queue

# commands about the object on screen, which the user must be able to see
_ABOUT_SHOWN = frozenset({"accept", "accept_rest", "fix", "delete"})


def act_on_queue(viewer: ViewerModel, queue: Queue, command: str) -> None:
    """Call a method of a queue by its name.

    Raises
    ------
    ValueError
        In the 3-D view, if the command is about the object on screen, which is hidden there.
    """
    if command in _ABOUT_SHOWN and viewer.dims.ndisplay != 2:
        raise ValueError(
            "expected the object to be seen on its plane, got the 3-D view, where others hide it; "
            "go back to 2-D first"
        )
    getattr(queue, command)()


class Proofreading:
    """Shows each object that the queue of an image offers.

    Attributes
    ----------
    changed
        Signal: a queue changed.
    refused
        Signal: a queue couldn't be opened; emits the error.
    """

    changed = Signal()
    refused = Signal(object)

    def __init__(self) -> None:
        self._offered: tuple[int, int, Plane] | None = None  # id of the annotation, object, plane

    def watch(self, annotation: Annotation) -> None:
        """Connect to the queue of an image."""
        annotation.session.queue_changed.connect(partial(self._queue_changed, annotation))

    def toggle(self, annotation: Annotation) -> None:
        """Open the queue of an image, or close it."""
        if annotation.session.queue.is_open:
            annotation.session.queue.end()
        else:
            self.open(annotation)

    def open(self, annotation: Annotation) -> None:
        """Open the queue of an image, with the objects that aren't accepted yet."""
        try:
            annotation.session.queue.begin()
        except ValueError as error:
            self.refused.emit(error)

    def show_offered(self, annotation: Annotation) -> None:
        """Bring the offered object into view."""
        item = annotation.session.queue.current
        if item is not None:
            annotation.bring_into_view(item.plane, item.box)

    def _queue_changed(self, annotation: Annotation) -> None:
        queue: Queue = annotation.session.queue
        if queue.is_open:
            annotation.keys.open("queue")
        else:
            annotation.keys.shut("queue")
        item = queue.current
        offered = None if item is None else (id(annotation), item.object_id, item.plane)
        if offered is not None and offered != self._offered:
            self.show_offered(annotation)
        self._offered = offered
        self.changed.emit()
