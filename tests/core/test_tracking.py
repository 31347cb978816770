"""Objects found in every frame become tracks: over gaps, and through divisions."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.tracking import Division, LinkSettings, link, suggest_divisions


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


def test_a_division_during_a_blank_frame_is_found():
    labels = discs([[(30, 30, 8)], [], [(30, 24, 6), (30, 36, 6)]])
    tracks = link(labels)
    assert tracks.parents == {2: 1, 3: 1}
    (division,) = tracks.divisions
    assert division.frame == 2
    assert 0.5 < division.plausibility <= 1


def test_the_more_alike_two_halves_are_the_more_plausible_is_a_division():
    alike = discs([[(30, 30, 8)], [(30, 24, 6), (30, 36, 6)]])
    unlike = discs([[(30, 30, 8)], [(30, 24, 7), (30, 36, 4)]])
    (one,), (other,) = link(alike).divisions, link(unlike).divisions
    assert one.plausibility > other.plausibility > 0


def numbered(frames: list[dict[int, tuple[float, float, float]]]) -> np.ndarray:
    """Return labels of discs that keep their numbers."""
    rows, columns = np.indices((60, 90))
    labels = np.zeros((len(frames), 60, 90), np.int32)
    for plane, frame in zip(labels, frames, strict=True):
        for number, (r, c, radius) in frame.items():
            plane[(rows - r) ** 2 + (columns - c) ** 2 < radius**2] = number
    return labels


MOTHER, LEFT, RIGHT = (30, 30, 8), (30, 24, 6), (30, 36, 6)


@pytest.mark.parametrize(
    ("frames", "daughters"),
    [
        ([{5: MOTHER}, {3: LEFT, 9: RIGHT}], (3, 9)),
        ([{5: MOTHER}, {5: LEFT, 9: RIGHT}], (5, 9)),  # its number goes on in one
        ([{5: MOTHER}, {}, {5: LEFT, 9: RIGHT}], (5, 9)),
        ([{5: MOTHER}, {}, {3: LEFT, 9: RIGHT}], (3, 9)),
    ],
)
def test_divisions_are_suggested_in_labels_that_are_tracks(frames, daughters):
    labels = numbered(frames)
    (division,) = suggest_divisions(labels)
    assert division.plausibility > 0.5
    assert division == Division(5, daughters, len(frames) - 1, division.plausibility)


def test_what_was_there_before_is_no_daughter():
    labels = numbered([{5: MOTHER, 9: (30, 50, 6)}, {5: LEFT, 9: RIGHT}])
    assert suggest_divisions(labels) == ()


def test_a_division_is_suggested_once():
    third = (42, 30, 6)
    labels = numbered([{5: MOTHER}, {3: LEFT, 9: RIGHT, 11: third}])
    assert len(suggest_divisions(labels, reach=20)) == 1


def test_planes_far_apart_count_as_far_apart():
    flat = discs([[(30, 20, 7)], [(30, 20, 7)]])
    labels = np.zeros((2, 8, 60, 90), np.int32)
    labels[0, 1], labels[1, 6] = flat
    assert link(labels, LinkSettings(reach=6)).relabelled(labels).max() == 1
    apart = link(labels, LinkSettings(reach=6), spacing=(2.5, 1, 1))
    assert apart.relabelled(labels).max() == 2


def test_centroids_and_areas_are_measured_in_the_spacing():
    labels = np.zeros((1, 4, 5), np.int32)
    labels[0, 1:3, 2:5] = 4
    (seen,) = link(labels, spacing=(0.5, 2)).objects.values()
    assert seen.centroid == (0.75, 6)
    assert seen.area == 6


@pytest.mark.parametrize("spacing", [(1,), (1, 0), (1, 1, 1)])
def test_spacing_that_does_not_fit_is_refused(spacing):
    with pytest.raises(ValueError, match="2 positive pixel sizes"):
        link(np.zeros((2, 4, 4), int), spacing=spacing)


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
