"""Files that appear complete or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that takes its name when the block succeeds.

    What stood under the name before stays untouched until then, and for good if the block
    raises. The temporary path has the target's suffix; the block makes a file or a folder of
    it. Missing parent folders are made.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    temporary = target.with_name(f".{token}-{target.name}")
    try:
        yield temporary
        if target.is_dir():
            # A folder cannot be replaced in one step: move the old one aside first.
            aside = target.with_name(f".{token}-old-{target.name}")
            target.rename(aside)
            try:
                temporary.rename(target)
            except OSError:
                aside.rename(target)
                raise
            shutil.rmtree(aside)
        else:
            os.replace(temporary, target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
