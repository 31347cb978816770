"""What was done in a session, in numbers and as a paragraph for a paper."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter

from napari_sam.model.lesson import Card, HeldBack, Lesson
from napari_sam.session import (
    ArrayCanvas,
    ArraySource,
    Change,
    Entry,
    Marks,
    ObjectFacts,
    PixelChange,
    Session,
    pixel_changes,
)
from napari_sam.session.keeping import ImageFacts, about_session
from napari_sam.session.methods import methods_text, share
from napari_sam.session.summary import summarize

PLANE = (None, None)
ABOUT = {
    "image": {"name": "cells.tif"},
    "model": {"name": "nano", "key": "0123456789abcdef", "precision": "float32"},
    "versions": {"napari-sam-live": "0.1.0", "napari": "0.9.0", "torch": "2.9.0"},
}


def new_session() -> Session:
    labels = np.zeros((40, 50), np.int32)
    source = ArraySource(np.zeros((40, 50), np.uint8))
    return Session(FakeSegmenter(key="0123456789abcdef"), source, canvas=ArrayCanvas(labels))


def paint(session: Session, value: int, top: int, left: int) -> None:
    labels = session.canvas.array
    rows, columns = (x.ravel() for x in np.mgrid[top : top + 4, left : left + 4])
    before = labels[rows, columns].copy()
    labels[rows, columns] = value
    session.paint(pixel_changes(PLANE, (rows, columns), before, labels[rows, columns]))


def found(number: int, time: float, *labels: int) -> Entry:
    """Return the entry of a run that found objects of one pixel each."""
    changes = tuple(
        PixelChange.of(
            PLANE, (slice(i, i + 1), slice(45, 46)), np.ones((1, 1), bool), np.zeros(1, np.int32),
            np.array([i], np.int32),
        )
        for i in labels
    )  # fmt: skip
    facts = tuple(Change(i, ObjectFacts(), ObjectFacts(origin="found")) for i in labels)
    marks = tuple(Change((i, PLANE), Marks(), Marks()) for i in labels)
    return Entry(number, "found", "found", time, (), (), marks, facts, changes)


def timed(entries, seconds: float) -> list[Entry]:
    """Return entries as if each came some seconds after the one before."""
    return [replace(entry, time=1000.0 + i * seconds) for i, entry in enumerate(entries)]


def test_prompts_are_listed_with_the_time_they_took():
    session = new_session()
    session.add_point(PLANE, (10, 10))
    session.add_point(PLANE, (10, 14))
    session.set_box(PLANE, (20, 20, 28, 30), 2)
    paint(session, 1, 11, 18)
    paint(session, 3, 30, 5)
    entries = timed(session.journal.entries, 7.5)
    assert len(entries) == 8  # three prompts with their masks, and two strokes
    assert methods_text(ABOUT, entries) == (
        "3 objects in cells.tif were segmented with napari-sam-live 0.1.0 (napari 0.9.0, PyTorch "
        "2.9.0), an implementation of the Segment Anything Model (Kirillov et al., 2023), using "
        "the model nano (digest 0123456789ab, float32 precision). Of these, 2 (67 %) were "
        "segmented from clicks and boxes and 1 (33 %) painted by hand. 2 objects had prompts, on "
        "average 1.0 clicks and 0.5 boxes each (median 1.5, range 1 to 2). 1 mask of "
        "theirs was retouched by hand. This took 52 s of active work (18 s per object; pauses of "
        "more than 60 s are not counted)."
    )


def test_share_found_automatically_and_corrected_is_stated():
    session = new_session()
    session.add_point(PLANE, (10, 10), object_id=7)
    entries = [
        found(1, 0.0, *range(5, 15)),
        *(replace(e, number=10 + e.number, time=10.0) for e in session.journal.entries),
        Entry(
            *(30, "deleted", "deleted object 8", 20.0),
            facts=(Change(8, ObjectFacts(origin="found"), ObjectFacts()),),
            details={"object": 8, "everywhere": True},
        ),
    ]
    summary = summarize(entries)
    assert (len(summary.found), summary.corrected, summary.rejected) == (9, {7}, 1)
    text = methods_text(ABOUT, entries)
    assert text.startswith("9 objects in cells.tif were")
    assert (
        "All were found automatically. Of those found automatically, 1 (11 %) was corrected by "
        "hand and 1 more was deleted. One object had prompts: 1 click. This took 20 s"
    ) in text


@pytest.mark.parametrize(
    ("part", "whole", "reported"),
    [(1, 9, "11 %"), (280, 281, "99.6 %"), (1, 281, "0.4 %"), (1, 5000, "<0.1 %"),
     (4999, 5000, ">99.9 %"), (5, 5, "100 %"), (0, 5, "0 %"), (0, 0, "0 %")],
)  # fmt: skip
def test_a_few_are_not_rounded_to_none_nor_nearly_all_to_all(part, whole, reported):
    assert share(part, whole) == reported


def test_pauses_do_not_count():
    one = found(1, 100.0, 5)
    times = [100.0, 110.0, 170.0, 231.0, 5000.0, 5001.0]
    entries = [replace(one, number=i, time=t) for i, t in enumerate(times, 1)]
    assert summarize(entries).active_seconds == 10 + 60 + 1


def test_a_model_that_was_used_earlier_is_named_too():
    session = new_session()
    session.add_point(PLANE, (10, 10))
    session.segmenter = FakeSegmenter(key="fedcba9876543210")
    session.add_point(PLANE, (20, 20), object_id=2)
    about = about_session(session, ImageFacts("x.tif"))
    text = methods_text(about, session.journal.entries)
    assert (
        "using the model fake (digest fedcba987654, float32 precision) and the model fake (digest "
        "0123456789ab)." in text
    )
    del about["models"]  # as in files of earlier versions
    text = methods_text(about, session.journal.entries)
    assert "using the model fake (digest fedcba987654, float32 precision) and 1 other model" in text
    assert "(digest 0123456789ab)" in text


def test_the_methods_of_an_empty_session_state_no_objects():
    text = methods_text({}, ())
    assert text.startswith("0 objects in the image were segmented with napari-sam-live, an impl")
    assert text.endswith("(Kirillov et al., 2023).")


def test_undone_entries_are_not_counted():
    session = new_session()
    session.add_point(PLANE, (10, 10))
    paint(session, 1, 11, 18)
    paint(session, 3, 30, 5)
    session.undo()
    session.undo()
    summary = summarize(session.journal.entries)
    assert (summary.objects, summary.retouched, summary.clicks) == ({1}, set(), 1)


def test_text_states_what_a_model_was_taught_and_names_the_others():
    card = Card(
        Lesson(
            "nano",
            "f" * 32,
            5,
            2,
            scores={"click": HeldBack(0.57, 0.864, 2)},
            steps=150,
            seed=3,
            earlier=(Lesson("nano", "f" * 32, 4, 1, steps=20),),
        ),
        "0123456789abcdef" * 2,
        "a" * 32,
        "my cells",
    )
    models = {
        "0123456789abcdef": {"name": "my cells", "taught": json.loads(card.to_json())},
        "fedcba9876543210": {"name": "nano"},
    }
    session = new_session()
    session.add_point((), (10, 10))
    session.segmenter = FakeSegmenter(key="fedcba9876543210")
    session.add_point((), (30, 30), object_id=2)
    model = {"name": "nano", "key": "fedcba9876543210"}
    text = methods_text({**ABOUT, "models": models, "model": model}, session.journal.entries)
    assert (
        "using the model nano (digest fedcba987654) and the model my cells (digest 0123456789ab). "
        "The model my cells is nano (digest ffffffffffff) after it was taught 4 objects of 1 plane "
        "(20 steps, seed 0), and then 5 objects of 2 planes (150 steps, seed 3); on 2 objects that "
        "were held back the IoU after one click was 0.57 before and 0.86 after." in text
    )
