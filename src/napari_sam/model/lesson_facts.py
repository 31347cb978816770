"""What a model was taught, in words and lines for a person."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from napari_sam.model.lesson import HeldBack, Lesson
from napari_sam.model.taught_library import TaughtFile

_SCORES = {
    "click": "after one click",
    "clicks": "after three clicks",
    "box": "by a box",
    "everything": "find all",
}
FEW = 4
"""Fewer objects than this are little to go by."""


def taught_on(lesson: Lesson) -> str:
    """Return the number of objects and planes as text, such as "5 objects of 2 planes"."""
    return f"{_count(lesson.objects, 'object')} of {_count(lesson.planes, 'plane')}"


def score_lines(scores: Mapping[str, HeldBack]) -> dict[str, str]:
    """Return each score before and after the training as text, by the score's title."""
    return {
        title: f"{scores[name].before:.2f} → {scores[name].after:.2f}"
        for name, title in _SCORES.items()
        if name in scores
    }


def only_finds(scores: Mapping[str, HeldBack]) -> bool:
    """Whether masks from prompts are as before, so that only finding everything was trained."""
    return all(one.change == 0 for name, one in scores.items() if name != "everything")


def rests_on(scores: Mapping[str, HeldBack]) -> str:
    """Return the number of objects behind scores, as "2 objects held back: little to go by"."""
    count = max((one.count for one in scores.values()), default=0)
    few = ": little to go by" if count < FEW else ""
    return f"{_count(count, 'object')} held back{few}"


def facts_of(file: TaughtFile) -> dict[str, str]:
    """Return the facts about a taught model for display: their titles and values."""
    if file.card is None:
        return {"file": str(file.path), "error": file.error}
    lesson = file.card.lesson
    facts = {
        "taught model": file.name,
        "file": f"{file.path} ({file.size / 1e6:.2f} MB)",
        "parent": f"{lesson.parent} (key {lesson.parent_key})",
        "key": file.card.key,
        "taught on": taught_on(lesson),
        "complete regions": f"on {_count(lesson.complete, 'plane')}" if lesson.complete else "",
        "files": ", ".join(lesson.sources),
        "parts": ", ".join(lesson.parts) + (" (thorough)" if lesson.thorough else ""),
        "steps": f"{lesson.steps}, seed {lesson.seed}, {_count(lesson.threads, 'thread')}",
        "day": day_of(file),
        "version": lesson.version,
        **score_lines(lesson.scores),
        "figures rest on": rests_on(lesson.scores) if lesson.scores else "",
        "taught before on": "; then ".join(taught_on(one) for one in lesson.earlier),
    }
    return {name: value for name, value in facts.items() if value}


def day_of(file: TaughtFile) -> str:
    """Return the day it was taught, or that of its file."""
    if file.card is not None and file.card.lesson.when:
        return file.card.lesson.when
    return datetime.date.fromtimestamp(file.changed).isoformat()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
