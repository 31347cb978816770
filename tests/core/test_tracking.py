"""Objects found in every frame become tracks: over gaps, and through divisions."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.tracking import LinkSettings, link


def discs(frames: list[list[tuple[float, float, float]]], seed: int = 0) -> np.ndarray:
    """Return labels `(T, 60, 90)` of discs (row, column, radius), numbered at random a frame."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((60, 90))
    labels = np.zeros((len(frames), 60, 90), np.int32)
    for plane, frame in zip(labels, frames, strict=True):
        for number, (r, c, radius) in zip(rng.permutation(50) + 1, frame, strict=False):
            plane[(rows - r) ** 2 + (columns - c) ** 2 < radius**2] = number
    return labels


def ids(labels: np.ndarray, tracks, places: list[tuple[int, int]], frame: int) -> list[int]:
    return [int(tracks.relabelled(labels)[frame][place]) for place in places]


def test_moving_objects_keep_their_tracks():
    labels = discs([[(20, 20 + 4 * t, 7), (40, 60 - 4 * t, 7)] for t in range(8)])
    tracks = link(labels)
    for t in range(8):
        assert ids(labels, tracks, [(20, 20 + 4 * t), (40, 60 - 4 * t)], t) == ids(
            labels, tracks, [(20, 20), (40, 60)], 0
        )
    assert not tracks.parents
    assert np.array_equal(tracks.relabelled(labels) > 0, labels > 0)


def test_objects_in_a_dense_row_are_not_swapped():
    row = [(30, c, 6) for c in range(10, 80, 13)]
    labels = discs([[(r, c + 5 * t, s) for r, c, s in row] for t in range(2)])
    tracks = link(labels)
    first = ids(labels, tracks, [(30, c) for _, c, _ in row[:5]], 0)
    assert ids(labels, tracks, [(30, c + 5) for _, c, _ in row[:5]], 1) == first


@pytest.mark.parametrize(("missing", "count"), [(1, 1), (2, 1), (3, 2)])
def test_gaps_are_bridged_as_far_as_allowed(missing, count):
    labels = discs([[(30, 30, 8)], *[[]] * missing, [(31, 32, 8)]])
    tracks = link(labels, LinkSettings(max_gap=2))
    assert tracks.relabelled(labels).max() == count


def test_a_division_is_two_daughters_of_one():
    before = [(30, 30, 8), (30, 70, 8)]
    after = [(30, 24, 6), (30, 36, 6), (30, 70, 8)]
    labels = discs([before, before, after, after])
    tracks = link(labels)
    mother, other = ids(labels, tracks, [(30, 30), (30, 70)], 1)
    left, right, still = ids(labels, tracks, [(30, 24), (30, 36), (30, 70)], 3)
    assert tracks.parents == {left: mother, right: mother}
    assert len({mother, left, right, other}) == 4
    assert still == other
    assert not link(labels, LinkSettings(divisions=False)).parents


def test_a_newcomer_of_full_size_is_no_daughter():
    labels = discs([[(30, 30, 8)], [(30, 30, 8), (30, 46, 8)]])
    assert not link(labels, LinkSettings(reach=20)).parents


def test_volumes_are_linked():
    flat = discs([[(20, 20, 7)], [(20, 24, 7)]])
    labels = np.stack([np.zeros_like(flat), flat, flat], axis=1)
    assert link(labels).relabelled(labels).max() == 1


def test_empty_movies_have_no_tracks():
    labels = np.zeros((3, 8, 8), np.uint16)
    assert link(labels).numbers == ({}, {}, {})
    assert link(labels[:0]).numbers == ()


@pytest.mark.parametrize("labels", [np.zeros((4, 4), int), np.zeros((2, 4, 4))])
def test_other_arrays_are_refused(labels):
    with pytest.raises(ValueError, match=r"integer labels \(T, H, W\)"):
        link(labels)
