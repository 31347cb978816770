"""Entries of a journal come back from their records as they were."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from napari_sam.io.session_file import Numbers, PatchRecord, SessionFile, SessionFileError
from napari_sam.patches import Patch, cut
from napari_sam.plane_input import ColourInput, PlaneInput
from napari_sam.prompts import GRANULARITIES
from napari_sam.session.answers import Answer
from napari_sam.session.entry_records import EntryReader, EntryWriter
from napari_sam.session.groups import (
    NOTHING,
    BoxPrompt,
    Click,
    Group,
    Lasso,
    MaskPrompt,
    Stroke,
)
from napari_sam.session.journal import Change, Entry, ObjectFacts
from napari_sam.session.object_classes import ObjectClass
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import PixelChange
from napari_sam.session.post_processing import PostProcessing

SHAPE = (40, 50)
PLANES = ((0, None, None), (7, None, None), (None, 3, None))


def shape_of(plane):
    return SHAPE


class Writer:
    """Makes entries as a session does: what one starts from is what an earlier one ended with."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.groups: dict = {}
        self.answers: dict = {}
        self.marks: dict = {}
        self.facts: dict = {}
        self.next_id = 1

    def key(self):
        return (1, 2, 2**64 - 1)[self.rng.integers(3)], PLANES[self.rng.integers(3)]

    def patch(self) -> Patch:
        mask = np.zeros(SHAPE, bool)
        row, column, height, width = self.rng.integers(1, 20, 4)
        mask[row : row + height, column : column + width] = True
        mask &= self.rng.random(SHAPE) < self.rng.choice([0.0, 0.5, 1.0])
        return cut(mask)

    def group(self, key) -> Group:
        before = self.groups.get(key, NOTHING)
        what, clicks = self.rng.integers(9), before.clicks
        if what == 0:
            return NOTHING
        if what == 1:
            by_area = ("", *GRANULARITIES)[self.rng.integers(4)]
            by_place = None if by_area else int(self.rng.integers(3))
            return replace(before, candidate=by_place, granularity=by_area)
        if what == 2:
            self.next_id += 1
            return replace(before, box=BoxPrompt(self.next_id, *key, (1.0, 2.5, 30.0, 31.0)))
        if what == 3 and clicks:
            at = int(self.rng.integers(len(clicks)))
            return replace(before, clicks=(*clicks[:at], *clicks[at + 1 :]))
        self.next_id += 1
        path = tuple((float(row), float(column)) for row, column in self.rng.random((4, 2)))
        if what == 6:
            stroke = Stroke(self.next_id, *key, path, int(self.rng.integers(2)))
            return replace(before, strokes=(*before.strokes, stroke))
        if what == 7:
            return replace(before, lasso=Lasso(self.next_id, *key, path))
        if what == 8 and not (patch := self.patch()).is_empty:
            is_first = bool(self.rng.integers(2))
            return replace(before, mask=MaskPrompt(self.next_id, *key, patch, is_first))
        point = tuple(self.rng.random(2) * 40)
        return replace(before, clicks=(*clicks, Click(self.next_id, *key, point, what % 2)))

    def answer(self, key) -> Answer | None:
        if self.rng.random() < 0.2:
            return None
        scores = tuple(float(x) for x in self.rng.random(self.rng.integers(1, 4)).astype("f4"))
        colour = ColourInput((0.1, 0.7), None, "DAPI", "crc-12345678", 1.2, True)
        given = PlaneInput((1, 2), (colour, None, ColourInput()), None, True, "max", ((0, 1, 3),))
        if self.rng.random() < 0.5:
            given = PlaneInput((0, 2), (ColourInput(None, 2),), 1)
        group = self.groups.get(key, NOTHING)
        how = PostProcessing(True, smoothing=float(self.rng.integers(2)))
        return Answer(self.patch(), scores, len(scores) - 1, "model key", given, group, how)

    def pixels(self) -> PixelChange | None:
        where = np.zeros(SHAPE, bool)
        patch = self.patch()
        where[patch.region] = patch.pixels
        if not where.any():
            return None
        dtype = self.rng.choice(["<u8", "<i4", "|u1", ">u2"])
        high = min(np.iinfo(dtype).max, 2**63)
        values = self.rng.integers(0, high, where.sum(), dtype="u8").astype(dtype)
        before = np.full_like(values, np.iinfo(dtype).max) if self.rng.integers(2) else values[::-1]
        region = slice(0, SHAPE[0]), slice(0, SHAPE[1])
        return PixelChange.of(PLANES[self.rng.integers(3)], region, where, before, values)

    def classes(self) -> Change | None:
        if self.rng.random() < 0.7:
            return None
        names = [f"cell {i}" for i in self.rng.permutation(4)[:3]]
        after = tuple(ObjectClass(name, f"#0{name[-1]}a0b0", f"Shift-{name[-1]}") for name in names)
        return Change("classes", after[:2], after)

    def entry(self, number: int) -> Entry:
        key, other = self.key(), self.key()
        prompts, answers, marks, facts = [], [], [], []
        for one in {key, other}:
            after = self.group(one)
            prompts.append(Change(one, self.groups.get(one, NOTHING), after))
            self.groups[one] = after
        if self.rng.random() < 0.7:
            after = self.answer(key)
            answers.append(Change(key, self.answers.get(key), after))
            self.answers[key] = after
            known = Marks(after.patch if after else self.patch(), self.patch())
            marks.append(Change(key, self.marks.get(key, Marks()), known))
            self.marks[key] = known
        if self.rng.random() < 0.3:
            accepted = (True, False, None)[self.rng.integers(3)]
            score = None if accepted else float(self.rng.random())
            parent = (None, 0, 4)[self.rng.integers(3)]
            locked = bool(self.rng.integers(2))
            after = ObjectFacts(locked, "found", "T cell", accepted, score, parent=parent)
            facts.append(Change(key[0], self.facts.get(key[0], ObjectFacts()), after))
            self.facts[key[0]] = after
        changes = [change for change in (self.pixels(), self.pixels()) if change]
        return Entry(
            number,
            str(self.rng.choice(["prompts", "mask", "painted", "merged"])),
            f"entry {number}",
            1e9 + number / 7,
            *map(tuple, (prompts, answers, marks, facts, changes)),
            (1, key[0]),
            {"overwrite": True, "runs": [1, None, "x"]},
            self.classes(),
        )

    def forget_some(self) -> None:
        """Return some objects to an earlier state, as undo does."""
        for known in (self.groups, self.answers, self.marks):
            for key in [key for key in known if self.rng.random() < 0.3]:
                del known[key]


