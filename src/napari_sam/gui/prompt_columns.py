"""The columns of the points layer's features, which a prompts file holds for every click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from napari_sam.io.prompt_file import BOXES, CANDIDATE, format_objects
from napari_sam.plane_input import COLUMNS
from napari_sam.session import Click, ObjectPlane, PromptBook, Session

POSITIVE, NEGATIVE = "positive", "negative"
SIGNS = {POSITIVE: 1, NEGATIVE: 0}

EDITED = ("label", "object", "id")
"""Columns that define a click; a user may edit them."""

REPORTED = (*COLUMNS, CANDIDATE, BOXES)
"""Columns that report the model's input for a click's mask; the session sets them."""

SIGN_NAMES = {number: word for word, number in SIGNS.items()}


def empty_columns() -> dict[str, np.ndarray]:
    """Return the columns of a layer without clicks."""
    return columns_of_clicks(PromptBook(), None)


def columns_of_clicks(book: PromptBook, session: Session | None) -> dict[str, np.ndarray]:
    """Return the columns of a book's clicks; `session` has the model's input for each mask."""
    boxes = np.full(book.click_count, boxes_text(book), object)
    return columns_of(book.clicks, session) | {BOXES: boxes}


def columns_of(clicks: Sequence[Click], session: Session | None) -> dict[str, np.ndarray]:
    """Return the columns of some clicks, except the column about the boxes of all objects."""
    words: dict[ObjectPlane, dict[str, str]] = {}
    if session is not None:
        keys = dict.fromkeys(click.key for click in clicks)
        for key, (given, chosen) in zip(keys, session.facts_of(keys), strict=True):
            words[key] = given.words() | {CANDIDATE: "" if chosen is None else str(chosen)}
    return {
        "label": np.array([SIGN_NAMES[click.label] for click in clicks], object),
        "object": np.array([click.object_id for click in clicks], np.uint64),
        "id": np.array([click.id for click in clicks], np.int64),
        **{
            name: np.array([words[click.key][name] for click in clicks], object)
            for name in (*COLUMNS, CANDIDATE)
        },
    }


def boxes_text(book: PromptBook) -> str:
    """Return the ids of all objects with a box as text; it is the same in every click's row."""
    return format_objects([box.object_id for box in book.boxes])


def new_defaults(table: pd.DataFrame, values: dict[str, Any]) -> dict[str, Any]:
    """Return the features of a new point: `values`, and empty ones in a table's other columns."""
    return {**dict.fromkeys(table.columns), **dict.fromkeys(REPORTED, ""), **values}


def broken_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of columns that were removed, and ``id`` if it holds no identifiers."""
    broken = [name for name in (*EDITED, *REPORTED) if name not in table]
    if "id" in table and not _are_whole(table["id"]):
        broken.append("id")
    return broken


def with_users_columns(
    columns: dict[str, np.ndarray], table: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Return columns with those that a user added to a table, matched to the clicks by ``id``."""
    own = [name for name in table.columns if name not in columns]
    if not own or "id" not in table:
        return columns
    rows = {number: row for row, number in enumerate(table["id"].tolist())}
    added: dict[str, np.ndarray] = {}
    for name in own:
        values = table[name].tolist()
        kept = [values[rows[i]] if i in rows else None for i in columns["id"].tolist()]
        added[name] = np.array(pd.Series(kept, dtype=object).infer_objects())
    return columns | added


def object_of(value: Any) -> int:
    """Return a feature ``object`` as a number.

    Raises
    ------
    ValueError
        If it is not a whole number from 1 on.
    """
    if not _is_whole(value) or int(value) < 1:
        raise ValueError(
            f"expected a whole number from 1 on as the object of a click, got {value!r}; it was "
            "put back"
        )
    return int(value)


def sign_of(value: Any) -> int:
    """Return a feature ``label`` as 1 inside, 0 outside.

    Raises
    ------
    ValueError
        If it is another word.
    """
    if not isinstance(value, str) or value not in SIGNS:
        raise ValueError(
            f"expected the label of a click to be '{POSITIVE}' or '{NEGATIVE}', got {value!r}; it "
            "was put back"
        )
    return SIGNS[value]


def differing(table: pd.DataFrame, shown: dict[str, np.ndarray], names: Sequence[str]) -> list[str]:
    """Return the names of columns of a table whose values differ from those shown last."""
    return [
        name
        for name in names
        if name in table and name in shown and not np.array_equal(shown[name], table[name])
    ]


def _are_whole(column: pd.Series) -> bool:
    return column.dtype.kind in "iu" or all(_is_whole(number) for number in column)


def _is_whole(value: Any) -> bool:
    if isinstance(value, int | np.integer):  # of any size
        return not isinstance(value, bool)
    is_float = isinstance(value, float | np.floating)
    return is_float and bool(np.isfinite(value)) and value % 1 == 0
