"""What is known of objects, their classes, and what a model was given, as plain records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import get_args

from napari_sam.io.session_file import Json
from napari_sam.plane_input import ColourInput, PlaneInput
from napari_sam.planes import Plane
from napari_sam.propagate.judge import Causes
from napari_sam.session.complete_regions import Rectangle, Regions
from napari_sam.session.journal import Change, ObjectFacts, Origin, PlaneFacts, Said
from napari_sam.session.object_classes import ObjectClass, checked
from napari_sam.session.record_values import as_finite, as_index, as_text


def spell_facts(facts: ObjectFacts) -> Json:
    """Spell what is known of an object."""
    told: dict[str, Json] = {}
    if facts.locked:
        told["locked"] = True
    if facts.origin:
        told["origin"] = facts.origin
    if facts.class_name:
        told["class"] = facts.class_name
    if facts.accepted is not None:
        told["accepted"] = facts.accepted
    for name in ("score", "stability"):
        if (value := getattr(facts, name)) is not None:
            told[name] = float(value)
    if facts.parent is not None:
        told["parent"] = int(facts.parent)
    return told


def read_facts(told: Json) -> ObjectFacts:
    """Read what is known of an object."""
    locked, origin = told.get("locked", False), told.get("origin", "")
    accepted = told.get("accepted")
    if not isinstance(locked, bool) or origin not in get_args(Origin):
        raise ValueError(f"facts {str(told)[:100]}")
    if not isinstance(accepted, bool | None):
        raise TypeError(f"{type(accepted).__name__} as whether an object is accepted")
    class_name = as_text(told.get("class", ""))
    score, stability = (
        None if told.get(name) is None else as_finite(told[name]) for name in ("score", "stability")
    )
    parent = None if told.get("parent") is None else as_index(told["parent"])
    return ObjectFacts(locked, origin, class_name, accepted, score, stability, parent)


def spell_plane_facts(facts: PlaneFacts) -> Json:
    """Spell what is known of an object on a plane."""
    told: dict[str, Json] = {}
    for name in ("quality", "score"):
        if (value := getattr(facts, name)) is not None:
            told[name] = float(value)
    if facts.axis is not None:
        told["axis"] = int(facts.axis)
    if facts.causes is not None:
        told["causes"] = {
            one.name: float(getattr(facts.causes, one.name)) for one in fields(facts.causes)
        }
    if facts.said:
        told["said"] = facts.said
    return told


def read_plane_facts(told: Json) -> PlaneFacts:
    """Read what is known of an object on a plane; causes that are not known here are left out."""
    said = told.get("said", "")
    if said not in get_args(Said):
        raise ValueError(f"facts of a plane {str(told)[:100]}")
    quality, score = (
        None if told.get(name) is None else as_finite(told[name]) for name in ("quality", "score")
    )
    axis, causes = told.get("axis"), told.get("causes")
    known = {one.name for one in fields(Causes)}
    return PlaneFacts(
        quality,
        score,
        None if axis is None else as_index(axis),
        None
        if causes is None
        else Causes(**{name: as_finite(one) for name, one in causes.items() if name in known}),
        said,
    )


def spell_classes(classes: Sequence[ObjectClass]) -> Json:
    """Spell classes."""
    return [[one.name, one.colour, one.key] for one in classes]


def read_classes_change(told: Json) -> Change[str, tuple[ObjectClass, ...]] | None:
    """Read what became of the classes; None where they stayed."""
    if told is None:
        return None
    before, after = (
        checked(
            ObjectClass(as_text(name), as_text(colour), as_text(key)) for name, colour, key in some
        )
        for some in told
    )
    return Change("classes", before, after)


def spell_complete(changes: Sequence[Change[Plane, Regions]]) -> Json:
    """Spell where everything is labelled, by plane."""
    return [
        [list(one.key), [list(region) for region in one.before], [list(r) for r in one.after]]
        for one in changes
    ]


def read_complete(plane: Plane, told: Json, shape: tuple[int, int]) -> Change[Plane, Regions]:
    """Read where everything of a plane was labelled, and where it is."""
    before, after = (tuple(_read_rectangle(one, shape) for one in some) for some in told)
    return Change(plane, before, after)


def _read_rectangle(told: Json, shape: tuple[int, int]) -> Rectangle:
    r0, c0, r1, c1 = (as_index(value) for value in told)
    if not (r0 <= r1 < shape[0] and c0 <= c1 < shape[1]):
        raise ValueError(f"the rectangle {told} in a plane of {shape[0]} x {shape[1]}")
    return r0, c0, r1, c1


def read_model_change(told: Json) -> Change[str, str] | None:
    """Read which model answered, and which does; None where it stayed."""
    if told is None:
        return None
    before, after = (as_text(key) for key in told)
    return Change("model", before, after)


def spell_given(given: PlaneInput) -> Json:
    """Spell what a model was given of a plane."""
    return {
        "displayed": list(given.displayed),
        "colours": [one and _spell_colour(one) for one in given.colours],
        "channel_axis": given.channel_axis,
        "known": given.known,
        "projection": given.projection,
        "spans": [list(span) for span in given.spans],
    }


def _spell_colour(one: ColourInput) -> Json:
    return {
        "limits": None if one.limits is None else [float(x) for x in one.limits],
        "index": one.index,
        "layer": one.layer,
        "checksum": one.checksum,
        "gamma": float(one.gamma),
        "inverted": one.inverted,
    }


def read_given(told: Json) -> PlaneInput:
    """Read what a model was given of a plane."""
    rows, columns = told["displayed"]
    axis = told["channel_axis"]
    return PlaneInput(
        (as_index(rows), as_index(columns)),
        tuple(None if one is None else _read_colour(one) for one in told["colours"]),
        None if axis is None else as_index(axis),
        bool(told["known"]),
        as_text(told["projection"]),
        tuple((as_index(a), as_index(b), as_index(c)) for a, b, c in told["spans"]),
    )


def _read_colour(told: Json) -> ColourInput:
    limits, index = told["limits"], told["index"]
    if limits is not None:
        low, high = limits
        limits = float(low), float(high)
    return ColourInput(
        limits,
        None if index is None else as_index(index),
        as_text(told["layer"]),
        as_text(told["checksum"]),
        float(told["gamma"]),
        bool(told["inverted"]),
    )
