"""Procedural movies: what they tell of cells and their descent is what they show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_sam.training.synthetic.movies import generate_movie


@pytest.fixture(scope="module")
def movie():
    return generate_movie(np.random.default_rng(3), frames=14, size=96, cells=6)


def on(movie, number):
    return np.flatnonzero((movie.labels == number).any((1, 2))).tolist()


def test_the_same_state_gives_the_same_movie():
    one, other = (generate_movie(np.random.default_rng(5), 3, 64, 3) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.labels, other.labels)
    assert one.divisions == other.divisions


def test_cells_are_numbered_without_gaps_and_in_one_piece(movie):
    numbers = np.unique(movie.labels)
    assert numbers.tolist() == list(range(len(numbers)))
    for frame in movie.labels:
        for number in np.unique(frame[frame > 0]):
            assert ndimage.label(frame == number)[1] == 1


def test_a_cell_is_on_frames_that_follow_each_other_but_for_blank_ones(movie):
    for number in range(1, movie.labels.max() + 1):
        frames = on(movie, number)
        between = set(range(frames[0], frames[-1] + 1)) - set(frames)
        assert between <= set(movie.blank)


def test_divisions_are_where_one_becomes_two(movie):
    assert movie.divisions
    for one in movie.divisions:
        before = on(movie, one.parent)
        assert before[-1] < one.frame
        assert set(range(before[-1] + 1, one.frame)) <= set(movie.blank)
        mother = np.argwhere(movie.labels[before[-1]] == one.parent).mean(0)
        middle = []
        for daughter in one.daughters:
            assert on(movie, daughter)[0] == one.frame
            middle.append(np.argwhere(movie.labels[one.frame] == daughter).mean(0))
        assert np.linalg.norm(np.mean(middle, 0) - mother) < 10
    assert movie.parents == {i: one.parent for one in movie.divisions for i in one.daughters}


def test_blank_frames_show_nothing():
    movie = generate_movie(np.random.default_rng(1), 9, 64, 4, blank=3)
    assert len(movie.blank) == 3
    assert 0 not in movie.blank
    assert 8 not in movie.blank
    assert min(np.diff(movie.blank)) > 1
    for t in range(9):
        assert (np.ptp(movie.image[t]) == 0) == (t in movie.blank)
        assert movie.labels[t].any() == (t not in movie.blank)


def test_cells_are_brighter_than_what_lies_between(movie):
    shown = [t for t in range(len(movie.image)) if t not in movie.blank]
    for t in shown:
        inside = movie.labels[t] > 0
        assert movie.image[t][inside].mean() > movie.image[t][~inside].mean() + 15


@pytest.mark.parametrize(
    "wrong", [{"frames": 1}, {"size": 40}, {"cells": 0}, {"frames": 4, "blank": 2}]
)
def test_what_makes_no_movie_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        generate_movie(np.random.default_rng(0), **wrong)
