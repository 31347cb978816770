"""What the foot of the dock says: what stands in the way of a click, or what comes next."""

from __future__ import annotations

from napari_sam.gui.controller import Controller


def hint_of(controller: Controller) -> str:
    """Say what a user should know before the next click."""
    annotation = controller.annotation
    if annotation is None:
        return ""
    if annotation.points is None:
        return "G, or the inside button: click in this image"
    hidden = [layer.name for layer in annotation.prompt_layers if not layer.visible]
    if hidden:
        return f"'{hidden[0]}' is hidden: show it to click"
    if annotation.labels is not None and not annotation.labels.visible:
        return f"'{annotation.labels.name}' is hidden: masks are written there, unseen"
    change = annotation.session.last_change
    return f"↶ Ctrl+Z: {change}" if change else "left click: inside · right click: outside"
