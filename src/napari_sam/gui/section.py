"""The base class of the dock's sections, which draw a state whenever it differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from qtpy.QtWidgets import QWidget

from napari_sam.gui.controller import Controller

S = TypeVar("S")


class Section(QWidget, Generic[S]):
    """A part of the dock.

    A subclass computes its state from the controller, with a pure function that can be tested
    without a window, and draws it. User input becomes a command to the controller or session; no
    state is read back from the controls.

    Parameters
    ----------
    controller
        The controller of the viewer.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._shown: S | None = None

    @property
    def shown(self) -> S:
        """The state on screen."""
        if self._shown is None:
            self.refresh()
        assert self._shown is not None
        return self._shown

    def refresh(self) -> None:
        """Compute the state, and draw it if it has changed."""
        state = self._state()
        if state != self._shown:
            self._shown = state
            self._draw(state)

    def redraw(self) -> None:
        """Compute and draw the state even if it is the same, to reset controls."""
        self._shown = None
        self.refresh()

    def _attempt(self, command: Callable[[], None]) -> bool:
        """Run a command, report its error if it fails, and redraw; return whether it succeeded."""
        try:
            command()
        except (ValueError, OSError) as error:
            self._controller.refused.emit(error)
            return False
        finally:
            self.redraw()
        return True

    def _state(self) -> S:
        raise NotImplementedError

    def _draw(self, state: S) -> None:
        raise NotImplementedError
