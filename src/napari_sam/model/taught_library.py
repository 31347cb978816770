"""The library of a user's taught models, by name: one file each in a folder.

Files are never replaced, and only deleted by :func:`remove`. Lists are read without torch.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.model.architecture import CheckpointError
from napari_sam.model.lesson import Card, card_of
from napari_sam.model.registry import REGISTRY, taught_folder

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel

SUFFIX = ".safetensors"

_LONGEST, _LONGEST_ENCODED = 60, 200  # letters of a name, and bytes
_SIGNS = " -_.,+()"  # beside letters and digits: what file names may have on every system
_CHECKPOINTS = (".pt", ".pth", SUFFIX)
# What Windows takes for devices, whatever follows the point.
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{i}" for d in ("com", "lpt") for i in range(10)}

_SEEN: dict[tuple[Path, int, int], TaughtFile] = {}


@dataclass(frozen=True, slots=True)
class TaughtFile:
    """A taught model on disk.

    Parameters
    ----------
    name
        Its name: in the library that of its file, elsewhere the name that it was given.
    path
        Its file.
    size
        Size of the file in bytes.
    changed
        Time when the file was written, in seconds since 1970.
    card
        Its record of the training; None if it can't be read.
    error
        Why it can't be read; empty if it can.
    """

    name: str
    path: Path
    size: int
    changed: float
    card: Card | None
    error: str = ""

    def read(self) -> TaughtModel:
        """Read its weights.

        Returns
        -------
        model
            The taught model.

        Raises
        ------
        CheckpointError
            If it is damaged.
        OSError
            If it can't be opened.
        """
        from napari_sam.model.taught import read

        return read(self.path).named(self.name)


def listed() -> list[TaughtFile]:
    """Return the taught models in the library, the latest first.

    Files that can't be read are included, with the reason in :attr:`TaughtFile.error`.
    """
    folder = taught_folder()
    found = [
        _described(path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.suffix == SUFFIX and is_name(path.stem) and path.is_file()
    ]
    return sorted(found, key=lambda one: (-one.changed, one.name))


def names() -> list[str]:
    """Return the names of the taught models in alphabetical order."""
    return sorted(one.name for one in listed())


def find(model: str | Path) -> TaughtFile | None:
    """Find a taught model by its name, or by the path of its file.

    Parameters
    ----------
    model
        A name, or a path.

    Returns
    -------
    found
        None if it is a registered model, another checkpoint, or doesn't exist.

    Raises
    ------
    CheckpointError
        If it is a taught model, but can't be read.
    """
    if isinstance(model, str) and model in REGISTRY:
        return None
    if isinstance(model, str) and is_name(model) and (path := path_of(model)).is_file():
        found = _described(path)
        if found.error:
            raise CheckpointError(found.error)
        return found
    path = Path(model).expanduser()
    try:
        if not path.is_file() or (card := card_of(path)) is None:
            return None
    except OSError:  # opening it as a checkpoint raises the error
        return None
    stat, folder = path.stat(), taught_folder()
    kept = path.absolute().parent == folder.absolute()
    name = path.stem if kept or not card.name else card.name
    return TaughtFile(name, path, stat.st_size, stat.st_mtime, card)


def find_by_key(key: str) -> TaughtFile | None:
    """Find the taught model of a model key in the library."""
    for one in listed():
        if one.card is not None and one.card.key == key:
            return one
    return None


def path_of(name: str) -> Path:
    """Return the file for the taught model of a name, whether or not it exists."""
    return taught_folder() / f"{unicodedata.normalize('NFC', name)}{SUFFIX}"


def keep(model: TaughtModel, name: str) -> TaughtFile:
    """Put a taught model into the library.

    Parameters
    ----------
    model
        The taught model.
    name
        Its name in the library.

    Returns
    -------
    file
        Its file in the library.

    Raises
    ------
    ValueError
        If the name can't be one, or is taken; see :func:`free_name`.
    OSError
        If it can't be written.
    """
    from napari_sam.model.taught import save

    check_free(name)
    path = path_of(name)
    save(model.named(path.stem), path)
    return _described(path)


def bring(path: str | Path, name: str | None = None) -> TaughtFile:
    """Copy the file of a taught model into the library.

    Parameters
    ----------
    path
        The file.
    name
        Its name in the library; by default its own, or a similar one if that is taken.

    Returns
    -------
    file
        The copy.

    Raises
    ------
    CheckpointError
        If it isn't a taught model, or is damaged.
    ValueError, OSError
        As in :func:`keep`.
    """
    from napari_sam.model.taught import read

    model = read(path)
    return keep(model, free_name(model.name or Path(path).stem) if name is None else name)


def rename(name: str, new: str) -> TaughtFile:
    """Give a taught model another name.

    Parameters
    ----------
    name, new
        Its name until now, and the new one.

    Returns
    -------
    file
        Its file under the new name.

    Raises
    ------
    CheckpointError
        If there is none of that name.
    ValueError, OSError
        As in :func:`keep`.
    """
    found = existing(name)
    if new.casefold() == name.casefold():  # one file on some disks
        check_name(new)
        path = path_of(new)
        if path.exists() and not path.samefile(found.path):
            check_free(new)
        found.path.rename(path)
        return _described(path)
    kept = keep(found.read(), new)
    found.path.unlink()
    return kept


def remove(name: str) -> None:
    """Delete a taught model; sessions that used it contain it, and stay as they are.

    Parameters
    ----------
    name
        Of the model.

    Raises
    ------
    CheckpointError
        If there is none of that name.
    OSError
        If it can't be deleted.
    """
    existing(name).path.unlink()


def existing(name: str) -> TaughtFile:
    """Return the taught model of a name, readable or not.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    for one in listed():
        if one.name == unicodedata.normalize("NFC", name):
            return one
    raise CheckpointError(
        f"expected the name of a taught model ({', '.join(names()) or 'there is none yet'}), "
        f"got {name!r}"
    )