def comparable(value):
    """Return a value as tuples and lists that can be compared."""
    if isinstance(value, Patch):
        return (value.origin, value.pixels.tolist()) if value.pixels.size else ()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return tuple(comparable(one) for one in value)
    names = {
        Entry: "number kind text time prompts answers marks facts pixels objects details classes",
        Change: "key before after",
        Answer: "patch scores chosen model given prompts post_processing",
        Marks: "written erased",
        PixelChange: "plane region where before after area",
    }.get(type(value), "")
    return [comparable(getattr(value, name)) for name in names.split()] or value


@pytest.mark.parametrize("seed", range(10))
def test_entries_come_back_as_they_were(tmp_path, seed):
    writer, records = Writer(seed), EntryWriter()
    file = SessionFile.create(tmp_path / "one.napari-sam")
    entries = []
    for number in range(1, 60):
        if number % 20 == 0:
            writer.forget_some()
        if number % 25 == 0:
            records = EntryWriter()  # the session was closed and opened
        entries.append(writer.entry(number))
        file.append([records.record_of(entries[-1])])
    reader = EntryReader(shape_of)
    for entry, record in zip(entries, file.read().entries, strict=True):
        assert comparable(reader.read(record)) == comparable(entry)
    file.close()


def test_only_the_new_click_of_a_group_is_recorded():
    key = 1, PLANES[0]
    clicks = tuple(Click(i, *key, (1.5, i / 10), 1) for i in range(1, 201))
    records, sizes = EntryWriter(), []
    for number in range(1, 200):
        change = Change(key, Group(clicks[: number - 1]), Group(clicks[:number]))
        record = records.record_of(Entry(number, "prompts", "a click", 1.0, (change,)))
        sizes.append(len(str(record.data)))
    assert max(sizes) < 150


