"""Shows objects over time as a Tracks layer, and suggested divisions one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Layer, Tracks
from psygnal import Signal

from napari_sam.gui.annotation import Annotation
from napari_sam.gui.key_table import action_of
from napari_sam.gui.placement import geometry_of
from napari_sam.planes import Plane
from napari_sam.session import Session
from napari_sam.tracking import Division

if TYPE_CHECKING:
    from napari.components import ViewerModel


class TracksView:
    """Shows the objects of an image over time, and its suggested divisions.

    Labels are only read. A Tracks layer is made on request, and is updated from the labels of its
    image until it is removed.

    Parameters
    ----------
    viewer
        The viewer.

    Attributes
    ----------
    noticed
        Signal: something the user should know; emits a sentence.
    """

    noticed = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._shown: dict[Session, _Shown] = {}
        self._offered: Division | None = None
        self._wanted: tuple[Annotation, int] | None = None  # step to take once labels are read
        viewer.layers.events.removed.connect(self._layer_removed)

    def close(self) -> None:
        """Disconnect from the viewer and all sessions; the layers stay as they are."""
        self._viewer.layers.events.removed.disconnect(self._layer_removed)
        for session in list(self._shown):
            self._let_go(session)

    def layer_of(self, session: Session) -> Tracks | None:
        """Return the Tracks layer for the objects of a session; None if there is none."""
        shown = self._shown.get(session)
        return None if shown is None else shown.layer

    def link(self, annotation: Annotation) -> None:
        """Link the objects of all frames into tracks, with one label each, as one step of undo.

        Raises
        ------
        ValueError
            If the image isn't a movie of planes or volumes, or has no labels yet.
        """
        annotation.session.link_objects(0, _spacing(annotation))

    def toggle(self, annotation: Annotation) -> None:
        """Show the objects of an image as a Tracks layer, or remove that layer.

        Raises
        ------
        ValueError
            If the image isn't a movie of planes or volumes.
        """
        layer = self.layer_of(annotation.session)
        if layer is not None:
            self._viewer.layers.remove(layer)
        else:
            self._watch(annotation).show()

    def step(self, annotation: Annotation, step: int = 1) -> None:
        """Show the next suggested division (1) or the previous one (-1), from the frame on screen.

        Raises
        ------
        ValueError
            If the image isn't a movie of planes or volumes.
        """
        self._watch(annotation)
        session = annotation.session
        if session.tracks is None:
            self._wanted = annotation, step
            self.noticed.emit("Looking for divisions on all frames…")
            return
        found = session.suggested_divisions()
        if not found:
            self._offered = None
            self.noticed.emit("No division is suggested any more")
            return
        self._offer(annotation, self._next(annotation, found, step))

    def confirm(self, annotation: Annotation) -> None:
        """Confirm the offered division, and show the next one.

        Raises
        ------
        ValueError
            If none is offered.
        """
        one, axis = self._asked(annotation)
        annotation.session.confirm_division(one.parent, one.daughters, one.frame, axis)
        self._go_on(annotation)

    def reject(self, annotation: Annotation) -> None:
        """Reject the offered division, and show the next one.

        Raises
        ------
        ValueError
            If none is offered.
        """
        one, _ = self._asked(annotation)
        annotation.session.reject_division(one.parent, one.daughters)
        self._go_on(annotation)

    def _asked(self, annotation: Annotation) -> tuple[Division, int]:
        points = annotation.session.tracks
        if points is None or self._offered not in annotation.session.suggested_divisions():
            raise ValueError(
                "expected a suggested division on screen, got none; "
                f"{_key('next_division')} shows the next"
            )
        assert self._offered is not None, "it is among those suggested"
        return self._offered, points.axis

    def _go_on(self, annotation: Annotation) -> None:
        self._offered = None
        if annotation.session.suggested_divisions():
            self.step(annotation)
        else:
            self.noticed.emit("That was the last suggested division")

    def _next(self, annotation: Annotation, found: tuple[Division, ...], step: int) -> Division:
        if self._offered in found:
            return found[(found.index(self._offered) + step) % len(found)]
        points = annotation.session.tracks
        assert points is not None, "divisions come with points"
        frame = annotation.plane_to_prompt()[points.axis] or 0
        behind = [one for one in found if one.frame >= frame]
        return (behind or [found[0]])[0] if step > 0 else [*found[:1], *found][-len(behind) - 1]

    def _offer(self, annotation: Annotation, one: Division) -> None:
        session, points = annotation.session, annotation.session.tracks
        assert points is not None, "divisions come with points"
        self._offered = one
        boxes, at = [], None
        for daughter in one.daughters:
            row = session.object_row(daughter)
            planes = [] if row is None else [p for p in row.planes if p[points.axis] == one.frame]
            for plane in planes[len(planes) // 2 :][:1]:
                at = plane if at is None else at
                place = session.object_place(daughter, plane)
                boxes += [] if place is None else [place[1]]
        if at is not None:
            self._show(annotation, at, boxes)
        session.object_id = one.parent
        self.noticed.emit(
            f"Object {one.parent} may have become {one.daughters[0]} and {one.daughters[1]} on "
            f"frame {one.frame} (plausibility {one.plausibility:.2f}): "
            f"{_key('confirm_division')} confirms it, {_key('reject_division')} rejects it"
        )

    def _show(
        self, annotation: Annotation, plane: Plane, boxes: list[tuple[float, float, float, float]]
    ) -> None:
        annotation.show_plane(plane)
        if boxes:
            low = np.min(boxes, 0)[:2].tolist()
            high = np.max(boxes, 0)[2:].tolist()
            annotation.bring_into_view(plane, (low[0], low[1], high[0], high[1]))

    def _watch(self, annotation: Annotation) -> _Shown:
        session = annotation.session
        if session not in self._shown:
            session.watch_tracks(0, _spacing(annotation))
            self._shown[session] = _Shown(self._viewer, annotation)
            session.tracks_changed.connect(self._tracks_changed)
        return self._shown[session]

    def _tracks_changed(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            if wanted[0].session.tracks is None:
                self._wanted = wanted
            else:
                self.step(*wanted)

    def _layer_removed(self, event: object) -> None:
        layer: Layer = event.value  # type: ignore[attr-defined]
        for session, shown in list(self._shown.items()):
            if layer is shown.layer or layer is shown.annotation.image:
                self._let_go(session)

    def _let_go(self, session: Session) -> None:
        shown = self._shown.pop(session)
        session.tracks_changed.disconnect(self._tracks_changed)
        shown.close()


def _spacing(annotation: Annotation) -> list[float]:
    """Return the pixel sizes of a movie's frames; raise ValueError if the image is no movie."""
    image, spanned = annotation.image, annotation.session.source.spanned
    if image.ndim < 3 or spanned != (image.ndim - 2, image.ndim - 1):
        raise ValueError(
            "expected a movie, with time as its first axis and rows and columns on screen, "
            f"got an image of {image.ndim} axes; roll them back"
        )
    return [float(size) for size in image.scale[1 - image.ndim :]]


