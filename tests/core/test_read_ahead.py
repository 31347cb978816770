"""What is encoded ahead, whatever the planes that are shown one after the other."""

from types import SimpleNamespace

import numpy as np
from core.fake_segmenter import FakeSegmenter
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.engine import Outcome
from napari_sam.session import ArraySource, Session
from napari_sam.session.read_ahead import ReadAhead

SHAPE = (6, 5, 7, 8)
PLANE = (None, None)


def test_neighbours_are_of_the_view_on_screen_after_a_scroll_and_a_roll():
    session = Session(FakeSegmenter(), ArraySource(np.zeros((9, 70, 80))), prefetch=1)
    session.show((1, None, None))
    session.show((2, None, None))  # a scroll along the first axis
    session.show((None, 40, None))  # which is on screen now
    for row in (39, 40, 41):
        assert session.embeddings.state((None, row, None)) == "ready"
    session.show((5, None, None))
    assert session.embeddings.state((6, None, None)) == "ready"


def test_colours_of_one_plane_are_no_neighbours():
    source = ArraySource(np.zeros((4, 3, 20, 30)), channel_axis=1)
    session = Session(FakeSegmenter(), source, prefetch=1)
    session.show((1, 0, None, None))
    for z in range(3):
        assert session.embeddings.state((z, 0, None, None)) == "ready"


@st.composite
def views(draw):
    """Planes of any two axes of a 4-D image, as scrolling and rolling show them."""
    axes = draw(st.sets(st.integers(0, 3), min_size=2, max_size=2))
    return tuple(None if a in axes else draw(st.integers(0, n - 1)) for a, n in enumerate(SHAPE))


@settings(max_examples=40)
@given(st.lists(st.tuples(views(), st.sampled_from([None, 0, 1])), min_size=2, max_size=8))
def test_any_sequence_of_views_is_embedded_with_a_neighbour(steps):
    """Also when channels are combined, or no longer, in between."""
    failed = []
    session = Session(FakeSegmenter(), ArraySource(np.zeros(SHAPE)), prefetch=1)
    session.failed.connect(failed.append)
    for view, channel_axis in steps:
        if channel_axis != session.source.channel_axis:
            session.source = ArraySource(np.zeros(SHAPE), channel_axis=channel_axis)
        plane = session.source.plane_of(view)
        session.show(plane)
        assert session.embeddings.state(plane) == "ready"
        free = [axis for axis, i in enumerate(plane) if i is not None and axis != channel_axis]
        ahead = [
            session.embeddings.state((*plane[:axis], i, *plane[axis + 1 :]))
            for axis in free
            for i in (plane[axis] - 1, plane[axis] + 1)
            if 0 <= i < SHAPE[axis]
        ]
        assert "ready" in ahead
    assert not failed


class Queue:
    """An executor that only queues; what is queued under a name already stays."""

    def __init__(self):
        self.jobs = {}

    def embed(self, key, task, done, priority=1, progress=None):
        self.jobs.setdefault(key, (task, done))

    def cancel(self, key=None):
        self.jobs.pop(key, None)

    def run(self):
        while self.jobs:
            task, done = self.jobs.pop(next(iter(self.jobs)))
            done(Outcome(task(lambda fraction: None)))


def test_plane_that_was_embedded_again_has_its_own_tiles_encoded():
    seen = []

    class Segmenter(FakeSegmenter):
        def is_view_ready(self, embedding, view):
            return embedding in seen

        def prepare_view(self, embedding, view, progress=None, finest=False):
            seen.append(embedding)

    class Planes:
        segmenter, source = Segmenter(), None
        arrived = failed = SimpleNamespace(connect=lambda call: None)

        def get(self, plane):
            return self.embedding

        def prefetch(self, planes):
            pass

        def note_seconds(self, seconds):
            pass

    planes, queue = Planes(), Queue()
    ahead = ReadAhead(queue, planes, 0)
    ahead.shown, ahead.view = PLANE, (0, 0, 9, 9)
    for _ in range(2):
        planes.embedding = planes.segmenter.embed(np.zeros((10, 10)))
        ahead.go_on(PLANE)
    queue.run()
    assert seen == [planes.embedding]
    assert ahead.is_view_ready
