"""The record of finished results of a batch, so that it can continue after an interruption."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import xxhash

from napari_sam.atomic import locked, sweep
from napari_sam.special_files import refuse_special

NAME = "napari-sam-batch.jsonl"
ENDINGS = ("_overlay.png", "_measurements.csv", "_tracks.csv", "_ctc")
"""Of what is written beside labels."""

# Raised when results change for the same input and parameters.
_VERSION = 2


class ManifestWarning(UserWarning):
    """The record of a batch's finished results can't be read or written in full."""


class Manifest:
    """A file beside the results that records for each that it was begun, and how it was made.

    A line has a result's name and a fingerprint, which is empty while the result is being made.
    Lines are only ever added, so that an interrupted run loses nothing, and adding one takes the
    same time however many there are. A damaged line is skipped with a :class:`ManifestWarning`;
    if the file can't be read or written, no result counts as finished and none is recorded.

    A run uses it as a context manager. On entering, partial files that killed runs left a day ago
    or longer are removed, unless another run works in this folder.

    Parameters
    ----------
    folder
        The folder of the results.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._done: dict[str, str | None] = {}
        self._busy = ExitStack()
        refuse_special(self._path)
        self._is_usable = True
        self._is_held = False
        try:
            if self._path.is_file():
                self._read()
            elif self._path.exists():
                self._do_without("it is no file")
        except OSError as error:
            self._do_without(str(error))

    def _read(self) -> None:
        skipped = []
        for number, line in enumerate(self._path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                name, mark = entry["result"], entry["fingerprint"]
                if not isinstance(name, str):
                    raise TypeError(f"expected the name of a result, got {name!r}")
                self._done[name] = mark
            except (KeyError, RecursionError, TypeError, ValueError):
                skipped.append(number)
        if skipped:
            more = f" and {len(skipped) - 1} more lines" if len(skipped) > 1 else ""
            warnings.warn(
                f"{self._path}: line {skipped[0]}{more} can't be read, so what was noted there "
                "may be done again; delete such lines, or the whole file to do everything anew",
                ManifestWarning,
                stacklevel=2,
            )

    def __enter__(self) -> Manifest:
        if self._path.is_file() and self._is_usable:
            with locked(self._path) as is_alone:
                if is_alone:
                    names = {other for name in self._done for other in results_beside(name)}
                    sweep(self._path.parent, names | {NAME})
        return self

    def __exit__(self, *_: object) -> None:
        self._busy.close()

    def _do_without(self, reason: str) -> None:
        self._is_usable = False
        warnings.warn(
            f"what is done can't be noted in {self._path}: {reason}; move it away, or the next "
            "run does everything again",
            ManifestWarning,
            stacklevel=2,
        )

    def is_done(self, result: Path, fingerprint: str) -> bool:
        """Whether a result exists and was made from the same input in the same way."""
        return result.exists() and self._done.get(result.name) == fingerprint

    def begin(self, result: Path) -> None:
        """Record that a result is being made, so that what a killed run leaves can be removed.

        Raises
        ------
        OSError
            If the folder can't be made, or the disk is full.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write(result, None)

    def add(self, result: Path, fingerprint: str) -> None:
        """Record a finished result.

        Raises
        ------
        OSError
            If the disk is full.
        """
        self._write(result, fingerprint)

    def _write(self, result: Path, fingerprint: str | None) -> None:
        self._done[result.name] = fingerprint
        if not self._is_usable:
            return
        line = json.dumps({"result": result.name, "fingerprint": fingerprint})
        try:
            file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            self._do_without(str(error))
            return
        with file:
            file.write(f"\n{line}\n")  # begins anew even after a line that was cut short
        if not self._is_held:
            self._is_held = True
            self._busy.enter_context(locked(self._path, shared=True))


def results_beside(labels: str) -> tuple[str, ...]:
    """Return the names of all files that are written with a label file, its own first."""
    stem, _, suffix = labels.rpartition("_labels.")
    return (labels, *(f"{stem}{ending}" for ending in ENDINGS)) if suffix else (labels,)


def fingerprint(image: Path, parameters: Mapping[str, object]) -> str:
    """Hash an input's identity and everything that its result depends on.

    An input counts as unchanged while its size and time of modification are the same, or those of
    every file in it if it is a folder.
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
