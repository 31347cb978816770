"""Examples, settings and steps of teaching in messages: one end packs what the other unpacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from napari_sam.examples import Example
from napari_sam.model.taught import HeldBack, TaughtModel
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.training.tuning import TuneSettings, TuneStep

_MODEL = "model"


def pack_examples(examples: Sequence[Example]) -> tuple[list[dict[str, Any]], Arrays]:
    """Describe examples for :func:`unpack_examples`."""
    values: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for i, one in enumerate(examples):
        values.append(
            {
                "contrast_limits": one.contrast_limits,
                "plane_shape": one.plane_shape,
                "name": one.name,
            }
        )
        given = {"image": one.image, "labels": one.labels, "complete": one.complete}
        for name, array in given.items():
            if array is not None:
                array = np.asarray(array)
                native = array.dtype.newbyteorder("=")  # the only one that a message has
                arrays[f"{name}.{i}"] = array.astype(native, copy=False)
    return values, arrays


def unpack_examples(values: Sequence[dict[str, Any]], arrays: Arrays) -> list[Example]:
    """Return the examples that were described."""
    examples = []
    for i, about in enumerate(values):
        limits, shape = about["contrast_limits"], about["plane_shape"]
        examples.append(
            Example(
                arrays[f"image.{i}"],
                arrays[f"labels.{i}"],
                None if limits is None else (limits[0], limits[1]),
                arrays.get(f"complete.{i}"),
                None if shape is None else (shape[0], shape[1]),
                about["name"],
            )
        )
    return examples


def settings_values(settings: TuneSettings) -> dict[str, Any]:
    """Describe settings for :func:`settings_of`."""
    return asdict(settings)


def settings_of(values: dict[str, Any]) -> TuneSettings:
    """Return the settings that were described."""
    return TuneSettings(**values | {"sources": tuple(values["sources"])})


def pack_step(kind: str, call: int, step: TuneStep) -> Message:
    """Return a message with a step, and its model."""
    scores = {name: asdict(score) for name, score in step.scores.items()}
    values = {
        "phase": step.phase,
        "fraction": step.fraction,
        "seconds_left": step.seconds_left,
        "scores": scores,
        "offered": step.offered,
    }
    arrays: Arrays = {}
    if step.model is not None:
        arrays[_MODEL] = np.frombuffer(step.model.to_bytes(), np.uint8)
    return Message(kind, call, values, arrays)


def unpack_step(message: Message) -> TuneStep:
    """Return the step of a message."""
    values, data = message.values, message.arrays.get(_MODEL)
    return TuneStep(
        values["phase"],
        values["fraction"],
        values["seconds_left"],
        {name: HeldBack(**score) for name, score in values["scores"].items()},
        values["offered"],
        None if data is None else TaughtModel.from_bytes(data.tobytes()),
    )
