"""Changes of prompts, to take back and to make again."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from napari_sam.session.prompt_book import PromptBook, describe

_UNDO = 500  # changes that can be taken back


class History:
    """The prompt book as it was before each change, and after those that were taken back."""

    def __init__(self) -> None:
        self._past: deque[PromptBook] = deque(maxlen=_UNDO)
        self._future: deque[PromptBook] = deque(maxlen=_UNDO)

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to make again."""
        return bool(self._future)

    def push(self, before: PromptBook) -> None:
        """Remember a book that is about to be changed; what was taken back is forgotten."""
        self._past.append(before)
        self._future.clear()

    def undo(self, current: PromptBook) -> PromptBook | None:
        """Return the book before the last change of `current`; None if there was none."""
        return _travel(current, self._past, self._future)

    def redo(self, current: PromptBook) -> PromptBook | None:
        """Return the book after the change that was last taken back; None if none was."""
        return _travel(current, self._future, self._past)

    def last_change(self, current: PromptBook) -> str:
        """Say in a few words what :meth:`undo` would take back; empty if nothing."""
        return describe(self._past[-1], current) if self._past else ""


def _travel(
    current: PromptBook, there: deque[PromptBook], back: deque[PromptBook]
) -> PromptBook | None:
    if not there:
        return None
    back.append(current)
    # identifiers are never given twice, also not after an undo
    return replace(there.pop(), next_id=current.next_id)
