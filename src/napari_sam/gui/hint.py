"""Texts at the foot of the dock: a hint, and what undo and redo would change."""

from __future__ import annotations

from dataclasses import dataclass

from napari_sam.gui.controller import Controller
from napari_sam.gui.first_steps import next_step


@dataclass(frozen=True, slots=True)
class FootState:
    """The state of the foot of the dock.

    Parameters
    ----------
    hint
        What a user should know before the next click; may be empty.
    undo, redo
        The steps that undo and redo would change; empty if there is none.
    first_steps
        Whether the hint is for first-time users, who can hide it; None when they have followed
        all of these hints.
    """

    hint: str = ""
    undo: str = ""
    redo: str = ""
    first_steps: bool | None = False


def foot_state_of(controller: Controller) -> FootState:
    """Return the state of the foot of the dock."""
    annotation = controller.annotation
    if annotation is None:
        return FootState()
    session = annotation.session
    undo, redo = session.next_undo, session.next_redo
    if warning := _in_the_way(controller):
        return FootState(warning, undo, redo)
    if not undo and not redo:
        return FootState(_first(controller), undo, redo)
    if not controller.first_steps.are_shown:
        return FootState("", undo, redo)
    prompts = session.prompts
    found = session.highest_object > prompts.highest_object  # or adopted, or imported
    in_stack = session.follow_axis is not None
    step = next_step(len(prompts.object_ids), found, in_stack)
    return FootState(step or "", undo, redo, None if step is None else bool(step))


def _in_the_way(controller: Controller) -> str:
    """Return a hint if a layer is hidden, since napari sends no clicks to it; else empty."""
    annotation = controller.annotation
    assert annotation is not None
    for layer in annotation.prompt_layers:
        if not layer.visible:
            return f"'{layer.name}' is hidden: show it to click"
    if annotation.labels is not None and not annotation.labels.visible:
        return f"'{annotation.labels.name}' is hidden: masks are written there, unseen"
    return ""


def _first(controller: Controller) -> str:
    """Return the hint how to begin."""
    if controller.annotation is None or controller.annotation.points is None:
        return "press G or the inside button, then click in this image"
    return "left click: inside · right click: outside"
