"""Notices for the user when clicks or masks go to a hidden layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari.layers import Layer

from napari_sam.gui.annotation import Annotation

_DRAGGED = 3  # pixels of the screen; a hand moves as far in a click


class HiddenLayers:
    """Notifies the user when clicks or masks go to a hidden layer of the chosen image.

    Parameters
    ----------
    viewer
        The viewer.
    annotation
        Returns the annotation of the chosen image; None if there is none.
    notice
        Called with a sentence for the user.
    """

    def __init__(
        self,
        viewer: Any,
        annotation: Callable[[], Annotation | None],
        notice: Callable[[str], None],
    ) -> None:
        self._viewer, self._annotation, self._notice = viewer, annotation, notice
        self._reported: Layer | None = None
        viewer.mouse_drag_callbacks.append(self._pressed)

    def mask_written(self, *_: object) -> None:
        """Notify the user, once, if masks are written to a hidden layer."""
        annotation = self._annotation()
        labels = annotation.labels if annotation else None
        hidden = labels if labels is not None and not labels.visible else None
        if hidden is not None and hidden is not self._reported:
            self._notice(
                f"masks are written to '{hidden.name}', which is hidden; show it with its eye in "
                "the layer list"
            )
        self._reported = hidden

    def close(self) -> None:
        """Disconnect from the viewer."""
        if self._pressed in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._pressed)

    def _pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        """Notify the user if a click goes to a hidden layer, for which napari adds no point."""
        annotation, active = self._annotation(), self._viewer.layers.selection.active
        prompts = annotation.prompt_layers if annotation else []
        if active not in prompts or active.visible:
            return
        start = event.pos
        yield
        while event.type == "mouse_move":
            if max(abs(event.pos - start)) >= _DRAGGED:  # a drag, which moves the view
                return
            yield
        self._notice(
            f"'{active.name}' is hidden, so clicks don't reach it; show it with its eye in "
            "the layer list"
        )
