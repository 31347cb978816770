"""Changes of labels that are computed in the background, and written if nothing else changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.state import State

T = TypeVar("T")

_ATTEMPTS = 3


class BackgroundEdit:
    """Computes a change of labels in another thread, and writes it in the owner's.

    Parameters
    ----------
    state
        The state of the session.
    executor
        Runs the computation.
    failed
        Called with the exception if the change can't be made.
    """

    def __init__(
        self, state: State, executor: Executor, failed: Callable[[Exception], None]
    ) -> None:
        self._state, self._executor, self._failed = state, executor, failed
        self._is_closed = False

    def close(self) -> None:
        """Drop what is being computed."""
        self._is_closed = True

    def decide(
        self,
        key: Hashable,
        task: Callable[[LabelCanvas], Callable[[Report], T]],
        write: Callable[[T], None],
        changed: str,
        attempt: int = 1,
    ) -> None:
        """Compute a change and write it; compute it again if the session changed meanwhile.

        Parameters
        ----------
        key
            Key of the work in the executor.
        task
            Called in the owner's thread with the labels; returns the function that computes the
            change in another thread.
        write
            Writes the change.
        changed
            Message of the error if the session keeps changing.
        attempt
            Number of this attempt, from 1.
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
