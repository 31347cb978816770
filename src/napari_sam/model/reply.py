"""A server's reply, read on a thread of its own, so that waiting for it can be cancelled."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import requests

# A connection that brings less than this in so long is given up.
LEAST_BYTES = 2**10
STALL_S = 60.0

_BLOCK = 2**16  # bytes; what a broken connection loses at most
_QUEUED = 16  # blocks that may wait to be written
_TIMEOUTS_S = (10, STALL_S)  # to connect, and between two bytes
_HEARD_S = 0.2


class Stalled(TimeoutError):
    """A server keeps the connection open and sends nothing, or hardly anything."""


class Reply:
    """Ask for an address; the reply's status and headers, then its blocks as they come.

    Resolving the host's name, connecting and reading can each block for any time, and can't be
    interrupted. So they run on a thread, which is abandoned when the caller stops waiting.

    Parameters
    ----------
    url, headers
        What to ask for.
    waiting
        Called several times a second while nothing comes; may raise to leave.

    Raises
    ------
    requests.RequestException
        If the server can't be reached or the connection breaks.
    Stalled
        If less than :data:`LEAST_BYTES` come in :data:`STALL_S` seconds.
    """

    def __init__(self, url: str, headers: Mapping[str, str], waiting: Callable[[], None]) -> None:
        self._asked = url, dict(headers)
        self._waiting = waiting
        self._inbox: queue.Queue[requests.Response | bytes | Exception | None] = queue.Queue(
            _QUEUED
        )
        self._left = Event()
        self._response: requests.Response | None = None
        Thread(target=self._read, name="napari-sam download", daemon=True).start()

    def __enter__(self) -> Self:
        try:
            next(self._items())
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    @property
    def status(self) -> int:
        """The number that HTTP has for how it went."""
        return self._head.status_code

    @property
    def reason(self) -> str:
        """The text that the server sends with that number."""
        return self._head.reason

    @property
    def headers(self) -> Mapping[str, str]:
        """The reply's headers."""
        return self._head.headers

    def blocks(self) -> Iterator[bytes]:
        """Yield the body piece by piece."""
        for item in self._items():
            if isinstance(item, bytes):
                yield item

    @property
    def _head(self) -> requests.Response:
        assert self._response is not None
        return self._response

    def _items(self) -> Iterator[requests.Response | bytes]:
        since, little = time.monotonic(), 0
        while True:
            if time.monotonic() - since > STALL_S:
                raise Stalled(f"less than {LEAST_BYTES} bytes came in {STALL_S:.0f} s")
            try:
                item = self._inbox.get(timeout=_HEARD_S)
            except queue.Empty:
                self._waiting()
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            little += len(item) if isinstance(item, bytes) else LEAST_BYTES
            if little >= LEAST_BYTES:
                since, little = time.monotonic(), 0
            yield item

    def _leave(self) -> None:
        self._left.set()
        if self._response is not None:
            with suppress(OSError, RuntimeError, ValueError, AttributeError):
                self._response.raw.shutdown()  # ends a read that waits, where urllib3 can

    def _read(self) -> None:
        import requests
        import urllib3

        url, headers = self._asked
        try:
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS_S) as response:
                self._response = response
                self._put(response)
                # one block as soon as there is one: a whole one may take a slow server hours
                while not self._left.is_set():
                    if not (block := response.raw.read1(_BLOCK, decode_content=True)):
                        break
                    self._put(block)
        except urllib3.exceptions.HTTPError as error:
            self._put(requests.ConnectionError(error))
        except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
            self._put(error)
        else:
            self._put(None)

    def _put(self, item: requests.Response | bytes | Exception | None) -> None:
        while not self._left.is_set():
            with suppress(queue.Full):
                self._inbox.put(item, timeout=_HEARD_S)
                return
