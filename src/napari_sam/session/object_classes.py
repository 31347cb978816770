"""The classes of objects in a session, such as cell types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_LONGEST = 200  # characters of a name


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """A class that objects can have, such as a cell type.

    Parameters
    ----------
    name
        The name.
    colour
        The colour in which its objects are drawn, as ``"#rrggbb"``.
    key
        The key that assigns the class while the section of classes is open, in napari's notation,
        such as ``"Shift-C"``; empty for none.

    Raises
    ------
    ValueError
        If the name is empty or too long, or the colour is not of the form ``"#rrggbb"``.
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
    """Return the classes as a tuple, after checking that names and keys are unique.

    Raises
    ------
    ValueError
        If two classes have the same name or key.
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
