"""Memories of a network that is elsewhere: kept at both ends, sent where the other has lost one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch

from napari_sam.geometry import Frame
from napari_sam.patches import Patch
from napari_sam.segmentation.memory import (
    Memory,
    Past,
    PlaneMemory,
    Recalled,
    check_masks,
    check_pasts,
    check_whole,
    memory_of,
)
from napari_sam.segmentation.messages import pack_predictions, unpack_predictions
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.segmentation.protocol import Embedding, PixelSegmenter, Progress, part_of

FORGOTTEN = "unknown memory"
"""Kind of the answer to a call whose memories have to be sent again."""

# Objects of a call: a memory is half a megabyte, and there may be 14 of each.
_AT_ONCE = 8

Name = int | str
"""Of a memory, at both ends."""


class _Asker(Protocol):
    """What of a segmenter whose network is elsewhere its memory needs."""

    model_key: str

    def ask_about(
        self,
        embedding: Embedding,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays,
        progress: Progress | None = None,
    ) -> Message:
        """Ask something of an embedding."""
        ...

    def new_name(self) -> Name:
        """Return a name that nothing has."""
        ...

    def forget(self, name: Name) -> None:
        """Notify the other end, at some time, that a name isn't needed any more."""
        ...


class AskedMemory:
    """Has memories made and used elsewhere; see :class:`PlaneMemory`.

    Parameters
    ----------
    asker
        The segmenter.
    """

    def __init__(self, asker: _Asker) -> None:
        self._asker = asker
        self._names: WeakKeyDictionary[Memory, Name] = WeakKeyDictionary()

    def remember(
        self, embedding: Embedding, masks: Sequence[Patch], progress: Progress | None = None
    ) -> list[Memory]:
        """Have given masks remembered; see :meth:`PlaneMemory.remember`."""
        check_whole(embedding)
        check_masks(masks)
        found: list[Memory] = []
        for some, report in self._parts(masks, progress):
            arrays = {f"mask.{i}": mask.pixels for i, mask in enumerate(some)}
            origins = [mask.origin for mask in some]
            names = [self._asker.new_name() for _ in some]
            values = {"origins": origins, "names": names}
            answer = self._asker.ask_about(embedding, "remember", values, arrays, report)
            found += self._learned(answer, names, embedding.frame, True)
        return found

    def recall(
        self,
        embedding: Embedding,
        pasts: Sequence[Sequence[Past]],
        count: int,
        progress: Progress | None = None,
    ) -> list[Recalled]:
        """Have objects found from memories; see :meth:`PlaneMemory.recall`."""
        check_whole(embedding)
        check_pasts(pasts, embedding, self._asker.model_key)
        found: list[Recalled] = []
        for some, report in self._parts(pasts, progress):
            found += self._recall(embedding, some, count, report)
        return found

    def _recall(
        self,
        embedding: Embedding,
        pasts: Sequence[Sequence[Past]],
        count: int,
        progress: Progress | None,
    ) -> list[Recalled]:
        used = {self._name_of(one.memory): one.memory for past in pasts for one in past}
        names = [self._asker.new_name() for _ in pasts]
        about: dict[str, Any] = {
            "pasts": [[[self._name_of(one.memory), one.distance] for one in p] for p in pasts],
            "count": count,
            "names": names,
            "sent": [],
        }
        answer = self._asker.ask_about(embedding, "recall", about, {}, progress)
        if answer.kind == FORGOTTEN:  # all of them, lest others go meanwhile
            facts, arrays = pack_memories(list(used.values()))
            about["sent"] = [[name, *one] for name, one in zip(used, facts, strict=True)]
            answer = self._asker.ask_about(embedding, "recall", about, arrays, progress)
        predictions = unpack_predictions(answer.values, answer.arrays, embedding.frame, len(pasts))
        memories = self._learned(answer, names, embedding.frame, False)
        presences = answer.arrays["presences"].tolist()
        return [Recalled(*one) for one in zip(predictions, presences, memories, strict=True)]

    def _learned(
        self, answer: Message, names: Sequence[Name], frame: Frame, is_given: bool
    ) -> list[Memory]:
        facts = [[True, is_given]] * len(names)
        found = unpack_memories(facts, answer.arrays, frame, self._asker.model_key)
        for memory, name in zip(found, names, strict=True):
            self._name(memory, name)
        return found

    def _name_of(self, memory: Memory) -> Name:
        name = self._names.get(memory)
        if name is None:
            name = self._asker.new_name()
            self._name(memory, name)
        return name

    def _name(self, memory: Memory, name: Name) -> None:
        self._names[memory] = name
        weakref.finalize(memory, self._asker.forget, name).atexit = False

    def _parts(
        self, objects: Sequence[Any], progress: Progress | None
    ) -> Iterator[tuple[Sequence[Any], Progress | None]]:
        total = len(objects)
        for start in range(0, total, _AT_ONCE):
            stop = min(start + _AT_ONCE, total)
            yield objects[start:stop], part_of(progress, start / total, stop / total)


