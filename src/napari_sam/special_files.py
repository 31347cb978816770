"""Names of named pipes and devices, which are refused before they are opened.

Opening a named pipe waits until somebody writes to it, and a device may be read for ever: what is
meant to be an image, a checkpoint, a table or a cached embedding is none of them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class SpecialFileError(ValueError):
    """There is a named pipe, a socket or a device where a file is needed."""


def refuse_special(path: str | Path) -> None:
    """Raise an error for a path that can't be opened like a file; to be called before opening.

    Links are followed. Folders and paths that don't exist or aren't accessible are not refused:
    opening them raises the error.

    Raises
    ------
    SpecialFileError
        If it is a named pipe, a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise SpecialFileError(
                f"{path}: expected a file, found {kind}, which was not opened; copy what it "
                "holds to a file and give that"
            )
