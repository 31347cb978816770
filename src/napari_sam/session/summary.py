"""A summary of a session in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_sam.io.session_file import Json
from napari_sam.model.lesson_facts import taught_on
from napari_sam.session.groups import (
    BoxPrompt,
    Click,
    Group,
    Lasso,
    MaskPrompt,
    ObjectPlane,
    Prompt,
    Stroke,
)
from napari_sam.session.journal import Entry, PlaneFacts
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.saved import SavedSession

KINDS = {
    "click": "clicks",
    "box": "boxes",
    "stroke": "strokes",
    "lasso": "lassos",
    "mask": "masks",
}
"""Kinds of prompts: singular and plural."""

_KIND_OF: dict[type[Prompt], str] = {
    Click: "click",
    BoxPrompt: "box",
    Stroke: "stroke",
    Lasso: "lasso",
    MaskPrompt: "mask",
}

LONGEST_STEP = 60.0
"""Seconds between two entries above which the time counts as a pause."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of a session.

    Parameters
    ----------
    prompts
        For each object with prompts, the number of each of :data:`KINDS` on all planes. A mask
        that existed before the first prompt doesn't count.
    found
        Objects that were found by a run.
    painted
        Objects that were first made by painting.
    taken_over
        Objects that came from existing labels, or from a file.
    retouched
        Objects that were later painted, erased, split or merged by hand.
    rejected
        Number of found objects that were deleted.
    planes
        Number of planes with prompts, or with objects that were found, painted or followed.
    active_seconds
        Time from entry to entry, without pauses of more than a minute.
    models
        Keys of the models that predicted masks, in the order of first use.
    carried
        For each object that was followed, the number of followed masks that were not edited since.
    texts
        The texts by which runs searched.
    """

    prompts: dict[int, Counter[str]] = field(default_factory=dict)
    found: frozenset[int] = frozenset()
    painted: frozenset[int] = frozenset()
    retouched: frozenset[int] = frozenset()
    rejected: int = 0
    planes: int = 0
    active_seconds: float = 0.0
    models: tuple[str, ...] = ()
    taken_over: frozenset[int] = frozenset()
    carried: dict[int, int] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    @property
    def objects(self) -> frozenset[int]:
        """Every object that has prompts, was found, painted or taken over."""
        return self.found | self.painted | self.taken_over | self.prompts.keys()

    @property
    def corrected(self) -> frozenset[int]:
        """Found objects that got prompts, or were edited by hand."""
        return self.found & (self.retouched | self.prompts.keys())

    @property
    def clicks(self) -> int:
        """Number of clicks."""
        return self.count("click")

    @property
    def boxes(self) -> int:
        """Number of boxes."""
        return self.count("box")

    def count(self, kind: str) -> int:
        """Return the number of prompts of a kind."""
        return sum(counted[kind] for counted in self.prompts.values())


def summarize(entries: Sequence[Entry]) -> Summary:
    """Return the summary of a journal.

    Parameters
    ----------
    entries
        The entries in force, in order.
    """
    groups: dict[ObjectPlane, Group] = {}
    origins: dict[int, str] = {}
    retouched: set[int] = set()
    planes: set[Any] = set()
    models: dict[str, None] = {}
    texts: dict[str, None] = {}
    rejected = 0
    known: dict[ObjectPlane, PlaneFacts] = {}
    for entry in entries:
        groups |= {change.key: change.after for change in entry.prompts}
        for facts in entry.facts:
            if entry.kind == "deleted" and facts.before.origin == "found":
                rejected += 1
            origins[facts.key] = facts.after.origin
        _retouch(entry, origins, retouched)
        if entry.kind in ("found", "painted"):
            planes |= {change.plane for change in entry.pixels}
        models |= {c.after.model: None for c in entry.answers if c.after and c.after.model}
        known |= {change.key: change.after for change in entry.planes}
        is_run = entry.kind in ("found", "carried")
        if is_run and isinstance(key := entry.details.get("model"), str):
            models[key] = None
        if (text := _text_of(entry)) is not None:
            texts[text] = None
    groups = {key: group for key, group in groups.items() if not group.is_empty}
    prompts = _counted(groups)
    words = "found", "painted", "adopted", "imported"
    of = {word: {i for i, one in origins.items() if one == word} for word in words}
    taken_over = of["adopted"] | of["imported"]
    every = of["found"] | of["painted"] | taken_over | prompts.keys()
    followed = [key for key, facts in known.items() if facts.quality is not None]
    return Summary(
        prompts,
        frozenset(of["found"]),
        frozenset(of["painted"]),
        frozenset(retouched & every),
        rejected,
        len(planes | {plane for _, plane in (*groups, *followed)}),
        _active(entry.time for entry in entries),
        tuple(models),
        frozenset(taken_over),
        dict(Counter(object_id for object_id, _ in followed)),
        tuple(texts),
    )


def _text_of(entry: Entry) -> str | None:
    """Return the text by which a run searched; None if it searched for all objects."""
    settings = entry.details.get("settings") if entry.kind == "found" else None
    text = settings.get("text") if isinstance(settings, dict) else None
    return text if isinstance(text, str) and text else None


def facts_of(saved: SavedSession) -> dict[str, str]:
    """Return the properties of a saved session for display, by name."""
    about, summary = saved.about, summarize(saved.entries)
    image, model = _table(about, "image"), _table(about, "model")
    given, settings = _table(image, "given"), _table(about, "settings")
    known = saved.models
    others = [
        f"{known[key].name} ({key})" if key in known else key
        for key in summary.models
        if key != model.get("key")
    ]
    taught = [
        f"{one.name}: {one.card.lesson.parent}, taught on {taught_on(one.card.lesson)}"
        for one in known.values()
        if one.card is not None
    ]
    undone = sum(1 for group in saved.undone for _ in group)
    origins = (
        (len(summary.found), "found automatically"),
        (len(summary.corrected), "of these corrected"),
        (len(summary.painted), "painted by hand"),
        (len(summary.taken_over), "taken over"),
    )
    by_origin = [f"{count} {what}" for count, what in origins if count]
    facts: dict[str, Any] = {
        "session": f"{saved.path} ({saved.path.stat().st_size / 1e6:.2f} MB)",
        "image": image.get("name"),
        "file": image.get("relative_path") or image.get("file"),
        "shape": _joined(image.get("shape"), " × "),
        "axes": _joined(_named(image.get("axes"))),
        "pixel size": _sizes(image.get("pixel_size"), image.get("units")),
        **{name: str(value).strip() for name, value in given.items()},
        "model": model.get("name"),
        "model key": model.get("key"),
        "other models": ", ".join(others),
        "taught models": "; ".join(taught),
        "precision": f"{model.get('precision')} on {model.get('device')}" if model else "",
        "versions": ", ".join(f"{k} {v}" for k, v in _table(about, "versions").items()),
        "current object": settings.get("object"),
        **_rules_in_words(saved.rules),
        "objects": ", ".join([str(len(summary.objects)), *by_origin]),
        "prompts": ", ".join(
            f"{many}: {summary.count(one)}"
            for one, many in KINDS.items()
            if summary.count(one) or one in ("click", "box")
        ),
        "entries": f"{len(saved.entries)}, {undone} undone",
        "active time": f"{summary.active_seconds:.0f} s",
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _table(about: Mapping[str, Json], key: str) -> Mapping[str, Any]:
    value = about.get(key)
    return value if isinstance(value, dict) else {}


def _rules_in_words(rules: MaskRules) -> dict[str, str]:
    done = [
        name.replace("_", " ") + ("" if value is True else f" {value:g} px")
        for name, value in rules.post_processing.words().items()
    ]
    return {"overlaps": rules.overlap, "post-processing": ", ".join(done)}


def _joined(values: Json, by: str = ", ") -> str:
    return by.join(str(value) for value in values) if isinstance(values, list) else ""


def _named(axes: Json) -> Json:
    """Return the names of axes; None if they are only the numbers that napari gives them."""
    numbers = isinstance(axes, list) and all(str(name).lstrip("-").isdigit() for name in axes)
    return None if numbers else axes


def _sizes(sizes: Json, units: Json) -> str:
    if not isinstance(sizes, list):
        return ""
    names = units if isinstance(units, list) and len(units) == len(sizes) else [""] * len(sizes)
    return ", ".join(f"{size} {unit}".strip() for size, unit in zip(sizes, names, strict=True))


def _retouch(entry: Entry, origins: dict[int, str], retouched: set[int]) -> None:
    """Add the objects that an entry edits by hand, other than creating them."""
    made = {facts.key for facts in entry.facts}
    if entry.kind == "painted":
        for change in entry.pixels:
            numbers = {*np.unique(change.before).tolist(), *np.unique(change.after).tolist()}
            retouched |= numbers - made - {0}
    elif entry.kind == "merged":
        retouched.discard(entry.details["object"])
        retouched.add(entry.details["into"])
    elif entry.kind == "split":
        retouched |= {entry.details["object"], entry.details["into"]}
    elif entry.kind == "renumbered" and entry.details["object"] in retouched:
        retouched.remove(entry.details["object"])
        retouched.add(entry.details["into"])
    elif entry.kind == "deleted" and entry.details["everywhere"]:
        retouched.difference_update(entry.details.get("objects") or [entry.details["object"]])


def _counted(groups: dict[ObjectPlane, Group]) -> dict[int, Counter[str]]:
    counted: dict[int, Counter[str]] = {}
    for (object_id, _), group in groups.items():
        given = (one for one in group.members if not (isinstance(one, MaskPrompt) and one.is_first))
        if here := Counter(_KIND_OF[type(prompt)] for prompt in given):
            counted[object_id] = counted.get(object_id, Counter()) + here
    return counted


def _active(times: Iterable[float]) -> float:
    steps = np.diff(sorted(times))
    return float(steps[steps <= LONGEST_STEP].sum())
