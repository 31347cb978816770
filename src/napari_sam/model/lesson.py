"""The record that a taught model has of its training: read without its weights or torch."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from napari_sam.model.architecture import CheckpointError
from napari_sam.special_files import SpecialFileError, refuse_special

METADATA = "taught"
"""Key of the record in the metadata of a taught model's safetensors file."""

_VERSION = 1
_LARGEST_HEADER = 2**22  # bytes; a network of 5,000 tensors has half a megabyte
_LONGEST_TEXT = 2**20
_LONGEST_WORD = 300
_MOST_SOURCES = 10_000
_MOST_EARLIER = 100
_MOST_SCORES = 20
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A figure on what was held back, before and after.

    Parameters
    ----------
    before, after
        IoU, or average precision, 0-1.
    count
        Objects that it rests on.
    """

    before: float
    after: float
    count: int

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a model was taught, and on which parent.

    Parameters
    ----------
    parent
        Name, or file name, of the model that was taught.
    parent_key
        Its model key, see :func:`~napari_sam.model.keys.model_key`: it fits no other.
    objects, planes
        How many it was taught on.
    complete
        Planes of them with a region in which everything was labelled.
    sources
        File names, where the user wanted them kept.
    scores
        On what was held back, by name: ``"click"``, ``"clicks"`` (three), ``"box"`` and, of models
        with heads, ``"everything"``.
    parts
        Parts of the network that were taught.
    steps, seed, threads
        What makes the same weights again of the same objects.
    thorough
        Whether the encoder was taught as well.
    version
        Of this program.
    when
        Day, as ``"2026-12-24"``.
    earlier
        What it had been taught before, first to last, where a taught model was taught again.
    """

    parent: str
    parent_key: str
    objects: int
    planes: int
    complete: int = 0
    sources: tuple[str, ...] = ()
    scores: Mapping[str, HeldBack] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    steps: int = 0
    seed: int = 0
    threads: int = 1
    thorough: bool = False
    version: str = ""
    when: str = ""
    earlier: tuple[Lesson, ...] = ()

    def words(self) -> dict[str, Any]:
        """Return it as it is written in JSON."""
        return asdict(self) | {"earlier": [one.words() for one in self.earlier]}

    @classmethod
    def of_words(cls, words: Any) -> Lesson:
        """Read what :meth:`words` gave; fields that a later version adds are left out.

        Raises
        ------
        ValueError
            If something is missing, of another type or out of bounds.
        """
        try:
            return cls(
                parent=_file_name(words["parent"]),
                parent_key=_key(words["parent_key"]),
                objects=_count(words["objects"]),
                planes=_count(words["planes"]),
                complete=_count(words["complete"]),
                sources=tuple(map(_word, _list(words["sources"], _MOST_SOURCES))),
                scores=_scores(words["scores"]),
                parts=tuple(map(_word, _list(words["parts"], _MOST_SCORES))),
                steps=_count(words["steps"]),
                seed=_count(words["seed"], 2**64),
                threads=_count(words["threads"]),
                thorough=_switch(words["thorough"]),
                version=_word(words["version"]),
                when=_word(words["when"]),
                earlier=tuple(map(cls._of_earlier, _list(words["earlier"], _MOST_EARLIER))),
            )
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"expected what it was taught, got {type(error).__name__}: {error}"
            ) from error

    @classmethod
    def _of_earlier(cls, words: Any) -> Lesson:
        if words["earlier"]:
            raise ValueError("expected one list of what it was taught before, got lists in it")
        return cls.of_words(words)


