"""What networks on a device of this machine have in common."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.geometry import Frame
from napari_sam.segmentation.complete import CompleteSegmenter
from napari_sam.segmentation.devices import (
    DeviceWarning,
    Precision,
    choose_device,
    choose_precision,
    warn_if_emulated,
)
from napari_sam.segmentation.protocol import Embedding, Progress

_Ready = TypeVar("_Ready")

CHUNK = 32
"""Objects decoded in one pass at most: bounds the memory of `decode_many`."""

# On a CPU as many as have so many cells of the embedding together, whose maps fit its caches, but
# at least four: they share what each operation costs however small it is.
_CPU_CELLS, _CPU_LEAST = 8192, 4
# Embeddings whose features are kept ready for a decoder: they may be a float32 copy each.
MAX_READY = 8


class OnDevice(CompleteSegmenter):
    """A network on a device, which goes on on the CPU when the GPU's memory runs out."""

    _device: torch.device
    _precision: Precision

    def _choose(self, device: str, precision: str, faster_in_half: bool = True) -> None:
        """Decide on a device and a precision; see :class:`SamSegmenter`."""
        self._device = choose_device(device)
        self._precision = choose_precision(precision, self._device, faster_in_half=faster_in_half)
        warn_if_emulated(self.precision, self._device)

    @property
    def device(self) -> str:
        """Device the network is on; becomes ``"cpu"`` after the GPU's memory ran out."""
        return str(self._device)

    @property
    def precision(self) -> Precision:
        """Precision of the image encoder."""
        return self._precision

    def embed_pixels(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame | None = None,
        progress: Progress | None = None,
    ) -> Embedding:
        """Encode normalised grey values.

        Parameters
        ----------
        pixels
            `(h, w, 3)` from :func:`~napari_sam.image.normalise`, of the frame's rectangle.
        frame
            Where the rectangle lies in its plane; by default it is a whole plane.
        progress
            Called with the finished fraction between blocks, or once at the end where a GPU does
            them all at once; it may raise :class:`Cancelled`.
        """
        frame = self._frame_of(pixels, frame)
        full: str | None = None
        try:
            features = self._encode(pixels, frame, progress)
        except torch.OutOfMemoryError as error:
            if self._device.type == "cpu":
                raise
            full = str(error)  # the error itself would keep what the GPU was working on
        if full is not None:
            self._fall_back_to_cpu(full)
            features = self._encode(pixels, frame, progress)
        return Embedding(features, frame, self.encoder_key, self.precision)

    @abstractmethod
    def _encode(
        self, pixels: NDArray[np.uint8], frame: Frame, progress: Progress | None
    ) -> tuple[Tensor, ...]:
        """Return the features of a frame's pixels."""

    def _let_go(self) -> None:
        """End what is bound to the GPU, before anything moves."""

    @abstractmethod
    def _move_to_cpu(self) -> None:
        """Go on on the CPU, in float32, and drop what was derived on the GPU."""

    def _fall_back_to_cpu(self, error: str) -> None:
        warnings.warn(
            f"the memory of {self.device} ran out ({error}); going on with the CPU. Close other "
            "programs that use the GPU, or choose a smaller model",
            DeviceWarning,
            stacklevel=4,
        )
        self._let_go()
        self._device = torch.device("cpu")
        self._precision = "float32"
        self._move_to_cpu()
        torch.cuda.empty_cache()

    def _at_once(self, cells: int) -> int:
        """How many objects to decode in one pass, each in so many cells of the embedding."""
        if self._device.type != "cpu":
            return CHUNK
        return max(_CPU_LEAST, min(CHUNK, _CPU_CELLS // cells))

    def _tensor(self, array: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self._device)


class Latest(Generic[_Ready]):
    """What was worked out of the latest embeddings, while they are used."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Embedding, _Ready] = WeakKeyDictionary()
        self._lock = Lock()

    def __len__(self) -> int:
        """Of how many embeddings something is kept."""
        return len(self._kept)

    def get(self, embedding: Embedding) -> _Ready | None:
        """Return what is kept of an embedding."""
        return self._kept.get(embedding)

    def keep(self, embedding: Embedding, ready: _Ready) -> None:
        """Keep something, and drop the eldest where there is too much."""
        with self._lock:
            self._kept[embedding] = ready
            while len(self._kept) > MAX_READY:
                self._kept.pop(next(iter(self._kept)))

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
