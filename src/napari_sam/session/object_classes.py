"""The classes of objects that a session knows: cell types, say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_LONGEST = 200  # characters of a name


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """A class that objects can have.

    Parameters
    ----------
    name
        What it is called.
    colour
        How its objects are drawn: ``"#rrggbb"``.
    key
        What gives it to an object while the section of classes is open, as napari spells keys,
        such as ``"Shift-C"``; empty for none.

    Raises
    ------
    ValueError
        If it has no name, or the colour is none.
    """

    name: str
    colour: str = "#ffffff"
    key: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > _LONGEST:
            raise ValueError(
                f"expected a class with a name of at most {_LONGEST} characters, got "
                f"{self.name[:40]!r}; give it another"
            )
        object.__setattr__(self, "colour", self.colour.lower())
        if not _COLOUR.fullmatch(self.colour):
            raise ValueError(
                f"expected the colour of class {self.name!r} as #rrggbb, got {self.colour!r}"
            )


def checked(classes: Iterable[ObjectClass]) -> tuple[ObjectClass, ...]:
    """Return classes, of which no two have the same name or key.

    Raises
    ------
    ValueError
        If two have.
    """
    classes = tuple(classes)
    for what in ("name", "key"):
        values = [value for one in classes if (value := getattr(one, what))]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(
                f"expected classes of which each has a {what} of its own, got {twice[0]!r} "
                "twice; change one"
            )
    return classes