def check_free(name: str) -> None:
    """Raise an error for a name that is invalid or taken.

    Raises
    ------
    ValueError
        If it is, with the reason.
    """
    check_name(name)
    if name.casefold() in _taken():
        raise ValueError(
            f"expected a name that no model has, got {name!r}; take another one, such as "
            f"{free_name(name)!r}, or remove that model first"
        )


def check_name(name: str) -> None:
    """Raise an error for a name that isn't a valid file name everywhere, or could be a path.

    Raises
    ------
    ValueError
        If it is, with the reason.
    """
    if not is_name(name):
        raise ValueError(
            f"expected a name of at most {_LONGEST} letters, digits, spaces or {_SIGNS.strip()}, "
            f"which begins with a letter or digit and has no point at its end, got {name[:80]!r}"
        )
    if name.casefold() in REGISTRY:
        raise ValueError(f"expected a name that no model has, got {name!r}; take another one")


def is_name(name: str) -> bool:
    """Whether a text can be the name of a taught model."""
    name = unicodedata.normalize("NFC", name)
    return (
        0 < len(name) <= _LONGEST
        and len(name.encode("utf-8", "replace")) <= _LONGEST_ENCODED
        and all(sign.isalnum() or sign in _SIGNS for sign in name)
        and name[0].isalnum()
        and not name.endswith((" ", "."))
        and not name.casefold().endswith(_CHECKPOINTS)
        and name.partition(".")[0].strip().casefold() not in _DEVICES
    )


def free_name(wish: str) -> str:
    """Return a free name for a taught model that is derived from a text."""
    text = unicodedata.normalize("NFC", wish)
    text = "".join(sign if sign.isalnum() or sign in _SIGNS else " " for sign in text)
    text = " ".join(text.split()).lstrip(_SIGNS)[: _LONGEST - 5].rstrip(" .")
    if not is_name(text):
        text = "taught"
    taken, number, name = _taken(), 2, text
    while name.casefold() in taken:
        name, number = f"{text} {number}", number + 1
    return name


def _taken() -> set[str]:
    """Return the names of all models in lower case, as some disks ignore the case."""
    return {name.casefold() for name in (*REGISTRY, *(one.name for one in listed()))}


def _described(path: Path) -> TaughtFile:
    """Describe a file of the library, whatever it is; one that hasn't changed isn't read again."""
    stat = path.stat()
    key = path, stat.st_size, stat.st_mtime_ns
    if key not in _SEEN:
        _SEEN[key] = _read_file(path, stat)
    return _SEEN[key]


def _read_file(path: Path, stat: os.stat_result) -> TaughtFile:
    name = unicodedata.normalize("NFC", path.stem)
    card, error = None, ""
    try:
        if (card := card_of(path)) is None:
            error = f"{path}: expected a taught model, got another file, or a damaged one"
    except (CheckpointError, OSError) as why:
        error = str(why)
    return TaughtFile(name, path, stat.st_size, stat.st_mtime, card, error)
