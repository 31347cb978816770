"""A network in a process of its own: the end that computes.

    python -m napari_sam.segmentation.worker

It reads calls from its standard input, answers on its standard output, and ends with the input.
Calls that a caller's low priority makes gentle have threads of a low priority, and leave the
processor to the others.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from napari_sam.model.taught import TaughtModel
from napari_sam.segmentation.asked_memory import Name, answer_recall, answer_remember
from napari_sam.segmentation.complete import CompleteSegmenter
from napari_sam.segmentation.gentle import be_gentle
from napari_sam.segmentation.instance_maps import instance_maps
from napari_sam.segmentation.memory import Memory
from napari_sam.segmentation.messages import (
    error_values,
    frame_of,
    model_values,
    pack_features,
    pack_instances,
    pack_predictions,
    report_of,
    unpack_concept,
    unpack_features,
    unpack_prompts,
)
from napari_sam.segmentation.networks import load_network
from napari_sam.segmentation.pipe import Arrays, Message, Reader, Writer, standard_streams
from napari_sam.segmentation.protocol import Embedding, Progress, concept_segmenter, taught_of

_THREADS = 8  # of each kind
_KEPT_BYTES = 2**29  # of features and memories
_LONGEST_PAUSE = 0.1  # seconds that a gentle call leaves the processor to others, at each report

UNKNOWN = "unknown embedding"
"""Kind of the answer to a call whose embedding has to be sent again."""


class Server:
    """Answers calls.

    Parameters
    ----------
    source, target
        Where calls come from, and answers go.
    """

    def __init__(self, source: Reader, target: Writer) -> None:
        self._source, self._target = source, target
        self._segmenter: CompleteSegmenter | None = None
        self._threads: int | None = None
        self._kept: OrderedDict[Name, Embedding | Memory] = OrderedDict()
        self._kept_bytes = 0
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()
        self._here = threading.local()
        self._quick = threading.Condition()
        self._quick_calls = 0
        self._answers: dict[str, Callable[[Message], Message]] = {
            "load": self._load,
            "encode": self._encode,
            "decode": self._decode,
            "propose": self._propose,
            "find_concept": self._find_concept,
            "remember": self._remember,
            "recall": self._recall,
            "instance_maps": self._instance_maps,
        }

    def serve(self) -> None:
        """Answer calls until no more come."""
        quick = ThreadPoolExecutor(_THREADS)
        gentle = ThreadPoolExecutor(_THREADS, initializer=be_gentle)
        while (message := self._source.next()) is not None:
            for number in message.values.pop("forgotten", ()):
                self._forget(number)
            if message.kind == "cancel":
                self._cancelled.add(message.call)
            elif message.values.get("gentle"):
                gentle.submit(self._answer, message)
            else:
                with self._quick:
                    self._quick_calls += 1
                quick.submit(self._answer, message)

    def _answer(self, message: Message) -> None:
        is_gentle = message.values.get("gentle")
        self._here.call = message.call
        if self._threads is not None:
            # a window draws while somebody waits, and many small steps wait for each thread
            torch.set_num_threads(self._threads if is_gentle else max(1, self._threads // 2))
        try:
            answer = self._answers[message.kind](message)
        except Exception as error:  # noqa: BLE001 - it travels to the caller
            answer = Message("error", message.call, error_values(error))
        if not is_gentle:
            with self._quick:
                self._quick_calls -= 1
                self._quick.notify_all()
        self._cancelled.discard(message.call)
        if self._segmenter is not None:
            answer.values["device"] = self._segmenter.device
            answer.values["precision"] = self._segmenter.precision
        self._send(answer)

    def warn(self, message: Warning | str, category: type[Warning], *about: Any) -> None:
        """Send a warning to the caller; called like :func:`warnings.showwarning`."""
        call = getattr(self._here, "call", 0)
        values = {"category": category.__name__, "text": str(message)}
        self._send(Message("warning", call, values))

    def _send(self, message: Message) -> None:
        self._target.put(message)

    def _report_of(self, message: Message) -> Progress:
        def is_cancelled() -> bool:
            if message.values.get("gentle"):
                with self._quick:
                    self._quick.wait_for(lambda: not self._quick_calls, _LONGEST_PAUSE)
            return message.call in self._cancelled

        return report_of(message.call, self._send, is_cancelled)

    def _load(self, message: Message) -> Message:
        values = message.values
        self._threads = values["threads"] or torch.get_num_threads()
        torch.set_num_threads(self._threads)
        device, precision = values["device"], values["precision"]
        model, weights = values["model"], message.arrays.get("taught")
        if weights is not None:
            model = TaughtModel.from_bytes(weights.tobytes())
        segmenter = load_network(model, device, precision, self._report_of(message))
        self._segmenter = segmenter
        arrays: Arrays = {}
        if (taught := taught_of(segmenter)) is not None:
            arrays["taught"] = np.frombuffer(taught.to_bytes(), np.uint8)
        return Message("result", message.call, model_values(segmenter), arrays)

    def _encode(self, message: Message) -> Message:
        pixels, frame = message.arrays["pixels"], frame_of(message.values["frame"])
        embedding = self._loaded.embed_pixels(pixels, frame, self._report_of(message))
        self._keep(message.values["embedding"], embedding)
        values = {"precision_of": embedding.precision}
        return Message("result", message.call, values, pack_features(embedding.features))

    def _decode(self, message: Message) -> Message:
        embedding, values = self._embedding_of(message), message.values
        if embedding is None:
            return Message(UNKNOWN, message.call)
        prompts = unpack_prompts(values["prompts"], message.arrays)
        found = self._loaded.decode_many(embedding, prompts, values["multimask"], values["window"])
        about, arrays = pack_predictions(found, cut=True)  # somebody waits to see the only one
        return Message("result", message.call, about, arrays)

    def _propose(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        report = self._report_of(message)
        found = self._loaded.propose(embedding, message.values["quick"], report)
        arrays: Arrays = {} if found is None else {"boxes": found.boxes, "scores": found.scores}
        return Message("result", message.call, {}, arrays)

    def _find_concept(self, message: Message) -> Message:
        embedding, values = self._embedding_of(message), message.values
        if embedding is None:
            return Message(UNKNOWN, message.call)
        concept, report = unpack_concept(values["concept"]), self._report_of(message)
        found = concept_segmenter(self._loaded).find_concept(
            embedding, concept, values["least_score"], report
        )
        return Message("result", message.call, *pack_instances(found))

    def _remember(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        report = self._report_of(message)
        arrays, memories = answer_remember(self._loaded, embedding, message, report)
        for name, one in memories.items():
            self._keep(name, one)
        return Message("result", message.call, {}, arrays)

    def _recall(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        report = self._report_of(message)
        answer, memories = answer_recall(
            self._loaded, embedding, message, self._memory_named, report
        )
        for name, one in memories.items():
            self._keep(name, one)
        return answer

    def _memory_named(self, name: Name) -> Memory | None:
        found = self._kept_under(name)
        return found if isinstance(found, Memory) else None

    def _instance_maps(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        maps = instance_maps(self._loaded, embedding, self._report_of(message))
        return Message("result", message.call, {}, {"maps": maps})

    @property
    def _loaded(self) -> CompleteSegmenter:
        if self._segmenter is None:
            raise RuntimeError("expected a call of 'load' first, got another")
        return self._segmenter

    def _embedding_of(self, message: Message) -> Embedding | None:
        """Return the embedding that a call is about, which may come with it."""
        values, features = message.values, unpack_features(message.arrays)
        key = values["embedding"]
        if not features:
            found = self._kept_under(key)
            return found if isinstance(found, Embedding) else None
        frame, about = frame_of(values["frame"]), (values["encoder_key"], values["precision_of"])
        embedding = Embedding(features, frame, *about)
        self._keep(key, embedding)
        return embedding

    def _kept_under(self, key: Name) -> Embedding | Memory | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Name, one: Embedding | Memory) -> None:
        with self._lock:
            if (before := self._kept.pop(key, None)) is not None:
                self._kept_bytes -= before.nbytes
            self._kept[key] = one
            self._kept_bytes += one.nbytes
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes

    def _forget(self, key: Name) -> None:
        with self._lock:
            embedding = self._kept.pop(key, None)
            if embedding is not None:
                self._kept_bytes -= embedding.nbytes


def main() -> None:
    """Answer calls on the standard streams."""
    server = Server(*standard_streams())
    warnings.showwarning = server.warn  # type: ignore[assignment]
    with suppress(BrokenPipeError):
        server.serve()
    os._exit(0)  # nobody waits for what is still being computed


if __name__ == "__main__":
    main()
