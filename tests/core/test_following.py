"""Objects followed through the planes of a session: written as they come, one step in all."""

from __future__ import annotations

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks

from napari_sam.engine import Engine
from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes

SHAPE, COUNT = (40, 50), 9
A, B = (12, 12, 6), (26, 36, 7)
# A lives on planes 1 to 6, B on all
STACK = np.stack([disks(SHAPE, *([A] if 1 <= z <= 6 else []), B) for z in range(COUNT)])


def begun(stack=STACK, executor=None):
    labels = np.zeros(stack.shape, np.int32)
    source = ArraySource(stack, contrast_limits=(0, 255))
    session = Session(ComponentSegmenter(), source, executor, canvas=ArrayCanvas(labels))
    session.told = []
    session.noticed.connect(session.told.append)
    session.failed.connect(lambda error: session.told.append(str(error)))
    return session, labels


def planes_of(labels, object_id) -> list[int]:
    return np.flatnonzero((labels == object_id).any(axis=(1, 2))).tolist()


def paint(session, labels, z, where, number):
    """Paint as a person would: the labels show it before the session is told."""
    pixels = np.nonzero(where & (labels[z] != number))
    before = labels[z][pixels]
    labels[z][pixels] = number
    session.paint(pixel_changes((z, None, None), pixels, before, labels[z][pixels]))


def test_clicked_object_is_followed_to_its_ends_as_one_step():
    session, labels = begun()
    session.add_point(3, A[:2])
    clicked = labels.copy()
    session.propagate()
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(labels[5] == 1, disks(SHAPE, A) > 0)
    steps = [entry for entry in session.journal.entries if entry.is_step]
    assert [entry.kind for entry in session.journal.entries] == ["prompts", "mask", "carried"]
    assert steps[-1].text == "followed object 1 through 5 planes"
    assert list(session.quality(1)) == [(z, None, None) for z in (1, 2, 4, 5, 6)]
    session.undo()
    np.testing.assert_array_equal(labels, clicked)
    assert session.quality(1) == {}
    session.redo()
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    assert len(session.quality(1)) == 5
