"""Follows objects through a stack or a movie on behalf of the user, and shows their planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from psygnal import Signal

from napari_sam.gui.annotation import Annotation
from napari_sam.gui.planes import coordinates_of
from napari_sam.planes import Plane, plane_axes
from napari_sam.session import Session, Span
from napari_sam.session.follow_words import locked_text

if TYPE_CHECKING:
    from napari.components import ViewerModel

Reach = Literal["both ways", "up", "down", "to here"]
"""Which way objects are followed: from the plane on screen to higher or lower planes, or from
where they are known to the plane on screen."""

_TILTED = (10.0, -30.0, 60.0)  # degrees: a tilted view shows the depth of an object
_SHARE = 0.5  # of the canvas that an object takes in the 3-D view

REACHES: tuple[Reach, ...] = ("both ways", "up", "down", "to here")


class Follow:
    """Follows objects with the options that the user has chosen, and shows their planes.

    Parameters
    ----------
    viewer
        The viewer.

    Attributes
    ----------
    changed
        Signal: an option or a followed mask changed, or a run began, progressed or ended.
    noticed
        Signal: something the user should know; emits a sentence.
    reach
        In which direction objects are followed.
    """

    changed = Signal()
    noticed = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._reach: Reach = "both ways"
        self._slice: dict[str, Any] = {}  # how the viewer was before the 3-D view
        self._angles = _TILTED

    @property
    def reach(self) -> Reach:
        """In which direction objects are followed."""
        return self._reach

    @reach.setter
    def reach(self, reach: Reach) -> None:
        self._reach = reach
        self.changed.emit()

    @property
    def is_3d(self) -> bool:
        """Whether the 3-D view is shown."""
        return self._viewer.dims.ndisplay == 3

    def choose_axis(self, annotation: Annotation, axis: int) -> None:
        """Follow objects of an image along an axis from now on; the strip of planes shows it."""
        annotation.chosen_axis = axis
        self.changed.emit()

    def watch(self, annotation: Annotation) -> None:
        """Report changes of an image's followed objects."""
        annotation.session.follow_changed.connect(self._changed)
        annotation.session.spans_changed.connect(self._changed)

    def start(self, annotation: Annotation, everything: bool = False) -> None:
        """Follow the current object, or all objects of the plane on screen.

        Raises
        ------
        ValueError
            As for :meth:`~napari_sam.session.Session.propagate`, or if there is nothing to follow.
        """
        session, plane = annotation.session, annotation.plane_to_prompt()
        axis = annotation.follow_axis(plane)
        if axis is None:
            raise ValueError(
                "expected a stack or a movie to follow objects through, got a single plane"
            )
        ids = session.followable(plane) if everything else [session.object_id]
        if not ids:
            is_locked = any(plane in row.planes for row in session.objects)
            got = "only locked ones; unlock some" if is_locked else "none; click some, or find all,"
            raise ValueError(f"expected objects on this plane to follow, got {got} first")
        first, last = reached(self._reach, plane[axis] or 0, self._known(annotation, ids, axis))
        session.propagate(ids, axis, first, last)
        if everything:
            locked = [row.id for row in session.objects if plane in row.planes]
            locked = [i for i in locked if session.facts(i).locked]
            if locked:
                self.noticed.emit(locked_text(locked))

    def step(self, annotation: Annotation, step: int) -> None:
        """Show the next doubtful plane of the current object (1), or the previous one (-1)."""
        here = annotation.displayed()  # the session gets it only when scrolling has paused
        self._show(annotation, annotation.session.next_doubtful(step, plane=here))

    def show_worst(self, annotation: Annotation) -> None:
        """Show the plane of the current object whose mask is the most doubtful."""
        self._show(annotation, annotation.session.worst_plane())

    def toggle_3d(self, annotation: Annotation) -> None:
        """Show the current object's surface in 3-D, or go back to the slice shown before."""
        dims, camera = self._viewer.dims, self._viewer.scene.camera
        if dims.ndisplay == 2:
            self._slice = {"zoom": camera.zoom, "center": camera.center, "point": dims.point}
            dims.ndisplay = 3
            self._viewer.reset_view()
            camera.angles = self._angles
            show_object_in_3d(self._viewer, annotation)
            return
        self._angles = camera.angles
        dims.ndisplay = 2
        before, self._slice = self._slice, {}
        if before:
            dims.point = before["point"]
            camera.center, camera.zoom = before["center"], before["zoom"]
        annotation.click_here()

    def _show(self, annotation: Annotation, plane: Plane | None) -> None:
        if plane is None:
            object_id = annotation.session.object_id
            followed = annotation.session.quality(object_id)
            reason = "has no doubtful plane" if followed else "was not followed yet"
            self.noticed.emit(f"Object {object_id} {reason}")
        else:
            go_to_plane(annotation, plane)

    def _known(self, annotation: Annotation, ids: list[int], axis: int) -> list[int]:
        """Return the indices along an axis of the planes where objects are known."""
        session = annotation.session
        known: set[int] = set()
        for object_id in ids:
            row = session.object_row(object_id)
            for plane in () if row is None else row.planes:
                index = plane[axis]
                if index is not None and not session.plane_facts(object_id, plane).is_carried:
                    known.add(index)
        return sorted(known)

    def _changed(self, *_: object) -> None:
        self.changed.emit()


