"""Messages through a pipe: JSON and arrays in one safetensors blob, no code."""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

Arrays = dict[str, NDArray[Any]]

_LENGTH = struct.Struct("<Q")
_HEADER = "message"
_READ_BYTES = 2**20
_LONGEST = 2**34  # bytes of a message; a longer one is none of ours


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message from one end to the other.

    Parameters
    ----------
    kind
        A call's name, or the kind of a reply: ``"progress"``, ``"result"``, ``"error"``.
    call
        Number of the call.
    values
        Values that JSON can represent.
    arrays
        Arrays by name.
    """

    kind: str
    call: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


def to_bytes(message: Message) -> bytes:
    """Return a message as bytes, for :func:`from_bytes`."""
    header = json.dumps([message.kind, message.call, message.values])
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    return safetensors.numpy.save(arrays, {_HEADER: header})


def from_bytes(blob: bytes) -> Message:
    """Read a message.

    Raises
    ------
    ValueError
        For bytes that are no message.
    """
    try:
        (size,) = _LENGTH.unpack_from(blob)
        about = json.loads(blob[_LENGTH.size : _LENGTH.size + size])["__metadata__"][_HEADER]
        kind, call, values = json.loads(about)
        if not (isinstance(kind, str) and type(call) is int and isinstance(values, dict)):
            raise TypeError("its header has other values")
        return Message(kind, call, values, safetensors.numpy.load(blob))
    except (
        SafetensorError,
        struct.error,
        ValueError,
        LookupError,
        TypeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise ValueError(f"expected a message, got other bytes ({error})") from error


def pack(message: Message) -> bytes:
    """Return a message as bytes, its length first."""
    blob = to_bytes(message)
    return _LENGTH.pack(len(blob)) + blob


class Reader:
    """Takes messages from a pipe, as few reads as can be: each gives up Python's lock.

    Parameters
    ----------
    descriptor
        Of the pipe.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()

    def next(self) -> Message | None:
        """Wait for the next message; None at the end, also where that is amid a message.

        Raises
        ------
        ValueError
            For bytes that are no message.
        """
        if not self._fill(_LENGTH.size):
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > _LONGEST:
            raise ValueError(f"expected a message, got bytes that would make one of {length} bytes")
        end = _LENGTH.size + length
        if not self._fill(end):
            return None
        blob = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return from_bytes(blob)

    def _fill(self, count: int) -> bool:
        while len(self._buffer) < count:
            received = os.read(self._descriptor, max(_READ_BYTES, count - len(self._buffer)))
            if not received:
                return False
            self._buffer += received
        return True


class Writer:
    """Puts messages into a pipe, from any thread.

    Parameters
    ----------
    descriptor
        Of the pipe.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = Lock()

    def put(self, message: Message) -> None:
        """Write a message.

        Raises
        ------
        OSError
            If nobody reads any more.
        """
        rest = memoryview(pack(message))
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


def standard_streams() -> tuple[Reader, Writer]:
    """Keep this process's standard streams for messages: what is printed goes to the errors.

    Interrupts are ignored from here on: a terminal sends them to every process, and this one ends
    with its input.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())
    printed = os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno()
    os.dup2(printed, sys.stdout.fileno())  # whatever is printed is no answer
    return Reader(source), Writer(target)