def one_record(**data):
    key, mask = (1, PLANES[0]), np.ones((3, 4), bool)
    region = slice(2, 5), slice(6, 10)
    change = PixelChange.of(PLANES[0], region, mask, np.zeros(12, int), np.arange(12))
    answer = Answer(cut(mask, (2, 6)), (0.5,), 0, "key", PlaneInput((1, 2)), NOTHING)
    group = Group((Click(1, *key, (3.0, 7.0), 1),))
    entry = Entry(
        *(1, "mask", "", 1.0, (Change(key, NOTHING, group),), (Change(key, None, answer),)),
        pixels=(change,),
    )
    record = EntryWriter().record_of(entry)
    return replace(record, data={**record.data, **data})


def test_a_mask_that_is_also_written_is_stored_once():
    assert len(one_record().patches) == 1
    EntryReader(shape_of).read(one_record())


PLANE = [0, None, None]


@pytest.mark.parametrize(
    "data",
    [
        {"prompts": 5},
        {"prompts": [[1, PLANE, None]]},
        {"prompts": [[0, PLANE, None, None]]},
        {"prompts": [[2**64, PLANE, None, None]]},
        {"prompts": [["../x", PLANE, None, None]]},
        {"prompts": [[1, [99, None, None], None, None]]},
        {"prompts": [[1, [True, None, None], None, None]]},
        {"prompts": [[1, PLANE, 7, None]]},
        {"prompts": [[1, PLANE, None, {"kept": 3, "clicks": []}]]},
        {"prompts": [[1, PLANE, None, {"kept": 10**12, "clicks": []}]]},
        {"prompts": [[1, PLANE, None, {"clicks": [[1, 2.0, float("nan"), 1]]}]]},
        {"prompts": [[1, PLANE, None, {"clicks": [[1, 2.0, 3.0, 2]]}]]},
        {"prompts": [[1, PLANE, None, {"clicks": [], "box": [1, 2.0]}]]},
        {"answers": [[1, PLANE, None, {"mask": 0}]]},
        {"answers": [[1, PLANE, None, 3]]},
        {"marks": [[1, PLANE, None, [5, None]]]},
        {"marks": [[1, PLANE, None, [-1, None]]]},
        {"marks": [[1, PLANE, None, [True, None]]]},
        {"facts": [[1, {}, {"origin": "__import__"}]]},
        {"facts": [[1, {}, {"locked": 1}]]},
        {"pixels": [1]},
        {"pixels": "0"},
        {"objects": [1]},
        {"objects": None},
        {"details": []},
    ],
)
def test_records_of_no_valid_entry_are_refused(data):
    with pytest.raises(SessionFileError, match="entry 1 of the session"):
        EntryReader(inside).read(one_record(**data))


def inside(plane):
    if len(plane) != 3 or not all(i is None or 0 <= i < 9 for i in plane):
        raise ValueError(f"no plane {plane}")
    return SHAPE


def changed(record, **values):
    return replace(record, patches=(replace(record.patches[0], **values),))


def bomb(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


@pytest.mark.parametrize(
    "values",
    [
        {"region": (38, 6, 3, 4)},
        {"region": (2, 47, 3, 4)},
        {"region": (0, 0, 10**6, 10**6)},
        {"plane": (9, None, None)},
        {"area": 11},
        {"mask": bomb(10**8)},
        {"mask": zlib.compress(b"\xff")},
        {"mask": zlib.compress(b"\xff\xf0")[:-1]},
        {"mask": b"no zlib"},
        {"new": Numbers("<i8", bomb(10**8))},
        {"new": Numbers("<i8", zlib.compress(bytes(8)))},
        {"new": Numbers("O", zlib.compress(bytes(96)))},
        {"new": Numbers("<f8", zlib.compress(bytes(96)))},
        {"new": Numbers("<i1", 300)},
        {"new": Numbers("<u4", -1)},
        {"new": None, "old": None},
    ],
)
def test_pixels_that_dont_fit_the_plane_are_refused_before_they_are_unpacked(values):
    with pytest.raises(SessionFileError, match="entry 1 of the session"):
        EntryReader(inside).read(changed(one_record(), **values))


def test_a_patch_that_is_no_change_may_be_a_mask():
    record = one_record()
    patch = PatchRecord(PLANES[0], (0, 0, 1, 8), 8, zlib.compress(b"\xff"))
    record = replace(record, patches=(*record.patches, patch))
    marks = {"marks": [[1, PLANE, None, [1, None]]]}
    entry = EntryReader(inside).read(replace(record, data={**record.data, **marks}))
    assert entry.marks[0].after.written.area == 8
