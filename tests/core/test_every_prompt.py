"""Every kind of prompt can be added, moved, removed, merged, counted, saved and opened."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.groups import BoxPrompt, Click, Lasso, MaskPrompt, Prompt, Stroke
from napari_sam.session.prompt_words import describe
from napari_sam.session.saved import read_without_image
from napari_sam.session.summary import KINDS, summarize

SHAPE = (40, 50)
PLACE, ELSEWHERE = (10.0, 12.0), (24.0, 30.0)


def square(at: tuple[float, float]) -> list[tuple[float, float]]:
    (row, column), half = at, 5.0
    corners = ((-1, -1), (-1, 1), (1, 1), (1, -1))
    return [(row + half * a, column + half * b) for a, b in corners]


ADD = {
    Click: lambda s, at, i: s.add_point((), at, object_id=i),
    BoxPrompt: lambda s, at, i: s.set_box((), (*square(at)[0], *square(at)[2]), object_id=i),
    Stroke: lambda s, at, i: s.add_scribble((), square(at)[:2], object_id=i),
    Lasso: lambda s, at, i: s.add_lasso((), square(at), object_id=i),
    MaskPrompt: lambda s, at, i: s.add_mask((), disk(SHAPE, at, 4), object_id=i),
}
MOVED = {
    Click: ELSEWHERE,
    BoxPrompt: (*square(ELSEWHERE)[0], *square(ELSEWHERE)[2]),
    Stroke: square(ELSEWHERE)[:2],
    Lasso: square(ELSEWHERE),
}


def begun() -> Session:
    source = ArraySource(np.zeros(SHAPE, np.uint8), contrast_limits=(0, 255))
    return Session(FakeSegmenter(), source, canvas=ArrayCanvas(np.zeros(SHAPE, np.int32)))


def prompts_of(session: Session, object_id: int) -> list[Prompt]:
    return [*session.prompts.group((object_id, (None, None))).members]


def test_no_kind_is_forgotten_here():
    assert {*ADD} == {*get_args(Prompt)}
    assert {*MOVED} == {*ADD} - {MaskPrompt}  # a mask is where it is
    assert len(KINDS) == len(ADD)


@pytest.mark.parametrize("kind", ADD)
def test_it_is_added_moved_and_removed(kind):
    session = begun()
    ADD[kind](session, PLACE, 1)
    (prompt,) = prompts_of(session, 1)
    assert type(prompt) is kind
    assert session.mask(1, ()).any()
    assert describe(begun().prompts, session.prompts, session.prompts.keys).startswith("added a")
    if kind in MOVED:
        before = session.mask(1, ())
        session.move_prompt(prompt.id, MOVED[kind])
        (prompt,) = prompts_of(session, 1)
        assert type(prompt) is kind
        assert (session.mask(1, ()) != before).any()
    session.remove_prompt(prompt.id)
    assert prompts_of(session, 1) == []
    session.undo()
    assert prompts_of(session, 1) == [prompt]


@pytest.mark.parametrize("kind", ADD)
def test_it_goes_with_its_object_into_another(kind):
    session = begun()
    ADD[kind](session, PLACE, 1)
    session.add_point((), ELSEWHERE, object_id=2)
    session.merge_objects(1, 2)
    left = prompts_of(session, 1) or prompts_of(session, 2)
    assert kind in {type(prompt) for prompt in left}


@pytest.mark.parametrize("kind", ADD)
def test_it_is_saved_opened_and_counted(kind, tmp_path):
    session = begun()
    ADD[kind](session, PLACE, 1)
    session.save(tmp_path / "a.napari-sam")
    opened = Session.open(tmp_path / "a.napari-sam", session.source)
    assert prompts_of(opened, 1) == prompts_of(session, 1)
    summary = summarize(read_without_image(tmp_path / "a.napari-sam").entries)
    assert sum(summary.count(one) for one in KINDS) == 1
