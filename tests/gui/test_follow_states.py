"""What the dock shows of objects that are followed, made from plain values without a window."""

from dataclasses import replace

import pytest

from napari_sam.gui.follow import reached
from napari_sam.gui.follow_section import course_of, progress_text, reach_text, stale_text
from napari_sam.gui.status import StripState
from napari_sam.session import FollowProgress, PlaneFacts, Span

SPANS = (
    Span(3, 0, 5, 9, (4,), "fresh", (5, None, None)),
    Span(3, 0, 1, 3, (4,), "fresh", (1, None, None)),
)
ALONG = {1: 0.2, 2: 0.9, 3: 0.95, 5: 0.9, 6: 0.9, 7: 0.8, 8: 0.75, 9: 0.5}


@pytest.mark.parametrize(
    ("reach", "here", "known", "planes"),
    [
        ("both ways", 4, [2], (None, None)),
        ("up", 4, [4], (4, None)),
        ("down", 4, [4], (None, 4)),
        ("to here", 9, [4, 6], (6, 9)),
        ("to here", 1, [4, 6], (1, 4)),
        ("to here", 5, [4, 6], (4, 6)),
        ("to here", 6, [4, 6], (4, 6)),
    ],
)
def test_objects_are_followed_as_far_as_is_wished(reach, here, known, planes):
    assert reached(reach, here, known) == planes


def test_following_to_the_only_known_plane_is_refused():
    with pytest.raises(ValueError, match="scroll to the plane that it should be followed to"):
        reached("to here", 4, [4])


def test_a_change_that_was_not_followed_again_is_noted_with_what_to_do():
    assert stale_text(3, SPANS) == ""
    assert stale_text(3, [replace(SPANS[0], state="running")]) == ""
    assert "follow it again" in stale_text(3, [*SPANS, replace(SPANS[0], state="stale")])


def test_progress_shows_object_plane_and_time_left():
    running = FollowProgress((3,), 0, (14, None, None), 7, 40, 0.2, 12.3)
    assert progress_text(running, "z", 51) == (
        "Following object 3 · z 14/50\n7 of 40 steps · 12 s left"
    )
    begun = FollowProgress((3, 5), 0, None, 0, 40, 0.0)
    assert progress_text(begun, "z", 51) == "Following 2 objects\n0 of 40 steps"


def test_course_shows_the_ends_and_what_is_doubtful():
    course = course_of("z", ALONG, SPANS, PlaneFacts(quality=0.5), 9)
    assert course.text == "z 1 to 9 · 2 doubtful"
    assert (course.here, course.doubtful) == ("here 0.50, doubtful", 2)
    sure = course_of("z", {5: 0.9}, SPANS[:1], PlaneFacts(), 4)
    assert (sure.text, sure.here) == ("z 4 to 5 · none doubtful", "known on this plane")
    assert course_of("z", ALONG, SPANS, PlaneFacts(), 20).here == "not on this plane"
    facts = PlaneFacts(verdict="not here")
    assert course_of("z", ALONG, SPANS, facts, 10).here == "not on this plane, as you said"
    facts = PlaneFacts(quality=1.0, verdict="right")
    assert course_of("z", ALONG, SPANS, facts, 9).here == "known on this plane"


def test_directions_use_the_name_of_the_axis():
    assert reach_text("up", "z") == "from here to higher z"
    assert reach_text("down", "t") == "from here backwards"
    assert reach_text("to here", "t") == "to this plane"


def test_strip_distinguishes_planes_of_the_object():
    strip = StripState(("ready",) * 10, frozenset({4}), 4, "z", 3, ALONG, frozenset({4}))
    assert strip.cell_text(0) == "z 0: embedded"
    assert strip.cell_text(1).endswith("object 3 was carried here, quality 0.20, doubtful")
    assert strip.cell_text(2).endswith("object 3 was carried here, quality 0.90")
    assert strip.cell_text(4).endswith("object 3 is known here")