@dataclass(frozen=True, slots=True)
class Card:
    """The metadata of a taught model's file, without its weights.

    Parameters
    ----------
    lesson
        The record of its training.
    key
        Model key of the resulting network.
    digest
        Hash of the tensors and their names.
    name
        Name that the user gave it; may be empty.
    """

    lesson: Lesson
    key: str
    digest: str
    name: str = ""

    def to_json(self) -> str:
        """Return it as the JSON in a file's metadata, with sources without their folders.

        Raises
        ------
        ValueError
            If :meth:`from_json` would refuse it.
        """
        facts = {"version": _VERSION, "name": self.name, "key": self.key, "digest": self.digest}
        sources = [_shown(PurePath(source).name) for source in self.lesson.sources]
        text = json.dumps(facts | {"lesson": self.lesson.words() | {"sources": sources}})
        Card.from_json(text)
        return text

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read the JSON that :meth:`to_json` returned.

        Raises
        ------
        ValueError
            If it isn't such JSON, or is of a later version.
        """
        if len(text) > _LONGEST_TEXT:
            raise ValueError(f"expected at most {_LONGEST_TEXT} letters about it, got {len(text)}")
        try:
            facts = json.loads(text)
            if facts["version"] != _VERSION:
                raise ValueError(
                    f"expected version {_VERSION} of a taught model, got "
                    f"{str(facts['version'])[:20]}; install a later napari-sam-live"
                )
            lesson = Lesson.of_words(facts["lesson"])
            return cls(lesson, _key(facts["key"]), _key(facts["digest"]), _word(facts["name"]))
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"expected the JSON of a taught model, got {text[:80]!r} ({error})"
            ) from error


def card_of(path: str | Path) -> Card | None:
    """Read the metadata of a taught model's file; None for another file.

    Raises
    ------
    CheckpointError
        If it is a taught model's file, but damaged.
    OSError
        If it can't be opened.
    """
    try:
        refuse_special(path)
    except SpecialFileError as error:
        raise CheckpointError(str(error)) from error
    with open(path, "rb") as file:
        return read_card(file, str(path))


def read_card(file: BinaryIO, origin: str) -> Card | None:
    """Read from the beginning of a safetensors file; see :func:`card_of`.

    Parameters
    ----------
    file
        At its beginning.
    origin
        Name of the file, for messages.
    """
    start = file.read(9)
    if len(start) < 9 or start[8:] != b"{":  # eight bytes of length, then a JSON header
        return None
    length = int.from_bytes(start[:8], "little")
    if length > _LARGEST_HEADER:
        return None
    try:
        header = json.loads(start[8:] + file.read(length - 1))
        text = header.get("__metadata__", {}).get(METADATA)
    except (ValueError, AttributeError, RecursionError):
        return None  # reading its tensors raises the error
    if text is None:
        return None
    try:
        if not isinstance(text, str):
            raise ValueError(f"expected text about a taught model, got {type(text).__name__}")
        _check_whole(file, header, 8 + length)
        return Card.from_json(text)
    except ValueError as error:
        raise CheckpointError(f"{origin}: {error}") from error


def _check_whole(file: BinaryIO, header: Mapping[str, Any], begin: int) -> None:
    """Refuse a file that ends before the weights that its header lists do."""
    size = file.seek(0, io.SEEK_END)
    try:
        ends = [int(one["data_offsets"][1]) for name, one in header.items() if name[:2] != "__"]
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"expected a list of weights, got {error}; it is damaged") from error
    wanted = begin + max(ends, default=0)
    if size < wanted:
        raise ValueError(f"expected {wanted} bytes, got {size}; it is cut short: use another copy")


def _word(value: Any) -> str:
    """Text of one line, without what a terminal would take for a command."""
    if not isinstance(value, str) or len(value) > _LONGEST_WORD or not value.isprintable():
        raise ValueError(
            f"expected a line of at most {_LONGEST_WORD} letters, got {str(value)[:80]!r}"
        )
    return value


def _shown(text: str) -> str:
    """Text as :func:`_word` takes it."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:_LONGEST_WORD]


def _file_name(value: Any) -> str:
    """Check that a name has no folders: the file is searched for in the folder of models."""
    name = _word(value)
    if name in (".", "..") or any(sign in name for sign in "/\\:"):
        raise ValueError(f"expected a file name without folders, got {name[:80]!r}")
    return name


def _key(value: Any) -> str:
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ValueError(f"expected a key of 32 hexadecimal digits, got {str(value)[:80]!r}")
    return value


def _count(value: Any, below: int = 2**31) -> int:
    if type(value) is not int or not 0 <= value < below:
        raise ValueError(f"expected a whole number below {below}, got {str(value)[:80]!r}")
    return value


def _switch(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"expected true or false, got {str(value)[:80]!r}")
    return value


def _list(value: Any, most: int) -> list[Any]:
    if type(value) is not list or len(value) > most:
        raise ValueError(f"expected a list of at most {most}, got {str(value)[:80]!r}")
    return value


def _scores(value: Any) -> dict[str, HeldBack]:
    if type(value) is not dict or len(value) > _MOST_SCORES:
        raise ValueError(f"expected at most {_MOST_SCORES} scores, got {str(value)[:80]!r}")
    return {
        _word(name): HeldBack(_share(one["before"]), _share(one["after"]), _count(one["count"]))
        for name, one in value.items()
    }


def _share(value: Any) -> float:
    number = float(value) if type(value) in (int, float) else math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"expected a score from 0 to 1, got {str(value)[:80]!r}")
    return number
