"""The prompts of a session, found by plane and object, beside a plain list of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.prompts import Prompts
from napari_sam.session.prompt_book import (
    NOTHING,
    BoxPrompt,
    Click,
    Group,
    PromptBook,
    changed_keys,
)
from napari_sam.session.prompt_words import describe

PLANE, OTHER = (0, None, None), (1, None, None)
KEYS = [(object_id, plane) for plane in (PLANE, OTHER) for object_id in (1, 2, 3)]


@dataclass
class Plain:
    """Prompts in a list, whose properties are computed by walking through it."""

    prompts: list[Click | BoxPrompt] = field(default_factory=list)
    candidates: dict = field(default_factory=dict)
    next_id: int = 1

    def of(self, key, kind):
        return [p for p in self.prompts if isinstance(p, kind) and p.key == key]

    def group(self, key):
        clicks, boxes = self.of(key, Click), self.of(key, BoxPrompt)
        chosen = self.candidates.get(key) if clicks else None
        return Group(tuple(clicks), boxes[0] if boxes else None, chosen)

    def tidy(self):
        self.prompts.sort(key=lambda p: p.id)
        self.candidates = {k: c for k, c in self.candidates.items() if self.of(k, Click)}

    def remove(self, gone):
        self.prompts = [p for p in self.prompts if p not in gone]

    def add(self, make):
        self.prompts.append(make(self.next_id))
        self.next_id += 1


def numbers():
    return st.integers(0, 20)


keys = st.sampled_from(KEYS)
points = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda p: (float(p[0]), float(p[1])))
boxes = points.map(lambda p: (*p, p[0] + 3, p[1] + 3))
deeds = st.one_of(
    st.tuples(st.just("click"), keys, points, st.integers(0, 1)),
    st.tuples(st.just("box"), keys, st.none() | boxes),
    st.tuples(st.just("choose"), keys, st.none() | st.integers(0, 2)),
    st.tuples(st.just("without"), st.lists(numbers(), max_size=4)),
    st.tuples(st.just("change"), numbers(), keys, points),
    st.tuples(st.just("many"), st.dictionaries(keys, points, max_size=4), st.booleans()),
    st.tuples(st.just("clicks"), st.lists(numbers(), max_size=6), keys, points),
    st.tuples(st.just("groups"), keys, keys),
    st.tuples(st.just("renumber"), st.integers(0, 3)),
)


def do(deed, book: PromptBook, plain: Plain) -> PromptBook:
    """Do one thing to a book and to the list; return the book that comes of it."""
    kind, *given = deed
    if kind == "click":
        key, point, label = given
        plain.add(lambda i: Click(i, *key, point, label))
        book = book.with_click(key, point, label)
    elif kind == "box":
        key, box = given
        old = plain.of(key, BoxPrompt)
        plain.remove(old)
        if box is not None and old:
            plain.prompts.append(replace(old[0], box=box))
        elif box is not None:
            plain.add(lambda i: BoxPrompt(i, *key, box))
        book = book.with_box(key, box)
    elif kind == "choose":
        key, candidate = given
        plain.candidates[key] = candidate
        book = book.with_candidate(key, candidate)
    elif kind == "without":
        plain.remove([p for p in plain.prompts if p.id in given[0]])
        book = book.without(given[0])
    elif kind == "change":
        number, (object_id, plane), point = given
        old = next((p for p in plain.prompts if p.id == number and isinstance(p, Click)), None)
        if old is not None:
            new = replace(old, object_id=object_id, plane=plane, point=point)
            plain.remove([old])
            plain.prompts.append(new)
            book = book.with_changed(new)
    elif kind == "many":
        prompts, boxed = given
        for key, point in prompts.items():
            box = (*point, point[0] + 3, point[1] + 3)
            if boxed:
                plain.remove(plain.of(key, BoxPrompt))
                plain.add(lambda i, key=key, box=box: BoxPrompt(i, *key, box))
            plain.add(lambda i, key=key, point=point: Click(i, *key, point, 1))
            plain.candidates[key] = 1
            prompts = prompts | {key: Prompts([point], [1], box if boxed else None)}
        book = book.with_prompts(prompts, dict.fromkeys(prompts, 1))
    elif kind == "clicks":
        kept, key, point = given
        plain.remove([p for p in plain.prompts if isinstance(p, Click) and p.id not in kept])
        plain.add(lambda i: Click(i, *key, point, 1))
        clicks = [p for p in plain.prompts if isinstance(p, Click)]
        book = book.with_all_clicks(clicks)
    elif kind == "groups":
        one, other = given
        if one != other:
            group = plain.group(other)
            moved = [replace(c, object_id=one[0], plane=one[1]) for c in group.clicks]
            gone = [*group.members, *plain.of(one, BoxPrompt)]
            plain.remove(gone)
            plain.prompts += moved
            plain.candidates[one] = 2
            clicks = (*book.group(one).clicks, *moved)
            book = book.with_groups({other: NOTHING, one: Group(clicks, None, 2)})
    else:
        plain.next_id += given[0]
        book = book.reserving(book.next_id + given[0])
    plain.tidy()
    return book


@given(st.lists(deeds, max_size=40))
def test_a_book_agrees_with_a_list_of_its_prompts(deeds):
    book, plain = PromptBook(), Plain()
    for deed in deeds:
        before, was = book, {key: book.group(key) for key in KEYS}
        book = do(deed, book, plain)
        groups = {key: plain.group(key) for key in KEYS}
        assert {key: book.group(key) for key in KEYS} == groups
        assert {key: before.group(key) for key in KEYS} == was  # a book never changes
        changed = [key for key in KEYS if was[key] != groups[key]]
        assert sorted(changed_keys(before, book)) == sorted(changed)
        assert sorted(changed_keys(book, before)) == sorted(changed)
        assert bool(describe(before, book)) == bool(changed)
        assert book.next_id == plain.next_id
        clicks = [p for p in plain.prompts if isinstance(p, Click)]
        assert book.clicks == tuple(clicks)
        assert book.boxes == tuple(p for p in plain.prompts if isinstance(p, BoxPrompt))
        assert (book.click_count, book.box_count) == (len(book.clicks), len(book.boxes))
        assert book.object_ids == tuple(sorted({p.object_id for p in plain.prompts}))
        assert book.highest_object == max(book.object_ids, default=0)
        assert book.keys == tuple(dict.fromkeys(p.key for p in plain.prompts))
        assert {*book.planes} == {p.plane for p in plain.prompts}
        assert [book.find(i) for i in range(book.next_id)] == [
            next((p for p in plain.prompts if p.id == i), None) for i in range(book.next_id)
        ]
        for key in KEYS:
            assert book.prompts_of(key).points.tolist() == [
                list(c.point) for c in groups[key].clicks
            ]


@settings(max_examples=50)
@given(st.lists(deeds, max_size=30), st.integers(0, 29))
def test_books_made_apart_differ_where_their_prompts_do(deeds, at):
    book, plain, books = PromptBook(), Plain(), []
    for deed in deeds:
        book = do(deed, book, plain)
        books.append(book)
    one = books[min(at, len(books) - 1)] if books else book
    again = PromptBook.of(book.clicks, book.boxes, book.next_id).with_groups(book.by_key())
    assert again == book
    assert changed_keys(one, again) == changed_keys(one, book)
    back = again.with_groups({key: one.group(key) for key in changed_keys(one, again)})
    assert back.by_key() == one.by_key()
    assert back.next_id == book.next_id


@settings(max_examples=50)
@given(st.lists(deeds, max_size=30), st.lists(deeds, max_size=5), st.lists(deeds, max_size=5))
def test_books_made_from_one_book_know_nothing_of_each_other(first, left, right):
    book, plain = PromptBook(), Plain()
    for deed in first:
        book = do(deed, book, plain)
    ends = []
    for deeds in (left, right):
        end, its = book, Plain([*plain.prompts], {**plain.candidates}, plain.next_id)
        for deed in deeds:
            end = do(deed, end, its)
        ends.append((end, its))
    for end, its in ends:
        assert {key: end.group(key) for key in KEYS} == {key: its.group(key) for key in KEYS}
        assert [end.find(p.id) for p in its.prompts] == its.prompts
        assert end.find(end.next_id) is None


def test_what_one_click_does_not_speak_of_is_shared():
    prompts = {(i, PLANE): Prompts([(i, i)], [1]) for i in range(1, 50)}
    before = PromptBook().with_prompts(prompts | {(1, OTHER): Prompts([(3, 3)], [1])})
    after = before.with_click((7, PLANE), (2, 2), 1)
    assert after.planes[OTHER] is before.planes[OTHER]
    assert all(after.group((i, PLANE)) is before.group((i, PLANE)) for i in range(1, 50) if i != 7)
    assert after.with_box((3, PLANE), None) is after


def test_one_more_click_is_added_and_described_without_walking_through_the_others(monkeypatch):
    prompts = {(i, PLANE): Prompts([(1, 1)], [1]) for i in range(1, 50)}
    before = PromptBook().with_prompts(prompts).with_click((1, PLANE), (1, 1), 1)

    def walk(*_):
        raise AssertionError("walked through all objects")

    monkeypatch.setattr(PromptBook, "_groups", walk)
    monkeypatch.setattr("napari_sam.session.prompt_book._differing", walk)
    for key in [(7, PLANE), (90, PLANE)]:
        after = before.with_click(key, (2, 2), 1)
        assert changed_keys(before, after) == [key]
        assert describe(before, after) == f"added a point to object {key[0]}"
        assert after.click(after.next_id - 1).point == (2, 2)
        assert after.click_count == before.click_count + 1
        assert after.highest_object == max(49, key[0])


def test_group_of_another_object_is_refused():
    click = Click(1, 3, PLANE, (1, 1), 1)
    with pytest.raises(ValueError, match="prompts of object 2 on plane"):
        PromptBook().with_groups({(2, PLANE): Group((click,))})


def test_identifier_is_never_given_twice():
    book = PromptBook().with_click((1, PLANE), (1, 1), 1).without([1])
    assert book.with_click((1, PLANE), (1, 1), 1).clicks[0].id == 2
    taken = PromptBook().with_click((1, PLANE), (1, 1), 1)
    with pytest.raises(ValueError, match="got 1 twice; give new ones identifiers from 2 on"):
        taken.with_groups({(2, PLANE): Group((Click(1, 2, PLANE, (4, 4), 1),))})
    assert PromptBook.of([Click(9, 2, PLANE, (4, 4), 1)]).next_id == 10


def test_second_box_of_an_object_on_a_plane_is_refused():
    boxes = [BoxPrompt(i, 1, PLANE, (0, 0, 5, 5)) for i in (1, 2)]
    with pytest.raises(ValueError, match="one box of object 1 on a plane, got another"):
        PromptBook.of(boxes=boxes)


def test_candidate_goes_with_the_last_click():
    key = (1, PLANE)
    book = PromptBook().with_click(key, (1, 1), 1).with_candidate(key, 2)
    assert book.with_box(key, (0, 0, 5, 5)).group(key).candidate == 2
    assert book.without([1]) == PromptBook(next_id=2)
    assert PromptBook().with_candidate(key, 2) == PromptBook()


def test_unknown_click_is_an_error_that_names_it():
    book = PromptBook().with_box((1, PLANE), (0, 0, 5, 5))
    for number in (1, 5):
        with pytest.raises(KeyError, match=f"got {number}; it may have been removed"):
            book.click(number)
    with pytest.raises(KeyError, match="got 1; it may have been removed"):
        book.with_changed(Click(1, 1, PLANE, (1, 1), 1))


def test_change_is_described_by_what_was_done():
    key, other = (7, PLANE), (8, PLANE)
    book = PromptBook().with_click(key, (1, 1), 1).with_click(other, (2, 2), 1)
    chosen = book.with_candidate(key, 1)
    assert describe(book, chosen) == "chose mask 2 of object 7"
    assert describe(chosen, book) == "left the mask of object 7 to the model"
    both = chosen.with_candidate(other, 0)
    assert describe(book, both) == "chose masks of 2 objects"
    assert describe(book, book.with_box(key, (0, 0, 5, 5))) == "added a box to object 7"
    assert describe(both, both.without([1, 2])) == "removed 2 prompts of 2 objects"
    assert describe(book, book) == ""