def reached(reach: Reach, here: int, known: list[int]) -> tuple[int | None, int | None]:
    """Return the first and the last plane to which objects are followed; None for no bound.

    Parameters
    ----------
    reach
        In which direction.
    here
        Index of the plane on screen.
    known
        Indices of the planes where objects are known, ascending.

    Raises
    ------
    ValueError
        If objects are to be followed to the only plane where they are known.
    """
    if reach == "up":
        return here, None
    if reach == "down":
        return None, here
    if reach == "both ways":
        return None, None
    below = [index for index in known if index < here]
    above = [index for index in known if index > here]
    if not below and not above:
        raise ValueError(
            "expected another plane to follow to, got the one where the object is known; scroll "
            "to the plane that it should be followed to"
        )
    if here in known or not (below and above):
        return (below[-1], here) if below else (here, above[0])
    return below[-1], above[0]


def go_to_plane(annotation: Annotation, plane: Plane) -> None:
    """Show a plane of the current object, with the object in view."""
    annotation.show_plane(plane)
    place = annotation.session.object_place(annotation.session.object_id, plane)
    if place is not None and plane_axes(place[0]) == plane_axes(plane):
        annotation.bring_into_view(plane, place[1])


def show_object_in_3d(viewer: ViewerModel, annotation: Annotation) -> None:
    """Centre the 3-D view on the current object, at a zoom that shows all of it."""
    session, corners = annotation.session, []
    for plane in session.quality(session.object_id):
        place = session.object_place(session.object_id, plane)
        if place is not None and place[0] == plane:
            r0, c0, r1, c1 = place[1]
            corners += [coordinates_of(plane, (r0, c0)), coordinates_of(plane, (r1, c1))]
    if not corners:
        return
    world = np.array([annotation.image.data_to_world(corner)[-3:] for corner in corners])
    low, high = world.min(0), world.max(0)
    camera = viewer.scene.camera
    camera.center = tuple(((low + high) / 2).tolist())
    size = float(np.linalg.norm(high - low))
    if size > 0:
        camera.zoom = _SHARE * min(viewer.canvas.size) / size


def spans_along(session: Session, plane: Plane, axis: int) -> list[Span]:
    """Return the current object's spans along an axis, of those on the line through a plane."""
    spans = session.spans(session.object_id)
    return [span for span in spans if span.axis == axis and _is_in_line(span.plane, plane, axis)]


def quality_along(quality: Mapping[Plane, float], plane: Plane, axis: int) -> dict[int, float]:
    """Return the quality of masks on the line through a plane along an axis, by their index."""
    return {p[axis] or 0: q for p, q in quality.items() if _is_in_line(p, plane, axis)}


def _is_in_line(one: Plane, other: Plane, axis: int) -> bool:
    """Whether two planes differ along one axis alone, if at all."""
    return (*one[:axis], None, *one[axis + 1 :]) == (*other[:axis], None, *other[axis + 1 :])
