"""Prompts, frames, features and errors in messages: one end packs what the other unpacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.geometry import Frame
from napari_sam.model.download import DownloadError
from napari_sam.model.weights import CheckpointError
from napari_sam.patches import Patch
from napari_sam.prompts import Prompts
from napari_sam.segmentation.concepts import Concept, Instance
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.segmentation.protocol import Cancelled, MaskPrediction, Progress, Segmenter

_REPORT_SECONDS = 0.05  # between two reports

# Errors that a call may raise at the other end; any other arrives as a RuntimeError.
_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        Cancelled,
        CheckpointError,
        DownloadError,
        FileNotFoundError,
        MemoryError,
        OSError,
        TypeError,
        ValueError,
    )
}


def report_of(
    call: int, send: Callable[[Message], None], is_cancelled: Callable[[], bool]
) -> Progress:
    """Return a callback that sends a call's progress at intervals, until the call is cancelled.

    Parameters
    ----------
    call
        Number of the call.
    send
        Sends a message.
    is_cancelled
        Returns whether the call was cancelled; it may pause the call for others.
    """
    sent = 0.0

    def report(fraction: float) -> None:
        nonlocal sent
        if is_cancelled():
            raise Cancelled("cancelled")
        now = time.monotonic()
        if now - sent > _REPORT_SECONDS:
            sent = now
            send(Message("progress", call, {"fraction": fraction}))

    return report


def error_values(error: BaseException) -> dict[str, Any]:
    """Describe an error for :func:`error_of`."""
    return {"error": type(error).__name__, "text": str(error)}


def error_of(values: dict[str, Any]) -> Exception:
    """Return the error that was described."""
    kind, text = _ERRORS.get(values["error"]), values["text"]
    return RuntimeError(f"{values['error']}: {text}") if kind is None else kind(text)


def sound(answer: Message) -> Message:
    """Raise what a call raised at the other end, if it did; return its answer otherwise."""
    if answer.kind == "error":
        raise error_of(answer.values)
    return answer


def frame_values(frame: Frame) -> list[Any]:
    """Describe a frame for :func:`frame_of`."""
    return list(astuple(frame))


def frame_of(values: Sequence[Any]) -> Frame:
    """Return the frame that was described."""
    plane_shape, origin, shape, scaled, canvas = (tuple(pair) for pair in values[:-1])
    return Frame(plane_shape, origin, shape, scaled, canvas, values[-1])


def pack_features(features: Sequence[Tensor]) -> Arrays:
    """Name features `(1, C, h, w)` of any number format, for :func:`unpack_features`."""
    arrays: Arrays = {}
    for i, level in enumerate(features):
        level = level.detach().cpu()
        short = level.dtype == torch.bfloat16  # which numpy doesn't have
        plain = level.contiguous().view(torch.int16) if short else level
        arrays[f"{'bfloat16' if short else 'features'}.{i}"] = plain.numpy()
    return arrays


def unpack_features(arrays: Arrays) -> tuple[Tensor, ...]:
    """Return the features among some arrays, in order."""
    levels: dict[int, Tensor] = {}
    for name, array in arrays.items():
        kind, _, place = name.partition(".")
        if kind in ("features", "bfloat16"):
            level = torch.from_numpy(array)
            levels[int(place)] = level.view(torch.bfloat16) if kind == "bfloat16" else level
    return tuple(levels[i] for i in range(len(levels)))


def pack_prompts(prompts: Sequence[Prompts]) -> tuple[list[dict[str, Any]], Arrays]:
    """Describe the prompts of several objects for :func:`unpack_prompts`."""
    values: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for i, one in enumerate(prompts):
        about: dict[str, Any] = {}
        if len(one.points):
            arrays[f"points.{i}"], arrays[f"labels.{i}"] = one.points, one.point_labels
        if one.box is not None:
            about["box"] = one.box
        if isinstance(one.mask, Patch):
            about["origin"] = one.mask.origin
            arrays[f"mask.{i}"] = one.mask.pixels
        elif one.mask is not None:
            arrays[f"mask.{i}"] = one.mask
        if one.mask_frame is not None:
            about["frame"] = frame_values(one.mask_frame)
        values.append(about)
    return values, arrays


def unpack_prompts(values: Sequence[dict[str, Any]], arrays: Arrays) -> list[Prompts]:
    """Return the prompts that were described."""
    prompts = []
    for i, about in enumerate(values):
        mask: NDArray[Any] | Patch | None = arrays.get(f"mask.{i}")
        if isinstance(mask, np.ndarray) and "origin" in about:
            row, column = about["origin"]
            mask = Patch((row, column), mask)
        frame = frame_of(about["frame"]) if "frame" in about else None
        points, labels = arrays.get(f"points.{i}", ()), arrays.get(f"labels.{i}", ())
        prompts.append(Prompts(points, labels, about.get("box"), mask, frame))
    return prompts


def pack_predictions(found: Sequence[MaskPrediction], cut: bool) -> tuple[dict[str, Any], Arrays]:
    """Describe what was predicted for :func:`unpack_predictions`.

    Parameters
    ----------
    found
        Of one embedding.
    cut
        Whether the masks of a single object come along, cut out at the plane's resolution.
    """
    arrays: Arrays = {}
    origins = []
    for i, one in enumerate(found):
        arrays[f"logits.{i}"], arrays[f"scores.{i}"] = one.logits, one.scores
    if cut and len(found) == 1:
        for i in range(len(found[0].scores)):
            patch = found[0].patch(i)
            origins.append(patch.origin)
            arrays[f"patch.{i}"] = patch.pixels
    return {"origins": origins}, arrays


def unpack_predictions(
    values: dict[str, Any], arrays: Arrays, frame: Frame, count: int
) -> list[MaskPrediction]:
    """Return so many predictions that were described, of an embedding's frame."""
    patches = tuple(
        Patch((row, column), arrays[f"patch.{i}"])
        for i, (row, column) in enumerate(values["origins"])
    )
    return [
        MaskPrediction(arrays[f"logits.{i}"], arrays[f"scores.{i}"], frame, patches=patches)
        for i in range(count)
    ]


def pack_concept(concept: Concept) -> dict[str, Any]:
    """Return a concept as values, for :func:`unpack_concept`."""
    return asdict(concept)


def unpack_concept(values: dict[str, Any]) -> Concept:
    """Return what was described."""
    return Concept(values["text"], values["boxes"], values["negative_boxes"])


def pack_instances(found: Sequence[Instance]) -> tuple[dict[str, Any], Arrays]:
    """Describe what was found for :func:`unpack_instances`."""
    values = [[one.patch.origin, one.box, one.score, one.stability, one.seen] for one in found]
    return {"found": values}, {f"patch.{i}": one.patch.pixels for i, one in enumerate(found)}


def unpack_instances(values: dict[str, Any], arrays: Arrays) -> list[Instance]:
    """Return what was described."""
    found = []
    for i, ((row, column), box, score, stability, seen) in enumerate(values["found"]):
        patch = Patch((row, column), arrays[f"patch.{i}"])
        found.append(Instance(patch, tuple(box), score, stability, tuple(seen)))
    return found


def model_values(segmenter: Segmenter) -> dict[str, Any]:
    """Say what a model is, to the end that calls it."""
    return {
        "traits": segmenter.traits.to_json(),
        "encoder_key": segmenter.encoder_key,
        "model_key": segmenter.model_key,
    }
