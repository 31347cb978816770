"""Properties of objects, classes and model inputs as JSON values, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import get_args

from napari_sam.io.session_file import Json
from napari_sam.plane_input import ColourInput, PlaneInput
from napari_sam.planes import Plane
from napari_sam.propagate.judge import Causes
from napari_sam.session.complete_regions import Rectangle, Regions
from napari_sam.session.journal import Change, ObjectFacts, Origin, PlaneFacts, Verdict
from napari_sam.session.object_classes import ObjectClass, checked
from napari_sam.session.record_values import as_finite, as_index, as_text


def facts_json(facts: ObjectFacts) -> Json:
    """Return the properties of an object as JSON."""
    record: dict[str, Json] = {}
    if facts.locked:
        record["locked"] = True
    if facts.origin:
        record["origin"] = facts.origin
    if facts.class_name:
        record["class"] = facts.class_name
    if facts.accepted is not None:
        record["accepted"] = facts.accepted
    for name in ("score", "stability"):
        if (value := getattr(facts, name)) is not None:
            record[name] = float(value)
    if facts.parent is not None:
        record["parent"] = int(facts.parent)
    return record


def read_facts(value: Json) -> ObjectFacts:
    """Return the properties of an object from JSON."""
    locked, origin = value.get("locked", False), value.get("origin", "")
    accepted = value.get("accepted")
    if not isinstance(locked, bool) or origin not in get_args(Origin):
        raise ValueError(f"facts {str(value)[:100]}")
    if not isinstance(accepted, bool | None):
        raise TypeError(f"{type(accepted).__name__} as whether an object is accepted")
    class_name = as_text(value.get("class", ""))
    score, stability = (
        None if value.get(name) is None else as_finite(value[name])
        for name in ("score", "stability")
    )
    parent = None if value.get("parent") is None else as_index(value["parent"])
    return ObjectFacts(locked, origin, class_name, accepted, score, stability, parent)


def plane_facts_json(facts: PlaneFacts) -> Json:
    """Return the properties of an object on a plane as JSON."""
    record: dict[str, Json] = {}
    for name in ("quality", "score"):
        if (value := getattr(facts, name)) is not None:
            record[name] = float(value)
    if facts.axis is not None:
        record["axis"] = int(facts.axis)
    if facts.causes is not None:
        record["causes"] = {
            one.name: float(getattr(facts.causes, one.name)) for one in fields(facts.causes)
        }
    if facts.verdict:
        record["said"] = facts.verdict
    return record


def read_plane_facts(value: Json) -> PlaneFacts:
    """Return the properties of an object on a plane from JSON; unknown causes are left out."""
    verdict = value.get("said", "")
    if verdict not in get_args(Verdict):
        raise ValueError(f"facts of a plane {str(value)[:100]}")
    quality, score = (
        None if value.get(name) is None else as_finite(value[name]) for name in ("quality", "score")
    )
    axis, causes = value.get("axis"), value.get("causes")
    known = {one.name for one in fields(Causes)}
    return PlaneFacts(
        quality,
        score,
        None if axis is None else as_index(axis),
        None
        if causes is None
        else Causes(**{name: as_finite(one) for name, one in causes.items() if name in known}),
        verdict,
    )


def classes_json(classes: Sequence[ObjectClass]) -> Json:
    """Return classes as JSON."""
    return [[one.name, one.colour, one.key] for one in classes]


def read_classes_change(value: Json) -> Change[str, tuple[ObjectClass, ...]] | None:
    """Return a change of the classes from JSON; None if there is none."""
    if value is None:
        return None
    before, after = (
        checked(
            ObjectClass(as_text(name), as_text(colour), as_text(key)) for name, colour, key in some
        )
        for some in value
    )
    return Change("classes", before, after)


def complete_json(changes: Sequence[Change[Plane, Regions]]) -> Json:
    """Return changes of complete regions as JSON."""
    return [
        [list(one.key), [list(region) for region in one.before], [list(r) for r in one.after]]
        for one in changes
    ]


def read_complete(plane: Plane, value: Json, shape: tuple[int, int]) -> Change[Plane, Regions]:
    """Return a change of the complete regions of a plane from JSON."""
    before, after = (tuple(_read_rectangle(one, shape) for one in some) for some in value)
    return Change(plane, before, after)


def _read_rectangle(value: Json, shape: tuple[int, int]) -> Rectangle:
    r0, c0, r1, c1 = (as_index(one) for one in value)
    if not (r0 <= r1 < shape[0] and c0 <= c1 < shape[1]):
        raise ValueError(f"the rectangle {value} in a plane of {shape[0]} x {shape[1]}")
    return r0, c0, r1, c1


def read_model_change(value: Json) -> Change[str, str] | None:
    """Return a change of the model from JSON; None if there is none."""
    if value is None:
        return None
    before, after = (as_text(key) for key in value)
    return Change("model", before, after)


def given_json(given: PlaneInput) -> Json:
    """Return the model's input of a plane as JSON."""
    return {
        "displayed": list(given.displayed),
        "colours": [one and _colour_json(one) for one in given.colours],
        "channel_axis": given.channel_axis,
        "known": given.known,
        "projection": given.projection,
        "spans": [list(span) for span in given.spans],
    }


def _colour_json(one: ColourInput) -> Json:
    return {
        "limits": None if one.limits is None else [float(x) for x in one.limits],
        "index": one.index,
        "layer": one.layer,
        "checksum": one.checksum,
        "gamma": float(one.gamma),
        "inverted": one.inverted,
    }


def read_given(value: Json) -> PlaneInput:
    """Return the model's input of a plane from JSON."""
    rows, columns = value["displayed"]
    axis = value["channel_axis"]
    return PlaneInput(
        (as_index(rows), as_index(columns)),
        tuple(None if one is None else _read_colour(one) for one in value["colours"]),
        None if axis is None else as_index(axis),
        bool(value["known"]),
        as_text(value["projection"]),
        tuple((as_index(a), as_index(b), as_index(c)) for a, b, c in value["spans"]),
    )


def _read_colour(value: Json) -> ColourInput:
    limits, index = value["limits"], value["index"]
    if limits is not None:
        low, high = limits
        limits = float(low), float(high)
    return ColourInput(
        limits,
        None if index is None else as_index(index),
        as_text(value["layer"]),
        as_text(value["checksum"]),
        float(value["gamma"]),
        bool(value["inverted"]),
    )
