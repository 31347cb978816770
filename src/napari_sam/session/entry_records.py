"""Entries of a journal as the plain records that a session file keeps, and back."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.session_file import (
    EntryRecord,
    Json,
    Numbers,
    PatchRecord,
    PlaneRecord,
    SessionFileError,
)
from napari_sam.patches import Patch
from napari_sam.plane_input import PlaneInput
from napari_sam.planes import Plane
from napari_sam.prompts import GRANULARITIES
from napari_sam.session.answers import Answer
from napari_sam.session.fact_records import (
    classes_json,
    complete_json,
    facts_json,
    given_json,
    plane_facts_json,
    read_classes_change,
    read_complete,
    read_facts,
    read_given,
    read_model_change,
    read_plane_facts,
)
from napari_sam.session.groups import (
    NOTHING,
    BoxPrompt,
    Click,
    Group,
    Lasso,
    MaskPrompt,
    ObjectPlane,
    Stroke,
)
from napari_sam.session.journal import Change, Entry, Kind
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import Packed, PixelChange
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.record_values import (
    as_finite,
    as_flag,
    as_index,
    as_json_number,
    as_object,
    as_path,
    as_text,
)

_T = TypeVar("_T")

PlaneShape = Callable[[Plane], tuple[int, int]]
"""Returns (H, W) of a plane, or raises ValueError if the image has no such plane."""

_LEVEL = 1  # of zlib, as in pixels.py: equal masks then compress to equal bytes, stored once
_REMEMBERED = 32  # values of one object on one plane that later entries may refer to
_INTEGER_TYPE = re.compile(r"[<>|][iu][1248]")
_SAME = "same"  # a prompt that the entry did not change


class EntryWriter:
    """Converts journal entries to records, one after the other, in their order.

    The previous value of a change nearly always equals the new value of an earlier entry; the
    record then contains the number of that entry instead of the value.
    """

    def __init__(self) -> None:
        self._groups: dict[ObjectPlane, list[tuple[int, Group]]] = {}
        self._answers: dict[ObjectPlane, list[tuple[int, Answer | None]]] = {}
        self._marks: dict[ObjectPlane, list[tuple[int, Marks]]] = {}
        self._given: dict[PlaneInput, int] = {}

    def record_of(self, entry: Entry) -> EntryRecord:
        """Return the record of an entry."""
        masks = _Masks()
        pixels = [masks.of_change(change) for change in entry.pixels]
        data: dict[str, Json] = {"objects": [int(i) for i in entry.objects]}
        if pixels:
            data["pixels"] = pixels
        if entry.details:
            data["details"] = dict(entry.details)
        data |= self._prompts(entry, masks)
        data |= self._results(entry, masks)
        if entry.facts:
            data["facts"] = [
                [int(c.key), facts_json(c.before), facts_json(c.after)] for c in entry.facts
            ]
        if entry.classes is not None:
            data["classes"] = [
                classes_json(entry.classes.before),
                classes_json(entry.classes.after),
            ]
        if entry.planes:
            data["planes"] = [
                [*_key_json(c.key), plane_facts_json(c.before), plane_facts_json(c.after)]
                for c in entry.planes
            ]
        if entry.complete:
            data["complete"] = complete_json(entry.complete)
        if entry.model is not None:
            data["model"] = [entry.model.before, entry.model.after]
        patches = tuple(masks.records)
        return EntryRecord(entry.number, entry.kind, entry.text, entry.time, data, patches)

    def _prompts(self, entry: Entry, masks: _Masks) -> dict[str, Json]:
        changes = []
        for change in entry.prompts:
            before = self._group(change.key, change.before, masks)
            after = _group_json(change.after, masks, change.before)
            changes.append([*_key_json(change.key), before, after])
        for change in entry.prompts:
            _remember(self._groups, change.key, entry.number, change.after)
        return {"prompts": changes} if changes else {}

    def _results(self, entry: Entry, masks: _Masks) -> dict[str, Json]:
        data: dict[str, Json] = {}
        if entry.answers:
            data["answers"] = [
                [
                    *_key_json(c.key),
                    self._answer(c.key, c.before, masks),
                    self._answer(c.key, c.after, masks),
                ]
                for c in entry.answers
            ]
        if entry.marks:
            data["marks"] = [
                [
                    *_key_json(c.key),
                    self._known_marks(c.key, c.before, masks),
                    self._known_marks(c.key, c.after, masks),
                ]
                for c in entry.marks
            ]
        for change in entry.answers:
            _remember(self._answers, change.key, entry.number, change.after)
        for marks in entry.marks:
            _remember(self._marks, marks.key, entry.number, marks.after)
        return data

    def _group(self, key: ObjectPlane, group: Group, masks: _Masks) -> Json:
        if group == NOTHING:
            return None
        known = _number_of(self._groups, key, lambda one: one is group or one == group)
        return _group_json(group, masks) if known is None else known

    def _answer(self, key: ObjectPlane, answer: Answer | None, masks: _Masks) -> Json:
        if answer is None:
            return None
        known = _number_of(self._answers, key, lambda one: one is answer)
        if known is not None:
            return known
        record: dict[str, Json] = {
            "mask": masks.of_patch(key[1], answer.patch),
            "scores": [as_json_number(score) for score in answer.scores],
            "chosen": int(answer.chosen),
            "model": answer.model,
            "prompts": self._group(key, answer.prompts, masks),
        }
        if words := answer.post_processing.words():
            record["post_processing"] = words
        if answer.given is not None:
            record["given"] = self._given.get(answer.given)
            if record["given"] is None:
                new = self._given[answer.given] = len(self._given)
                record["given"] = [new, given_json(answer.given)]
        return record

    def _known_marks(self, key: ObjectPlane, marks: Marks, masks: _Masks) -> Json:
        if marks.is_empty:
            return None
        known = _number_of(self._marks, key, lambda one: one is marks)
        if known is not None:
            return known
        return [masks.of_patch(key[1], patch) for patch in (marks.written, marks.erased)]


class EntryReader:
    """Converts the records of a file to journal entries, in their order.

    Parameters
    ----------
    plane_shape
        Returns the shape of a plane; pixels outside of it are an error.
    """

    def __init__(self, plane_shape: PlaneShape) -> None:
        self._shapes: dict[Plane, tuple[int, int]] = {}
        self._plane_shape = plane_shape
        self._groups: dict[ObjectPlane, dict[int, Group]] = {}
        self._answers: dict[ObjectPlane, dict[int, Answer | None]] = {}
        self._marks: dict[ObjectPlane, dict[int, Marks]] = {}
        self._given: dict[int, PlaneInput] = {}

    def read(self, record: EntryRecord) -> Entry:
        """Return the entry of a record.

        Raises
        ------
        SessionFileError
            If the record is not valid, or doesn't fit the image.
        """
        try:
            return self._read(record)
        except SessionFileError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise SessionFileError(
                f"expected entry {record.number} of the session to be one of this image, got "
                f"{type(error).__name__}: {error}; open the image it was made with, or another "
                "copy of the session"
            ) from error

    def _read(self, record: EntryRecord) -> Entry:
        data, number = record.data, record.number
        if record.kind not in get_args(Kind):
            raise ValueError(f"the kind {record.kind[:40]!r}")
        patches = [self._checked(patch) for patch in record.patches]
        masks = [_patch_of(patch) for patch in patches]
        prompts = []
        for object_id, plane, before, after in data.get("prompts", ()):
            key = self._key(object_id, plane)
            was = self._group(key, before, masks)
            prompts.append(Change(key, was, _read_group(key, after, was, masks)))
        for change in prompts:
            self._groups.setdefault(change.key, {})[number] = change.after
        answers = []
        for object_id, plane, *both in data.get("answers", ()):
            key = self._key(object_id, plane)
            answered = [self._answer(key, value, masks) for value in both]
            answers.append(Change(key, answered[0], answered[1]))
        marks = []
        for object_id, plane, *both in data.get("marks", ()):
            key = self._key(object_id, plane)
            known = [self._known_marks(key, value, masks) for value in both]
            marks.append(Change(key, known[0], known[1]))
        for one in answers:
            self._answers.setdefault(one.key, {})[number] = one.after
        for other in marks:
            self._marks.setdefault(other.key, {})[number] = other.after
        facts = tuple(
            Change(as_object(object_id), read_facts(before), read_facts(after))
            for object_id, before, after in data.get("facts", ())
        )
        current, following = data["objects"]
        details = data.get("details", {})
        if not isinstance(details, dict):
            raise TypeError(f"{type(details).__name__} as details")
        return Entry(
            number,
            record.kind,  # type: ignore[arg-type]  # checked above
            record.text,
            record.time,
            tuple(prompts),
            tuple(answers),
            tuple(marks),
            facts,
            tuple(_change_of(patches[as_index(part)]) for part in data.get("pixels", ())),
            (as_object(current), as_object(following)),
            details,
            read_classes_change(data.get("classes")),
            tuple(
                Change(
                    self._key(object_id, plane), read_plane_facts(before), read_plane_facts(after)
                )
                for object_id, plane, before, after in data.get("planes", ())
            ),
            tuple(
                read_complete(at := tuple(plane), both, self._shape_of(at))
                for plane, *both in data.get("complete", ())
            ),
            read_model_change(data.get("model")),
        )

    def _checked(self, patch: PatchRecord) -> PatchRecord:
        shape = self._shape_of(patch.plane)
        row, column, height, width = patch.region
        if row + height > shape[0] or column + width > shape[1]:
            raise ValueError(f"pixels {patch.region} in a plane of {shape[0]} x {shape[1]}")
        return patch

    def _shape_of(self, plane: Plane) -> tuple[int, int]:
        if plane not in self._shapes:
            self._shapes[plane] = self._plane_shape(plane)
        return self._shapes[plane]

    def _key(self, object_id: Json, plane: Json) -> ObjectPlane:
        at = tuple(plane)
        if any(i is not None and type(i) is not int for i in at):
            raise TypeError(f"the plane {at}")
        self._shape_of(at)
        return as_object(object_id), at

    def _group(self, key: ObjectPlane, value: Json, masks: Sequence[Patch]) -> Group:
        if isinstance(value, int):
            return self._groups[key][value]
        return _read_group(key, value, NOTHING, masks)

    def _answer(self, key: ObjectPlane, value: Json, masks: Sequence[Patch]) -> Answer | None:
        if value is None:
            return None
        if isinstance(value, int):
            return self._answers[key][value]
        scores = tuple(math.nan if score is None else float(score) for score in value["scores"])
        chosen = as_index(value["chosen"])
        if chosen >= max(1, len(scores)):  # a mask prompt has no score
            raise ValueError(f"candidate {chosen} of {len(scores)}")
        return Answer(
            _mask_of(value["mask"], masks),
            scores,
            chosen,
            as_text(value["model"]),
            self._given_of(value.get("given")),
            self._group(key, value["prompts"], masks),
            PostProcessing.of_words(value.get("post_processing", {})),
        )

    def _given_of(self, value: Json) -> PlaneInput | None:
        if value is None:
            return None
        if isinstance(value, int):
            return self._given[value]
        number, words = value
        self._given[as_index(number)] = read_given(words)
        return self._given[number]

    def _known_marks(self, key: ObjectPlane, value: Json, masks: Sequence[Patch]) -> Marks:
        if value is None:
            return Marks()
        if isinstance(value, int):
            return self._marks[key][value]
        written, erased = value
        return Marks(_mask_of(written, masks), _mask_of(erased, masks))


@dataclass
class _Masks:
    """The masks of an entry, each stored once."""

    records: list[PatchRecord] = field(default_factory=list)
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)

    def of_change(self, change: PixelChange) -> int:
        """Store the pixels of a change, and return their position."""
        old, new = _numbers_of(change.old), _numbers_of(change.new)
        region = change.region
        record = PatchRecord(change.plane, region, change.area, change.mask, old, new)
        self.records.append(record)
        position = len(self.records) - 1
        self._known.setdefault((change.plane, region, change.mask), position)
        return position

    def of_patch(self, plane: Plane, patch: Patch) -> int | None:
        """Store a mask unless it is stored already, and return its position; None if empty."""
        area = patch.area
        if not area:
            return None
        (row, column), (height, width) = patch.origin, patch.pixels.shape
        region = int(row), int(column), height, width
        bits = zlib.compress(np.packbits(patch.pixels).tobytes(), _LEVEL)
        key = plane, region, bits
        if key not in self._known:
            self._known[key] = len(self.records)
            self.records.append(PatchRecord(plane, region, area, bits))
        return self._known[key]


def labels_of(record: PlaneRecord, shape: tuple[int, int]) -> NDArray[np.integer[Any]]:
    """Return the labels `(H, W)` that a record of a plane holds.

    Raises
    ------
    SessionFileError
        If they are not those of a plane of that shape.
    """
    try:
        if (record.height, record.width) != shape:
            raise ValueError(f"{record.height} x {record.width} labels for {shape}")
        dtype = _integers(record.dtype)
        data = _expanded(record.labels, shape[0] * shape[1] * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(shape)
    except (ValueError, zlib.error) as error:
        raise SessionFileError(
            f"expected the labels of plane {record.plane}, got {error}; use another copy"
        ) from error


# Values to JSON and back


def _key_json(key: ObjectPlane) -> list[Json]:
    return [int(key[0]), list(key[1])]


def _group_json(group: Group, masks: _Masks, before: Group = NOTHING) -> Json:
    """Return prompts as JSON; of those that were there before, only a reference."""
    if group == NOTHING:
        return None
    kept = _count_kept(group.clicks, before.clicks)
    record: dict[str, Json] = {"kept": kept} if kept else {}
    record["clicks"] = [
        [c.id, float(c.point[0]), float(c.point[1]), int(c.label)] for c in group.clicks[kept:]
    ]
    if group.box is not None:
        record["box"] = [group.box.id, *(float(x) for x in group.box.box)]
    if group.candidate is not None:
        record["candidate"] = int(group.candidate)
    if group.granularity:
        record["granularity"] = group.granularity
    if group.strokes:
        same = _count_kept(group.strokes, before.strokes)
        record["strokes"] = [same, *([s.id, int(s.label), s.path] for s in group.strokes[same:])]
    if (lasso := group.lasso) is not None:
        record["lasso"] = _SAME if lasso == before.lasso else [lasso.id, lasso.polygon]
    if (mask := group.mask) is not None:
        position = None if mask == before.mask else masks.of_patch(mask.plane, mask.patch)
        record["mask"] = _SAME if position is None else [mask.id, position, mask.is_first]
    return record


def _count_kept(now: Sequence[object], before: Sequence[object]) -> int:
    """Return how many leading prompts were there before."""
    kept = 0
    for one, other in zip(now, before, strict=False):
        if one is not other and one != other:
            break
        kept += 1
    return kept


def _read_group(key: ObjectPlane, value: Json, before: Group, masks: Sequence[Patch]) -> Group:
    if value is None:
        return NOTHING
    clicks = tuple(
        Click(as_index(i), *key, (as_finite(row), as_finite(column)), as_flag(label))
        for i, row, column, label in value["clicks"]
    )
    box = None
    if (numbers := value.get("box")) is not None:
        number, *ends = numbers
        r0, c0, r1, c1 = (as_finite(x) for x in ends)
        box = BoxPrompt(as_index(number), *key, (r0, c0, r1, c1))
    candidate = value.get("candidate")
    chosen = None if candidate is None else as_index(candidate)
    granularity = value.get("granularity", "")
    if granularity not in ("", *GRANULARITIES):
        raise ValueError(f"the granularity {str(granularity)[:40]!r}")
    same, *given = value.get("strokes", (0,))
    strokes = tuple(
        Stroke(as_index(i), *key, as_path(path), as_flag(label)) for i, label, path in given
    )
    return Group(
        (*_kept(before.clicks, value.get("kept", 0)), *clicks),
        box,
        chosen,
        granularity,
        (*_kept(before.strokes, same), *strokes),
        _read_lasso(key, value.get("lasso"), before),
        _read_mask(key, value.get("mask"), before, masks),
    )


def _kept(before: tuple[_T, ...], count: Json) -> tuple[_T, ...]:
    if as_index(count) > len(before):
        raise ValueError(f"{count} prompts of {len(before)}")
    return before[:count]


def _read_lasso(key: ObjectPlane, value: Json, before: Group) -> Lasso | None:
    if value is None or value == _SAME:
        return _there(before.lasso) if value is not None else None
    number, corners = value
    polygon = as_path(corners)
    if len(polygon) < 3:
        raise ValueError(f"a lasso of {len(polygon)} corners")
    return Lasso(as_index(number), *key, polygon)


def _read_mask(
    key: ObjectPlane, value: Json, before: Group, masks: Sequence[Patch]
) -> MaskPrompt | None:
    if value is None or value == _SAME:
        return _there(before.mask) if value is not None else None
    number, position, is_first = value
    if not isinstance(is_first, bool):
        raise TypeError(f"{str(is_first)[:40]} as the place of a mask")
    return MaskPrompt(as_index(number), *key, masks[as_index(position)], is_first)


def _there(prompt: _T | None) -> _T:
    if prompt is None:
        raise ValueError("the same prompt as before, where there was none")
    return prompt


def _numbers_of(packed: Packed) -> Numbers:
    if not packed.is_constant:
        return Numbers(packed.dtype, packed.data)
    value = int(np.frombuffer(packed.data, packed.dtype)[0])
    return Numbers(packed.dtype, value - 2**64 if value >= 2**63 else value)  # as SQLite has them


def _packed_of(numbers: Numbers, count: int) -> Packed:
    dtype = _integers(numbers.dtype)
    if isinstance(numbers.values, bytes):
        return Packed(numbers.dtype, count, numbers.values, False)
    value = numbers.values + (2**64 if dtype == np.uint64 and numbers.values < 0 else 0)
    return Packed(numbers.dtype, count, np.array([value], dtype).tobytes(), True)


def _change_of(patch: PatchRecord) -> PixelChange:
    if patch.old is None or patch.new is None:
        raise ValueError("a mask in the place of changed pixels")
    old, new = (_packed_of(numbers, patch.area) for numbers in (patch.old, patch.new))
    for packed in (old, new):
        if not packed.is_constant:
            _expanded(packed.data, packed.count * np.dtype(packed.dtype).itemsize)
    return PixelChange(patch.plane, patch.region, patch.mask, old, new)


def _patch_of(patch: PatchRecord) -> Patch:
    row, column, height, width = patch.region
    data = _expanded(patch.mask, -(-height * width // 8))
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=height * width)
    pixels = bits.view(bool).reshape(height, width)
    if np.count_nonzero(pixels) != patch.area:
        raise ValueError(f"{np.count_nonzero(pixels)} pixels of {patch.area}")
    return Patch((row, column), pixels)


def _mask_of(value: Json, masks: Sequence[Patch]) -> Patch:
    return Patch() if value is None else masks[as_index(value)]


def _expanded(data: bytes, size: int) -> bytes:
    """Decompress to a known size; more or fewer bytes raise an error before they are made."""
    machine = zlib.decompressobj()
    try:
        out = machine.decompress(data, size)
        more = machine.decompress(machine.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(out) != size or more or not machine.eof:
        raise ValueError(f"{len(out)} bytes{' and more' if more else ''} instead of {size}")
    return out


def _integers(dtype: str) -> np.dtype[Any]:
    if not _INTEGER_TYPE.fullmatch(dtype):
        raise ValueError(f"numbers of the type {dtype[:40]!r}")
    return np.dtype(dtype)


def _remember(known: dict[Any, list[tuple[int, Any]]], key: Any, number: int, value: Any) -> None:
    values = known.setdefault(key, [])
    if values and values[-1][0] == number:
        values.pop()
    values.append((number, value))
    del values[:-_REMEMBERED]


def _number_of(
    known: Mapping[Any, Sequence[tuple[int, Any]]], key: Any, is_it: Callable[[Any], bool]
) -> int | None:
    for number, value in reversed(known.get(key, ())):
        if is_it(value):
            return number
    return None
