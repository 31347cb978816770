"""The rows of the points layer: one for each click of a session, in the order of the clicks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.gui.planes import coordinates_of
from napari_sam.gui.prompt_columns import boxes_text, columns_of, columns_of_clicks
from napari_sam.io.prompt_file import BOXES
from napari_sam.session import Click, ObjectPlane, PromptBook, Session
from napari_sam.session.prompt_book import changed_keys


@dataclass(frozen=True, eq=False)
class ClickRows:
    """The clicks of a book as arrays; for another book, only the rows that differ are updated.

    Parameters
    ----------
    book
        The book whose clicks these are.
    data
        `(N, ndim)` coordinates in the image layer's data.
    columns
        `(N,)` values of each feature; ``id`` ascends.
    """

    book: PromptBook
    data: NDArray[np.float64]
    columns: dict[str, np.ndarray]

    @classmethod
    def of(cls, book: PromptBook, session: Session, ndim: int) -> ClickRows:
        """Return the rows of all clicks of a book."""
        return cls(book, _places(book.clicks, ndim), columns_of_clicks(book, session))

    @property
    def ids(self) -> NDArray[np.int64]:
        """Identifier of each row."""
        return self.columns["id"]

    def rows_of(self, ids: Iterable[int]) -> NDArray[np.intp]:
        """Return the rows of some clicks, ascending; clicks without a row are left out."""
        wanted = np.array(sorted(ids), np.int64)
        rows = np.searchsorted(self.ids, wanted)
        inside = rows < len(self.ids)
        return rows[inside][self.ids[rows[inside]] == wanted[inside]]

    def rows_of_keys(self, keys: Iterable[ObjectPlane]) -> NDArray[np.intp]:
        """Return the rows of all clicks for some objects on planes."""
        return self.rows_of(c.id for key in keys for c in self.book.group(key).clicks)

    def after(self, book: PromptBook, session: Session) -> RowChange:
        """Return the rows for another book, and which of them changed."""
        keys = changed_keys(self.book, book)
        old = {click.id for key in keys for click in self.book.group(key).clicks}
        clicks = [click for key in keys for click in book.group(key).clicks]
        clicks.sort(key=lambda click: click.id)
        gone = self.rows_of(old.difference(click.id for click in clicks))
        kept = np.delete(self.ids, gone)
        fresh = [click for click in clicks if click.id not in old]
        at = np.searchsorted(kept, [click.id for click in fresh])
        data = np.insert(np.delete(self.data, gone, axis=0), at, 0.0, axis=0)
        columns = {
            name: np.insert(np.delete(column, gone), at, _filler(column))
            for name, column in self.columns.items()
        }
        columns["id"][at + np.arange(len(at))] = [click.id for click in fresh]
        rows = np.searchsorted(columns["id"], [click.id for click in clicks])
        data[rows] = _places(clicks, data.shape[1])
        for name, values in columns_of(clicks, session).items():
            columns[name][rows] = values
        touched = rows
        if any(self.book.box_of(key) != book.box_of(key) for key in keys) or not len(self.ids):
            columns[BOXES][:] = boxes_text(book)
            touched = np.arange(len(data))
        else:
            columns[BOXES][at + np.arange(len(at))] = self.columns[BOXES][0]
        if len(at) and at[0] < len(kept):  # napari appends new rows
            touched = np.union1d(touched, np.arange(at[0], len(data)))
        return RowChange(ClickRows(book, data, columns), gone, touched)

    def with_reports(self, keys: Iterable[ObjectPlane], session: Session) -> RowChange:
        """Return rows that report the model's input for masks that have arrived since."""
        clicks = [click for key in keys for click in self.book.group(key).clicks]
        clicks.sort(key=lambda click: click.id)
        rows = self.rows_of(click.id for click in clicks)
        columns = {name: column.copy() for name, column in self.columns.items()}
        for name, values in columns_of(clicks, session).items():
            columns[name][rows] = values
        return RowChange(ClickRows(self.book, self.data, columns), rows[:0], rows)


@dataclass(frozen=True, eq=False)
class RowChange:
    """Rows after a change, and which of them changed.

    Parameters
    ----------
    now
        All rows after the change.
    gone
        Indices of rows before the change that were removed.
    touched
        Indices of rows of `now` that are new or have other values.
    """

    now: ClickRows
    gone: NDArray[np.intp]
    touched: NDArray[np.intp]


def _places(clicks: Iterable[Click], ndim: int) -> NDArray[np.float64]:
    places = [coordinates_of(click.plane, click.point) for click in clicks]
    return np.array(places, float).reshape(len(places), ndim)


def _filler(column: np.ndarray) -> str | int:
    return "" if column.dtype == object else 0
