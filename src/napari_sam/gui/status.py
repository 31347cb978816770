"""The status line of the dock, and the states of all planes of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_sam.gui.annotation import Annotation
from napari_sam.gui.controller import Controller
from napari_sam.gui.follow import quality_along, spans_along
from napari_sam.gui.machines import Machines
from napari_sam.gui.placement import shape_of
from napari_sam.gui.planes import axis_name
from napari_sam.session import Backlog, Plane
from napari_sam.session.spans import DOUBTFUL

Light = Literal["ready", "busy", "idle", "failed"]

_LONGEST_STRIP = 4096  # planes; with more, a cell would be too narrow to see


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the status line.

    Parameters
    ----------
    light, text
        State that the dot's colour shows, and the sentence.
    fraction
        Finished fraction from 0 to 1; None for no progress bar, negative if it is unknown.
    action
        Text of the button: stops the work, starts it again, or empty for no button.
    """

    light: Light
    text: str
    fraction: float | None = None
    action: Literal["", "Cancel", "Resume"] = ""


@dataclass(frozen=True, slots=True)
class StripState:
    """The planes along an axis, for the strip of planes.

    Parameters
    ----------
    states
        State of each plane: ``ready``, ``queued``, ``failed`` or ``none``.
    prompted
        Positions of planes that have prompts.
    current
        The position on screen.
    axis
        Name of the axis.
    object_id
        The current object.
    quality
        Quality of its carried masks, by position; empty if it was not followed.
    anchors
        Positions from which it was followed.
    """

    states: tuple[str, ...] = ()
    prompted: frozenset[int] = frozenset()
    current: int = 0
    axis: str = "plane"
    object_id: int = 1
    quality: Mapping[int, float] = field(default_factory=dict)
    anchors: frozenset[int] = frozenset()

    def cell_text(self, position: int) -> str:
        """Return the tooltip of a position: its state, and that of the current object."""
        parts = [f"{self.axis} {position}: {_STATE_TEXTS[self.states[position]]}"]
        if position in self.anchors:
            parts.append(f"object {self.object_id} is known here")
        elif (quality := self.quality.get(position)) is not None:
            doubt = ", doubtful" if quality < DOUBTFUL else ""
            parts.append(f"object {self.object_id} was carried here, quality {quality:.2f}{doubt}")
        return " · ".join(parts)


def strip_axis(annotation: Annotation, plane: Plane | None) -> int | None:
    """Return the axis of the strip: the one chosen for following, else the scrolled one."""
    chosen = annotation.chosen_axis
    if plane is not None and chosen is not None and chosen in annotation.follow_axes(plane):
        return chosen
    return annotation.scrolled_axis(plane)


def strip_of(controller: Controller) -> StripState | None:
    """Return the planes along the strip's axis; None if there is a single one, or too many."""
    annotation = controller.annotation
    plane = annotation.displayed() if annotation else None
    axis = strip_axis(annotation, plane) if annotation else None
    if annotation is None or plane is None or axis is None:
        return None
    length = shape_of(annotation.image)[axis]
    if not 1 < length <= _LONGEST_STRIP:
        return None
    session = annotation.session
    at = [(*plane[:axis], i, *plane[axis + 1 :]) for i in range(length)]
    prompted = session.prompts.planes
    object_id = session.object_id
    carried = session.quality(object_id)
    spans = spans_along(session, plane, axis) if carried else []
    return StripState(
        tuple(session.embeddings.state(p) for p in at),
        frozenset(i for i, p in enumerate(at) if p in prompted),
        plane[axis] or 0,
        axis_name(annotation.image, axis),
        object_id,
        quality_along(carried, plane, axis),
        frozenset(i for span in spans for i in span.anchors),
    )


def status_of(controller: Controller) -> Status:
    """Return the state of a viewer's status line."""
    annotation = controller.annotation
    if controller.loading is not None:
        return _loading(controller)
    if annotation is None:
        some = bool(controller.images())
        return Status("idle", "Choose an image" if some else "Open an image, or File › Open Sample")
    if controller.segmenter is None:
        return Status("failed", "No model: " + _first_line(controller.load_error), None, "Resume")
    if (lost := link_status(controller.machines)) is not None:
        return lost
    plane = annotation.displayed()
    session = annotation.session
    if session.closed is not None:
        return Status("failed", "The image has another shape now: choose it again")
    if plane is None:
        three_d = controller.viewer.dims.ndisplay == 3
        return Status("idle", "Switch to 2-D to click" if three_d else "No plane of the image here")
    state = session.embeddings.state(plane)
    if state == "queued":
        where = annotation.plane_name(plane)
        fraction = session.embeddings.fraction
        done = f" {fraction:.0%}" if fraction else ""
        waiting = " · your click is next" if session.is_waiting else ""
        text = f"Reading {where or 'the image'}{done}{waiting}"
        return Status("busy", text, -1 if fraction is None else fraction, "Cancel")
    if state == "failed":
        return Status("failed", "This plane could not be read", None, "Resume")
    if state == "none" or session.is_stopped:
        return Status("idle", "Stopped", None, "Resume")
    if session.backlog is not None:
        return decoding_status(session.backlog)
    if session.is_waiting:
        return Status("busy", "Looking closer at your click", -1, "Cancel")
    if not session.is_view_ready or session.shown != plane:
        fraction = session.view_fraction
        if fraction is None and session.shown == plane:
            return Status("failed", "What is on screen could not be read", None, "Resume")
        done = f" {fraction:.0%}" if fraction else ""
        return Status("busy", f"Reading what is on screen{done}", fraction or -1, "Cancel")
    seconds = controller.seconds.get((controller.model, controller.device))
    precision = controller.segmenter.precision
    parts = ["Ready"]
    parts += [f"{seconds:.2g} s a plane"] if seconds else []
    parts += [precision] if precision != "float32" else []
    connection = controller.machines.connection
    parts += [f"{controller.segmenter.device} at {connection.address}"] if connection else []
    return Status("ready", " · ".join(parts))


def link_status(machines: Machines) -> Status | None:
    """Return a status if a connection is lost, refused or being made; else None."""
    connection = machines.connection
    if machines.asked is not None:
        return Status("busy", f"Asking {machines.asked} for its models", -1)
    if connection is None or connection.state == "connected":
        return None
    if connection.state == "refused":
        return Status("failed", _first_line(connection.error))
    text = f"Connection to {connection.address} lost: clicks wait, connecting again"
    return Status("busy", text, -1)


def decoding_status(backlog: Backlog) -> Status:
    """Return the status while many prompts are decoded."""
    text = f"Decoding {backlog.done} of {backlog.total} prompts"
    if backlog.seconds_left is not None and backlog.seconds_left >= 1:
        text += f" · {backlog.seconds_left:.0f} s left"
    return Status("busy", text, backlog.done / backlog.total, "Cancel")


def _loading(controller: Controller) -> Status:
    name = Path(controller.model).name
    if controller.loading:
        return Status(
            "busy", f"Downloading {name} {controller.loading:.0%}", controller.loading, "Cancel"
        )
    return Status("busy", f"Loading {name}", -1, "Cancel")


_STATE_TEXTS = {
    "ready": "embedded",
    "queued": "being embedded",
    "failed": "could not be embedded",
    "none": "not embedded yet",
}


def _first_line(error: Exception | None) -> str:
    return (str(error).splitlines() or [""])[0] if error else "none loaded"