def pack_memories(memories: Sequence[Memory]) -> tuple[list[list[bool]], Arrays]:
    """Describe memories for :func:`unpack_memories`."""
    arrays: Arrays = {}
    for i, one in enumerate(memories):
        arrays[f"pointer.{i}"] = one.pointer.numpy()
        if one.features is not None:  # numpy has no bfloat16
            arrays[f"memory.{i}"] = one.features.contiguous().view(torch.int16).numpy()
    return [[one.features is not None, one.is_given] for one in memories], arrays


def unpack_memories(
    facts: Sequence[Sequence[bool]], arrays: Arrays, frame: Frame, model_key: str
) -> list[Memory]:
    """Return the memories that were described."""
    found = []
    for i, (has_features, is_given) in enumerate(facts):
        features = None
        if has_features:
            features = torch.from_numpy(arrays[f"memory.{i}"]).view(torch.bfloat16)
        pointer = torch.from_numpy(arrays[f"pointer.{i}"])
        found.append(Memory(features, pointer, is_given, frame, model_key))
    return found


def answer_remember(
    segmenter: PixelSegmenter, embedding: Embedding, message: Message, progress: Progress
) -> tuple[Arrays, dict[Name, Memory]]:
    """Answer a call of :meth:`AskedMemory.remember`, at the other end.

    Returns
    -------
    arrays, memories
        What goes back, and what is kept by name.
    """
    origins = message.values["origins"]
    masks = [
        Patch((int(r), int(c)), message.arrays[f"mask.{i}"]) for i, (r, c) in enumerate(origins)
    ]
    found = _memory_of(segmenter).remember(embedding, masks, progress)
    _, arrays = pack_memories(found)
    return arrays, dict(zip(message.values["names"], found, strict=True))


def answer_recall(
    segmenter: PixelSegmenter,
    embedding: Embedding,
    message: Message,
    kept: Callable[[Name], Memory | None],
    progress: Progress,
) -> tuple[Message, dict[Name, Memory]]:
    """Answer a call of :meth:`AskedMemory.recall`, at the other end.

    Parameters
    ----------
    segmenter, embedding, message, progress
        The model, the plane's embedding, the call, and a callback for the finished fraction.
    kept
        Returns a memory by its name; None where it isn't here any more.

    Returns
    -------
    answer, memories
        What goes back, of the kind :data:`FORGOTTEN` where something has to be sent, and what is
        kept by name.
    """
    values = message.values
    sent = values["sent"]
    came = unpack_memories(
        [one[1:] for one in sent], message.arrays, embedding.frame, segmenter.model_key
    )
    here: dict[Name, Memory] = dict(zip((one[0] for one in sent), came, strict=True))
    wanted = dict.fromkeys(name for past in values["pasts"] for name, _ in past)
    for name in wanted:
        if name not in here and (found := kept(name)) is not None:
            here[name] = found
    if not here.keys() >= wanted.keys():
        return Message(FORGOTTEN, message.call), here
    pasts = [[Past(here[name], int(away)) for name, away in past] for past in values["pasts"]]
    found_again = _memory_of(segmenter).recall(embedding, pasts, int(values["count"]), progress)
    about, arrays = pack_predictions([one.prediction for one in found_again], cut=False)
    memories = [one.memory for one in found_again]
    arrays |= pack_memories(memories)[1]
    arrays["presences"] = np.array([one.presence for one in found_again])
    here |= dict(zip(values["names"], memories, strict=True))
    return Message("result", message.call, about, arrays), here


def _memory_of(segmenter: PixelSegmenter) -> PlaneMemory:
    memory = memory_of(segmenter)
    if memory is None:
        raise ValueError(
            f"expected a model that remembers objects, got {segmenter.traits.name}, which doesn't"
        )
    return memory
