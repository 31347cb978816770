"""A network in a process of its own.

What runs in one Python process shares a lock, and a window that draws holds it for milliseconds at
a time. A network of many small steps asks for that lock hundreds of times a click: beside a busy
window a decode of 20 ms takes a second. In a process of its own it asks for none, and the window
never waits for the network either.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Frame
from napari_sam.prompts import Prompts
from napari_sam.segmentation.asked_memory import FORGOTTEN, AskedMemory, Name
from napari_sam.segmentation.asking import AskingSegmenter
from napari_sam.segmentation.messages import (
    frame_values,
    pack_features,
    pack_prompts,
    sound,
    unpack_features,
    unpack_predictions,
)
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Multimask,
    Progress,
    check_embedding,
)
from napari_sam.segmentation.traits import Traits
from napari_sam.segmentation.worker_process import WorkerProcess, give_back, take_worker

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel


class ProcessSegmenter(AskingSegmenter):
    """A network in a process of its own; see :class:`Segmenter`. Safe to use from several threads.

    Same answers as :class:`~napari_sam.segmentation.network.SamSegmenter`, to the last bit where
    both compute in as many threads. Calls that somebody waits for have half of this process's
    threads there: on a CPU their logits may differ by rounding.

    Parameters
    ----------
    model, device, precision, progress
        As of :func:`~napari_sam.load_segmenter`.

    Raises
    ------
    WorkerLost
        If the process can't be started, or ends while the model is loaded.
    ValueError, OSError
        As :func:`~napari_sam.load_segmenter` raises them.
    """

    def __init__(
        self,
        model: str | Path | TaughtModel,
        device: str = "auto",
        precision: str = "auto",
        progress: Progress | None = None,
    ) -> None:
        # a process that is started again gets the taught weights again: their file may be gone
        self._taught: NDArray[np.uint8] | None = None
        if not isinstance(model, str | Path):
            self._taught = np.frombuffer(model.to_bytes(), np.uint8)
            model = ""
        self._wanted = {"model": str(model), "device": device, "precision": precision}
        self._numbers: WeakKeyDictionary[Embedding, int] = WeakKeyDictionary()
        self._next_number = count(1)
        self._starting = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._sent: set[int] = set()  # embeddings that the process should have
        # a finalizer may run amid a call of the same thread, so it makes none itself
        self._forgotten: deque[Name] = deque()
        self._memory = AskedMemory(weakref.proxy(self))
        self._device = self._precision = ""
        self._start(progress)

    @property
    def taught(self) -> TaughtModel | None:
        """What makes the network another than its parent; None for one that nobody taught."""
        from napari_sam.model.taught import TaughtModel

        return None if self._taught is None else TaughtModel.from_bytes(self._taught.tobytes())

    @property
    def memory(self) -> AskedMemory | None:
        """What has memories made and used in the process; None for a model without."""
        return self._memory if self.traits.remembers else None

    def new_name(self) -> int:
        """Return a number that nothing has in the process."""
        return next(self._next_number)

    @property
    def worker(self) -> WorkerProcess:
        """The process, started anew if it has ended."""
        with self._starting:
            if self._worker is None or self._worker.has_ended:
                self._start(None)
            assert self._worker is not None
            return self._worker

    def embed_pixels(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame | None = None,
        progress: Progress | None = None,
    ) -> Embedding:
        """Encode normalised grey values; see :meth:`PixelSegmenter.embed_pixels`."""
        frame = self._frame_of(pixels, frame)
        number = next(self._next_number)
        values = {"embedding": number, "frame": frame_values(frame)}
        answer = self._call("encode", values, {"pixels": pixels}, progress)
        features = unpack_features(answer.arrays)
        precision = answer.values["precision_of"]
        embedding = Embedding(features, frame, self.encoder_key, precision)
        self._remember(embedding, number)
        self._sent.add(number)
        if progress is not None:
            progress(1.0)
        return embedding

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane; see :meth:`Segmenter.decode_many`."""
        values, arrays = pack_prompts(prompts)
        about = {"prompts": values, "multimask": multimask, "window": window}
        answer = self._call_about(embedding, "decode", about, arrays)
        return unpack_predictions(answer.values, answer.arrays, embedding.frame, len(prompts))

    def close(self) -> None:
        """End the process; a later call starts another."""
        if self._worker is not None:
            self._worker.close()

    def _start(self, progress: Progress | None) -> None:
        worker = take_worker()
        torch = sys.modules.get("torch")
        threads = None if torch is None else torch.get_num_threads()
        about = self._wanted | {"threads": threads}
        try:
            arrays = {} if self._taught is None else {"taught": self._taught}
            answer = sound(worker.call("load", about, arrays, progress))
        except BaseException:
            give_back(worker)
            raise
        self._worker, self._sent = worker, set()
        weakref.finalize(self, worker.close)
        self.traits = Traits.from_json(answer.values["traits"])
        self.encoder_key = answer.values["encoder_key"]
        self.model_key = answer.values["model_key"]
        self._taught = answer.arrays.get("taught")
        self._learn(answer)

    def _call(
        self,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays,
        progress: Progress | None = None,
    ) -> Message:
        forgotten = []
        while self._forgotten:
            forgotten.append(self._forgotten.popleft())
        self._sent.difference_update(forgotten)
        worker = self.worker
        values = values | {"forgotten": forgotten}
        answer = sound(worker.call(kind, values, arrays, progress))
        self._learn(answer)
        return answer

    def _call_about(
        self,
        embedding: Embedding,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays,
        progress: Progress | None = None,
    ) -> Message:
        """Call with an embedding, which is sent where the process doesn't have it."""
        check_embedding(embedding, self)
        worker, number = self.worker, self._number_of(embedding)
        values = values | {"embedding": number}
        answer = None
        if number in self._sent:
            answer = self._call(kind, values, arrays, progress)
        if answer is None or answer.kind not in ("result", FORGOTTEN):
            about = {
                "frame": frame_values(embedding.frame),
                "encoder_key": embedding.encoder_key,
                "precision_of": embedding.precision,
            }
            features = pack_features(embedding.features)
            answer = self._call(kind, values | about, arrays | features, progress)
            if worker is self._worker:
                self._sent.add(number)
        return answer

    def forget(self, name: Name) -> None:
        """Notify the process, with the next call, that a number isn't needed any more."""
        self._forgotten.append(name)

    def _number_of(self, embedding: Embedding) -> int:
        number = self._numbers.get(embedding)
        if number is None:
            number = next(self._next_number)
            self._remember(embedding, number)
        return number

    def _remember(self, embedding: Embedding, number: int) -> None:
        self._numbers[embedding] = number
        weakref.finalize(embedding, self._forgotten.append, number).atexit = False
