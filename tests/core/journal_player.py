"""A user who does anything in any order, and what must hold whatever they do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from core.fake_segmenter import FakeSegmenter, disk
from hypothesis import Phase

from napari_sam.engine import Executor
from napari_sam.io.exports import ClassRecord, ObjectRecord
from napari_sam.io.imports import ImportedObjects
from napari_sam.session import (
    ArrayCanvas,
    ArraySource,
    ObjectClass,
    PostProcessing,
    Session,
    pixel_changes,
)
from napari_sam.session.groups import BoxPrompt, Click, Prompt
from napari_sam.tracking import LinkSettings

SHAPE, PLANES, OBJECTS = (24, 30), 4, 4
# To shrink a failure among so many actions takes longer than a test may; it comes again as it is.
UNSHRUNK = Phase.explicit, Phase.generate
FOREIGN = 90  # a label from before, which only some commands may change


class Likening(FakeSegmenter):
    """Finds objects at some places of every plane; all objects have the same appearance."""

    def mean_features(self, embedding, masks) -> np.ndarray:
        return np.array([[2.0 - mask.all()] for mask in masks], np.float32).reshape(-1, 1)

    def similarity(self, embedding, vectors) -> np.ndarray:
        shape = embedding.frame.plane_shape
        alike = disk(shape, (6, 22), 3) | disk(shape, (18, 8), 3) | disk(shape, (15, 24), 3)
        return np.broadcast_to(alike.astype(np.float32), (len(vectors), *shape))


class Player:
    """Acts on a session by numbers that are drawn at random, and checks what follows.

    Parameters
    ----------
    executor
        Where the session works; by default at once.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self.models = [Likening(radius, key=f"r{radius}") for radius in (3.0, 4.0)]
        self.labels = np.zeros((PLANES, *SHAPE), np.int32)
        self.labels[1, 2:6, 2:9] = FOREIGN
        self.start = self.labels.copy()
        source = ArraySource(np.indices(self.labels.shape).sum(0))
        self.session = Session(self.models[0], source, executor, canvas=ArrayCanvas(self.labels))
        self.errors: list[Exception] = []
        self.session.failed.connect(self.errors.append)
        self.by_hand = False  # whether the last action may touch anything
        self.linkings = 0  # when pixels were last remembered
        self.actions = (
            *(self.click,) * 5, *(self.stroke,) * 3, self.box, self.move, self.remove, self.flip,
            self.clear, self.choose, self.choose, self.erase, self.erase, self.delete, self.merge,
            self.renumber, self.lock, self.unlock, self.many, self.model, self.overwriting,
            self.elsewhere, self.untold, self.current, self.scribble, self.scribble, self.lasso,
            self.mask, self.adopt, self.adopt_all, self.move_any, self.remove_any, self.accept,
            self.classify, self.classes, self.processing, self.bring, self.split, self.grow,
            self.follow, self.follow, self.stop_here, self.go_further, self.accept_plane,
            self.cancel_following, self.divide, self.deny, self.link, self.find_all, self.find_one,
            self.find_similar, self.correct, self.next_candidate, self.mark_complete,
            self.use_model, self.proofread,
        )  # fmt: skip

    def act(self, action: int, *numbers: int, wait: bool = True) -> None:
        """Do something; what is refused is refused with a ValueError and changes nothing."""
        self.by_hand = False
        held = self.held()
        with suppress(ValueError):
            self.actions[action % len(self.actions)](*numbers)
        if wait:
            self.session.wait()
            self.check(held)

    # What a user does: `a` and `b` are numbers at random

    def click(self, a: int, b: int) -> None:
        self.session.add_point(a % PLANES, self._point(b), int(a % 5 > 0), self._object(b))

    def box(self, a: int, b: int) -> None:
        row, column = self._point(b)
        corner = min(row + a % 9, SHAPE[0] - 1), min(column + b % 7, SHAPE[1] - 1)
        self.session.set_box(a % PLANES, (row, column, *corner), self._object(a))

    def scribble(self, a: int, b: int) -> None:
        path = [self._point(b + k * a) for k in range(1 + a % 4)]
        self.session.add_scribble(a % PLANES, path, int(a % 4 > 0), self._object(b))

    def lasso(self, a: int, b: int) -> None:
        row, column = self._point(b)
        corners = [(row, column), (row - 5, column + a % 9), (row + 6, column + 7), (row + 4, 0)]
        self.session.add_lasso(a % PLANES, corners, self._object(a))

    def mask(self, a: int, b: int) -> None:
        self.session.add_mask(a % PLANES, disk(SHAPE, self._point(b), 3), self._object(b))

    def adopt(self, a: int, b: int) -> None:
        self.session.adopt(a % PLANES, FOREIGN if a % 7 == 0 else self._object(b))

    def adopt_all(self, a: int, b: int) -> None:
        self.session.adopt_labels([a % PLANES] if b % 2 else None)

    def move_any(self, a: int, b: int) -> None:
        if (prompt := self._prompt(a)) is not None:
            places = {Click: self._point(b), BoxPrompt: (1, 1, 1 + b % 9, 1 + a % 9)}
            path = [self._point(b + k * a) for k in range(4)]
            self.session.move_prompt(prompt.id, places.get(type(prompt), path))

    def remove_any(self, a: int, b: int) -> None:
        if (prompt := self._prompt(a)) is not None:
            self.by_hand = prompt.object_id == FOREIGN  # its pixels go with what was adopted
            self.session.remove_prompt(prompt.id)

    def _prompt(self, number: int) -> Prompt | None:
        groups = self.session.prompts.by_key().values()
        prompts = [prompt for group in groups for prompt in group.members]
        return prompts[number % len(prompts)] if prompts else None

    def move(self, a: int, b: int) -> None:
        if (click := self._click(a)) is not None:
            self.session.move_point(click.id, self._point(b))

    def remove(self, a: int, b: int) -> None:
        if (click := self._click(a)) is not None:
            self.session.remove_point(click.id)

    def flip(self, a: int, b: int) -> None:
        if (click := self._click(a)) is not None:
            self.session.flip_point(click.id)

    def _click(self, number: int) -> Click | None:
        clicks = self.session.prompts.clicks
        if not clicks:
            return None
        click = clicks[number % len(clicks)]
        self.by_hand = click.object_id == FOREIGN  # as after a linking; its mask follows
        return click

    def clear(self, a: int, b: int) -> None:
        self.session.clear(a % PLANES, self._object(b))

    def choose(self, a: int, b: int) -> None:
        by_area = ("whole", "part", "sub-part")[b % 3]
        self.session.choose_candidate(by_area if b % 2 else b % 3, a % PLANES, self._object(a))

    def stroke(self, a: int, b: int) -> None:
        self._paint(a % PLANES, self._point(b), 1 + a % (OBJECTS + 2))

    def erase(self, a: int, b: int) -> None:
        self._paint(a % PLANES, self._point(b), 0)

    def delete(self, a: int, b: int) -> None:
        if a % 5 == 1:
            self.session.delete_objects([self._object(a), self._object(b)])
            return
        self.by_hand = a % 7 == 0
        plane = b % PLANES if b % 2 else None
        self.session.delete_object(FOREIGN if self.by_hand else self._object(b), plane)

    def merge(self, a: int, b: int) -> None:
        self.session.merge_objects(self._object(a), self._object(b))

    def split(self, a: int, b: int) -> None:
        row, column = self._point(b)
        path = [(row - 9, column - a % 3), (row + 9, column + a % 3)]
        self.session.split_object(self._object(a), a % PLANES, path)

    def grow(self, a: int, b: int) -> None:
        ids = [self._object(a), self._object(b)]
        self.session.grow_objects(a % 5 - 2, b % PLANES, ids)

    def renumber(self, a: int, b: int) -> None:
        self.session.renumber(self._object(a), OBJECTS + 3 + b % 3)

    def divide(self, a: int, b: int) -> None:
        daughters = self._object(b), self._object(b + 1 + a % 2)
        self.session.confirm_division(self._object(a), daughters, 1 + a % (PLANES - 1))

    def link(self, a: int, b: int) -> None:
        self.session.link_objects(settings=LinkSettings(reach=4.0 + a % 9))

    def deny(self, a: int, b: int) -> None:
        self.session.reject_division(self._object(a), [self._object(b)])

    def lock(self, a: int, b: int) -> None:
        self.session.lock([self._object(a)])

    def unlock(self, a: int, b: int) -> None:
        self.session.lock(range(1, OBJECTS + 6), False)

    def accept(self, a: int, b: int) -> None:
        self.session.accept([self._object(a), self._object(b)], (True, False, None)[a % 3])

    def classify(self, a: int, b: int) -> None:
        names = ["", *(one.name for one in self.session.classes)]
        self.session.set_class([self._object(a), self._object(b)], names[a % len(names)])

    def classes(self, a: int, b: int) -> None:
        if a % 2 and self.session.classes:
            self.session.rename_class(self.session.classes[0].name, f"class {b % 4}")
        else:
            self.session.set_classes(ObjectClass(f"class {i}") for i in range(a % 4))

    def bring(self, a: int, b: int) -> None:
        """Objects come from a file: of two disks, as far as there are free pixels."""
        labels = np.where(disk(SHAPE, self._point(b), 2), 1, 0)
        labels[disk(SHAPE, self._point(a), 1)] = 2
        states = ("proposed", "accepted", "locked")
        records = {1: ObjectRecord(1, "class 1", states[a % 3], score=0.5)}
        known = (ClassRecord("class 1", "#102030"),)
        planes = [((a % PLANES,), labels)]
        found = ImportedObjects(lambda report: iter(planes), records, known)
        self.session.import_objects(lambda report: found, "a file")

    def many(self, a: int, b: int) -> None:
        book = self.session.prompts
        for object_id in range(1, OBJECTS + 1):
            key = object_id, self.session.source.plane_of((a + object_id) % PLANES)
            book = book.with_click(key, self._point(b + 40 * object_id), 1)
        self.session.prompts = book

    def find_all(self, a: int, b: int) -> None:
        self.session.cancel_run()
        self.session.find_all(range(PLANES), bool(a % 2), points_per_side=1 + b % 2)

    def find_one(self, a: int, b: int) -> None:
        self.session.find_all([a % PLANES], points_per_side=1 + b % 3)

    def find_similar(self, a: int, b: int) -> None:
        self.session.cancel_run()
        ids = [self._object(b)] if a % 3 else None
        self.session.find_similar([a % PLANES, b % PLANES] if a % 2 else None, ids, bool(b % 2))

    def follow(self, a: int, b: int) -> None:
        shown = [i for i in self.session.object_ids if i != FOREIGN] or [1]
        ids = {shown[a % len(shown)], shown[b % len(shown)]}
        if a % 3 == 0 and self.session.object_id != FOREIGN:
            ids = None
        bounds = (a % PLANES, None) if b % 5 == 0 else (None, b % PLANES) if b % 5 == 1 else ()
        self.session.propagate(ids, 0, *bounds)

    def stop_here(self, a: int, b: int) -> None:
        self.session.stop_here(self._carried(b), a % PLANES)

    def go_further(self, a: int, b: int) -> None:
        self.session.go_on(self._carried(b), a % PLANES)

    def accept_plane(self, a: int, b: int) -> None:
        self.session.accept_plane(self._carried(b), a % PLANES)

    def _carried(self, number: int) -> int:
        known = sorted(self.session._state.known.objects) or [1]
        return known[number % len(known)]

    def cancel_following(self, a: int, b: int) -> None:
        self.by_hand = True
        self.session.cancel_following(bool(a % 2))

    def correct(self, a: int, b: int) -> None:
        plane, point = a % PLANES, self._point(b)
        pointed_at = self.session.object_near if a % 2 else self.session.object_at
        if pointed_at(plane, point) != FOREIGN:
            self.session.correct(plane, point, a % 2)

    def next_candidate(self, a: int, b: int) -> None:
        self.session.next_candidate(a % PLANES, self._object(b), 1 - 2 * (a % 2))

    def model(self, a: int, b: int) -> None:
        self.session.segmenter = self.models[a % 2]

    def use_model(self, a: int, b: int) -> None:
        self.session.use_model(self.models[b % 2])

    def proofread(self, a: int, b: int) -> None:
        queue = self.session.queue
        if queue.is_open:
            command = (queue.next, queue.accept, queue.delete, queue.accept_rest, queue.end)[a % 5]
            offered = queue.current
            is_foreign = offered is not None and offered.object_id == FOREIGN
            self.by_hand = is_foreign and command == queue.delete  # adopted, and so offered
            command()
        else:
            queue.begin()

    def mark_complete(self, a: int, b: int) -> None:
        row, column = self._point(b)
        box = None if a % 3 == 0 else (row, column, row + a % 9, column + a % 7)
        self.session.mark_complete(a % PLANES, box, b % 4 > 0)

    def overwriting(self, a: int, b: int) -> None:
        self.session.overlap = ("keep", "overwrite", "fill gaps")[a % 3]

    def processing(self, a: int, b: int) -> None:
        on = [bool(a >> bit & 1) for bit in range(4)]
        self.session.post_processing = PostProcessing(on[0], on[1], 9 * on[2], 1.5 * on[3])

    def current(self, a: int, b: int) -> None:
        self.session.object_id = self._object(a)

    def elsewhere(self, a: int, b: int) -> None:
        """A script paints, and reports the change to the session."""
        self.by_hand = True
        self.session.note_elsewhere(self._draw(a % PLANES, self._point(b), 1 + a % 6))

    def untold(self, a: int, b: int) -> None:
        """A script paints without a report to the session, only where the session notices it."""
        self.by_hand = True
        for change in self.session.journal.entries[-1].pixels if len(self.session.journal) else ():
            shown = self.labels[(change.plane[0], *change.slices)]
            shown[change.where & (shown > 0)] = 1 + a % 6
        self.session.undo()  # notices it

    def undo(self, a: int, b: int) -> None:
        self.by_hand = True
        self.session.undo()

    def redo(self, a: int, b: int) -> None:
        self.by_hand = True
        self.session.redo()

    def _object(self, number: int) -> int:
        return 1 + number % OBJECTS

    def _point(self, number: int) -> tuple[float, float]:
        return float(number // SHAPE[1] % SHAPE[0]), float(number % SHAPE[1])

    def _draw(self, plane: int, at: tuple[float, float], number: int) -> list[Any]:
        where = disk(SHAPE, at, 2) & (self.labels[plane] != number)
        pixels = np.nonzero(where)
        before = self.labels[plane][pixels]
        self.labels[plane][pixels] = number
        return pixel_changes((plane, None, None), pixels, before, np.full_like(before, number))

    def _paint(self, plane: int, at: tuple[float, float], number: int) -> None:
        self.by_hand = True
        self.session.paint(self._draw(plane, at, number))

    # What must hold

    def snapshot(self) -> dict[str, Any]:
        """Everything that undo has to bring back."""
        session = self.session
        keys = session.prompts.keys
        return {
            "labels": self.labels.copy(),
            "prompts": {key: session.prompts.group(key) for key in keys},
            "scores": {key: session.scores(*key) for key in keys},
            "masks": {key: session.mask(*key).tobytes() for key in keys},
            "facts": dict(session._state.all_facts),
            "classes": session.classes,
            "complete": [session.complete_regions(plane) for plane in range(PLANES)],
            "model": session.segmenter.model_key,
            "planes": dict(session._state.known.items()),
            "objects": [replace(row, seconds=0, state="") for row in session.objects],
            "marks": {
                key: (_bits(marks.written), _bits(marks.erased))
                for key, marks in session._state.ownership.items()
            },
        }

    def held(self) -> dict[int, np.ndarray]:
        """The pixels of locked objects, and of the label from before."""
        locked = {i for i in range(1, OBJECTS + 6) if self.session.facts(i).locked}
        self.linkings = self._linkings()
        return {i: self.labels == i for i in {*locked, FOREIGN}}

    def _linkings(self) -> int:
        return sum(entry.kind == "linked" for entry in self.session.journal.entries)

    def _is_foreign_linked(self) -> bool:
        """Whether the label from before became part of a track just now, or has prompts of one."""
        prompted = any(number == FOREIGN for number, _ in self.session.prompts.keys)
        now = self._linkings()
        return now != self.linkings or (now > 0 and prompted)

    def check(self, held: dict[int, np.ndarray]) -> None:
        """Labels agree with the journal; locked and foreign pixels have not changed."""
        reported = self.start.copy()
        for entry in self.session.journal.entries:
            for change in entry.pixels:
                at = (change.plane[0], *change.slices)
                reported[at][change.where] = change.after
        np.testing.assert_array_equal(reported, self.labels)
        journal = self.session.journal
        assert [e for e in journal.entries if e.kind == "deleted"] == [*journal.deleted]
        for (number, plane), marks in self.session._state.ownership.items():
            written = marks.written
            assert not (written.pixels & (reported[(plane[0], *written.region)] != number)).any()
        self.check_objects()
        for number, where in held.items():
            is_foreign = number == FOREIGN
            if not (is_foreign and (self.session.overwrite or self._is_foreign_linked())):
                locked = is_foreign or self.session.facts(number).locked
                if locked and not self.by_hand:
                    np.testing.assert_array_equal(self.labels == number, where)

    def check_objects(self) -> None:
        """The table agrees with labels and prompts, and its places contain the objects."""
        shown = dict(zip(*np.unique(self.labels[self.labels > 0], return_counts=True), strict=True))
        rows = {row.id: row for row in self.session.objects}
        if self.session.is_counting:  # until then some may be missing
            return
        assert rows.keys() == {*shown, *self.session.prompts.object_ids}
        assert list(self.session.object_ids) == sorted(rows) == list(rows)
        for number, row in rows.items():
            assert row.area == shown.get(number, 0)
            assert row.class_name in {"", *(one.name for one in self.session.classes)}
            for plane, extent in self.session._table.extents(number).items():
                r, c = np.nonzero(self.labels[plane[0]] == number)
                low, high = extent.box[:2], extent.box[2:]
                assert len(r) == extent.area
                assert low[0] <= r.min()
                assert low[1] <= c.min()
                assert high[0] >= r.max()
                assert high[1] >= c.max()

    def check_undo(self) -> None:
        """The last step can be taken back and made again, exactly."""
        if not self.session.can_undo:
            return
        after = self.snapshot()
        steps = len(self.session.journal)
        self.session.undo()
        self.session.wait()
        before = self.snapshot()
        self.session.redo()
        self.session.wait()
        assert_same(self.snapshot(), after)
        assert len(self.session.journal) == steps
        self.session.undo()
        self.session.wait()
        assert_same(self.snapshot(), before)
        self.session.redo()
        self.session.wait()
        assert_same(self.snapshot(), after)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two snapshots are equal."""
    for name, value in one.items():
        if name == "labels":
            np.testing.assert_array_equal(value, other[name])
        else:
            assert value == other[name], name


def _bits(patch: Any) -> tuple[Any, ...]:
    return (patch.origin, patch.pixels.tobytes()) if patch.pixels.size else ()
