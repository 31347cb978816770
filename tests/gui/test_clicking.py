"""Clicks of a real mouse on a real canvas."""

import numpy as np
from fake_segmenter import disk

SHAPE = (60, 80)


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


def test_left_click_paints_the_object(user, rng):
    me = user(grey(rng, *SHAPE), name="cells")
    me.click((20, 30))
    (click,) = me.session.prompts.clicks
    assert click.label == 1
    assert np.allclose(click.point, (20, 30), atol=0.6)
    np.testing.assert_array_equal(me.labels, disk(SHAPE, click.point, 4))
    assert me.annotation.labels.name == "cells · masks"
    assert me.annotation.points.name == "cells · prompts"


def test_right_click_takes_away(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.right_click((22, 30))
    assert [c.label for c in me.session.prompts.clicks] == [1, 0]
    assert me.annotation.points.features["label"].tolist() == ["positive", "negative"]
    assert me.labels[20, 27] == 1
    assert me.labels[22, 30] == 0
