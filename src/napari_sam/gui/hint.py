"""The foot of the dock: what stands in the way of a click, and what undo and redo would do."""

from __future__ import annotations

from dataclasses import dataclass

from napari_sam.gui.controller import Controller


@dataclass(frozen=True, slots=True)
class FootState:
    """What the foot of the dock says.

    Parameters
    ----------
    hint
        What a user should know before the next click; empty if nothing.
    undo, redo
        What would be taken back, and made again; empty if nothing.
    """

    hint: str = ""
    undo: str = ""
    redo: str = ""


def foot_state_of(controller: Controller) -> FootState:
    """Sum up what the foot of the dock says."""
    annotation = controller.annotation
    if annotation is None:
        return FootState()
    session = annotation.session
    undo, redo = session.next_undo, session.next_redo
    return FootState(
        _in_the_way(controller) or ("" if undo or redo else _first(controller)),
        undo,
        redo,
    )


def _in_the_way(controller: Controller) -> str:
    """Say which of its layers is hidden: napari sends no clicks there."""
    annotation = controller.annotation
    assert annotation is not None
    for layer in annotation.prompt_layers:
        if not layer.visible:
            return f"'{layer.name}' is hidden: show it to click"
    if annotation.labels is not None and not annotation.labels.visible:
        return f"'{annotation.labels.name}' is hidden: masks are written there, unseen"
    return ""


def _first(controller: Controller) -> str:
    """Say how to begin."""
    if controller.annotation is None or controller.annotation.points is None:
        return "G, or the inside button: click in this image"
    return "left click: inside · right click: outside"
