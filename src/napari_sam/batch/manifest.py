"""What a batch has done, so that it can go on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import xxhash

from napari_sam.special_files import refuse_special

NAME = "napari-sam-batch.jsonl"

# Raised when results change for the same input and parameters.
_VERSION = 1


class Manifest:
    """A file beside the results with one line for each: its name and a fingerprint.

    Lines are only ever added, so a run that is interrupted loses nothing, and noting a result
    costs the same however many there are.

    Parameters
    ----------
    folder
        Where the results are.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._done: dict[str, str] = {}
        refuse_special(self._path)
        if self._path.is_file():
            for line in self._path.read_text("utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._done[entry["result"]] = entry["fingerprint"]
                except (ValueError, KeyError, TypeError):  # a line cut short by a crash
                    continue

    def is_done(self, result: Path, fingerprint: str) -> bool:
        """Whether a result is there and was made from the same input in the same way."""
        return result.exists() and self._done.get(result.name) == fingerprint

    def add(self, result: Path, fingerprint: str) -> None:
        """Note a result.

        Raises
        ------
        OSError
            If the folder can't be written.
        """
        self._done[result.name] = fingerprint
        line = json.dumps({"result": result.name, "fingerprint": fingerprint})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # begins anew even after a line that was cut short


def fingerprint(image: Path, parameters: Mapping[str, object]) -> str:
    """Hash an input's identity and everything that decides its result.

    An input counts as unchanged while its size and time of modification stay the same; of a
    folder those of every file inside.
    """
    files = sorted(p for p in image.rglob("*") if p.is_file()) if image.is_dir() else [image]
    stats = [(path.name, path.stat()) for path in files]
    about = [
        _VERSION,
        str(image.resolve()),
        [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats],
        sorted((key, repr(value)) for key, value in parameters.items()),
    ]
    return xxhash.xxh3_128(json.dumps(about).encode()).hexdigest()
