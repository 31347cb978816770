"""What the dock's sections have in common: each shows one state, and is redrawn if it differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from qtpy.QtWidgets import QWidget

from napari_sam.gui.controller import Controller

S = TypeVar("S")


class Section(QWidget, Generic[S]):
    """A part of the dock.

    A subclass makes its state from the controller, with a pure function that can be tested without
    a window, and draws it. What a user presses becomes a command; nothing is read back from a
    control.

    Parameters
    ----------
    controller
        What is shown.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._shown: S | None = None

    @property
    def shown(self) -> S:
        """The state that is on screen."""
        if self._shown is None:
            self.refresh()
        assert self._shown is not None
        return self._shown

    def refresh(self) -> None:
        """Show how things are, if that has changed."""
        state = self._state()
        if state != self._shown:
            self._shown = state
            self._draw(state)

    def redraw(self) -> None:
        """Show how things are, also if only the controls have changed: a command was refused."""
        self._shown = None
        self.refresh()

    def _attempt(self, command: Callable[[], None]) -> bool:
        """Do what a user asked for, and show how things are; what can't be done is told."""
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
