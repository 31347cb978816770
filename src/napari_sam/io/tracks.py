"""Tracks of objects over time, in the format of the Cell Tracking Challenge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Track:
    """An object over the frames that it is seen on, without a gap.

    Parameters
    ----------
    label
        Its number in the labels of all its frames.
    begin, end
        Its first and last frame, from 0.
    parent
        The label of the track that it continues or descends from; 0 for none.

    Raises
    ------
    ValueError
        If a label is below 1 or its own parent, or the end lies before the beginning.
    """

    label: int
    begin: int
    end: int
    parent: int = 0

    def __post_init__(self) -> None:
        if self.label < 1 or self.parent < 0 or self.parent == self.label:
            raise ValueError(
                f"expected a label from 1 on and another one, or 0, as its parent, got "
                f"{self.label} of {self.parent}"
            )
        if not 0 <= self.begin <= self.end:
            raise ValueError(
                f"expected track {self.label} to begin at a frame from 0 on and to end no "
                f"earlier, got {self.begin} to {self.end}"
            )


def format_tracks(tracks: Iterable[Track]) -> str:
    r"""Return a line ``L B E P`` for each track: label, begin, end, parent.

    Examples
    --------
    >>> format_tracks([Track(1, 0, 4), Track(2, 5, 9, 1)])
    '1 0 4 0\n2 5 9 1\n'
    """
    return "".join(f"{t.label} {t.begin} {t.end} {t.parent}\n" for t in tracks)


def parse_tracks(text: str) -> tuple[Track, ...]:
    """Read the text that :func:`format_tracks` returns.

    Raises
    ------
    ValueError
        If a line isn't a track, a label occurs twice, or a parent is missing or doesn't end
        before its children begin.
    """
    tracks: dict[int, Track] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, begin, end, parent = map(int, line.split())
        except ValueError:
            raise ValueError(
                f"expected four whole numbers (label, begin, end, parent) in line {number}, got "
                f"{line!r}"
            ) from None
        if label in tracks:
            raise ValueError(f"expected each track once, got {label} again in line {number}")
        tracks[label] = Track(label, begin, end, parent)
    for one in tracks.values():
        if one.parent and (one.parent not in tracks or tracks[one.parent].end >= one.begin):
            raise ValueError(
                f"expected track {one.label}, which begins at {one.begin}, to descend from one "
                f"that ends before, got parent {one.parent}"
            )
    return tuple(tracks.values())