class _Shown:
    """The Tracks layer of one image."""

    def __init__(self, viewer: ViewerModel, annotation: Annotation) -> None:
        self._viewer, self.annotation = viewer, annotation
        self.layer: Tracks | None = None
        self._is_wanted = False
        annotation.session.tracks_changed.connect(self._refresh)

    def show(self) -> None:
        """Make the layer as soon as the labels have been read."""
        self._is_wanted = True
        self._refresh()

    def close(self) -> None:
        """Stop updating the layer from the labels."""
        self.annotation.session.tracks_changed.disconnect(self._refresh)
        if self.annotation.session.closed is None:
            self.annotation.session.stop_watching_tracks()

    def _refresh(self) -> None:
        session = self.annotation.session
        points = session.tracks
        if points is None or not self._is_wanted:
            return
        if not len(points.objects):
            if self.layer is not None:
                self.layer.visible = False  # napari has no tracks without a point
            return
        data = np.column_stack([points.objects, points.frames, points.places])
        there = set(points.objects.tolist())
        graph = {
            child: [parent] for child, parent in session.parents.items() if {child, parent} <= there
        }
        if self.layer is not None:
            self.layer.graph = {}  # napari refuses a graph with objects that aren't in the data
            self.layer.data = data
            self.layer.graph = graph
            self.layer.visible = True
            return
        image, layers = self.annotation.image, self._viewer.layers
        before = layers.selection.active
        made = Tracks(data, graph=graph, name=f"{image.name} · tracks", **geometry_of(image))
        layers.append(made)
        layers.selection.active = before
        self.layer = made


def _key(action: str) -> str:
    return action_of(action).keys[0].replace("Control-", "Ctrl+").replace("Shift-", "Shift+")
