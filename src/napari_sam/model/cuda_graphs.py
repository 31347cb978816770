"""Functions of tensors that a GPU replays as recorded graphs, without the CPU launching each step.

A network of many small steps otherwise takes as long as the CPU needs to launch them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]
_Shape = tuple[torch.Size, torch.dtype]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recorded run: fill `inputs`, call `replay`, read `outputs`."""

    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    replay: Callable[[], None]


class Recorder(Protocol):
    """Makes a recording of a function's work on inputs like those given."""

    def __call__(self, function: Function, given: tuple[Tensor | None, ...]) -> Recording:
        """Record."""
        ...


# torch captures on one stream of the process at a time, and waits for the device before.
_CAPTURING = Lock()


class Replays:
    """Functions recorded once for each shape of their inputs, and replayed from then on.

    Safe to use from several threads, which take turns.

    Parameters
    ----------
    recorder
        For the device in question, such as :class:`CudaRecorder`.
    most
        Recordings kept; of more, the one unused for the longest time is dropped.
    """

    def __init__(self, recorder: Recorder, most: int = 16) -> None:
        self._record = recorder
        self._most = most
        self._recordings: OrderedDict[object, Recording] = OrderedDict()
        self._lock = Lock()

    def run(self, function: Function, *given: Tensor | None) -> tuple[Tensor, ...]:
        """Return what a function returns, as tensors of the caller's own.

        Parameters
        ----------
        function
            Takes tensors or ``None``, returns a tuple of tensors. It does the same work for the
            same shapes, and makes no tensor from numbers of the CPU.
        given
            What to call it with.
        """
        shapes: list[_Shape | None] = [None if x is None else (x.shape, x.dtype) for x in given]
        key = (function, *shapes)
        with self._lock:
            recording = self._recordings.get(key)
            if recording is None:
                recording = self._recordings[key] = self._record(function, given)
                while len(self._recordings) > self._most:
                    self._recordings.popitem(last=False)
            self._recordings.move_to_end(key)
            for own, new in zip(recording.inputs, given, strict=True):
                if own is not None and new is not None:
                    own.copy_(new)
            recording.replay()
            # the next replay overwrites the recording's own
            return tuple(out.clone() for out in recording.outputs)

    def close(self) -> None:
        """Wait for the replay under way, then drop all recordings: their memory goes elsewhere."""
        with self._lock:
            self._recordings.clear()


class CudaRecorder:
    """Records CUDA graphs on a device, all in one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, given: tuple[Tensor | None, ...]) -> Recording:
        """Record a graph, after some runs in which libraries choose and prepare their kernels."""
        # streams and graphs belong to the current device, which need not be this one
        with _CAPTURING, torch.cuda.device(self._device):
            inputs = tuple(None if x is None else x.clone() for x in given)
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):
                    function(*inputs)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # other threads may go on using the device meanwhile
            with torch.cuda.graph(
                graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
            ):
                outputs = function(*inputs)

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return Recording(inputs, outputs, replay)
