"""Work on labels beside all other work, whose result is written if they are still the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.state import State

T = TypeVar("T")

_ATTEMPTS = 3


class Beside:
    """Decides about labels on other threads, and has it written on the owner's.

    Parameters
    ----------
    state
        What is changed.
    executor
        Where it is decided.
    failed
        Called with the error when it can't be done.
    """

    def __init__(
        self, state: State, executor: Executor, failed: Callable[[Exception], None]
    ) -> None:
        self._state, self._executor, self._failed = state, executor, failed
        self._is_closed = False

    def close(self) -> None:
        """Write nothing more."""
        self._is_closed = True

    def decide(
        self,
        key: Hashable,
        task: Callable[[LabelCanvas], Callable[[Report], T]],
        write: Callable[[T], None],
        changed: str,
        attempt: int = 1,
    ) -> None:
        """Decide, anew where something has happened meanwhile, and write it.

        Parameters
        ----------
        key
            Of the work.
        task
            Returns what decides from the labels; called on the owner's thread.
        write
            Writes what was decided.
        changed
            What is told if labels don't stay as they are.
        attempt
            How often it is tried, this time included.
        """
        canvas = self._state.canvas
        if canvas is None:
            raise ValueError("expected labels to write into, got none; give the session a canvas")
        canvas.settle()
        before = self._state.journal.position

        def done(outcome: Outcome) -> None:
            if outcome.cancelled or self._is_closed:
                return
            try:
                if outcome.error is not None:
                    raise outcome.error
                if canvas is self._state.canvas and before == self._state.journal.position:
                    write(outcome.value)
                elif attempt < _ATTEMPTS:
                    self.decide(key, task, write, changed, attempt + 1)
                else:
                    raise ValueError(changed)
            except (ValueError, OSError, MemoryError, ImportError) as error:
                self._failed(error)

        self._executor.chore(key, task(canvas), done)
