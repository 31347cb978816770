"""Hints for first-time users of the dock; they end once followed, or when the user hides them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from napari_sam.gui.key_table import action_of, keys_text
from napari_sam.session.library import sessions_folder

_MARK = "first-steps-done"


class FirstSteps:
    """Remembers whether hints are shown to this user.

    Parameters
    ----------
    folder
        Folder of the marker file that ends the hints; by default beside the user's sessions.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._mark = (folder or sessions_folder().parent) / _MARK
        self.are_shown = not self._mark.exists()

    def end(self) -> None:
        """Show no more hints, now and after the next start."""
        self.are_shown = False
        with suppress(OSError):  # then they are shown again next time
            self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark.touch()


def next_step(prompted: int, found: bool, in_stack: bool = False) -> str | None:
    """Return a hint what to do next: empty if there is none yet, None if hints can end.

    Parameters
    ----------
    prompted
        Number of objects with prompts.
    found
        Whether there are other objects, found automatically or made before.
    in_stack
        Whether an object can be followed from plane to plane.
    """
    if prompted > 2:
        return None
    if prompted == 2 and not found:
        return f"{_key('find_all')} finds the rest · {_key('show_help')}: all keys"
    if prompted == 1:
        then = f"{_key('next_candidate')}: other mask"
        if in_stack:
            then = f"{_key('follow')}: follow it through the stack"
        return (
            "click what is missing, right-click what doesn't belong · "
            f"{then} · {_key('new_object')}: next object"
        )
    return ""


def _key(action_id: str) -> str:
    return keys_text(action_of(action_id))
