"""A server for viewers on other machines, on this one, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from napari_sam.segmentation.protocol import PixelSegmenter
from napari_sam.serving.gate import Gate
from napari_sam.serving.limits import ServerLimits
from napari_sam.serving.listening import make_app, make_server, open_socket
from napari_sam.serving.offers import Offers
from napari_sam.serving.visits import Desk

TOKEN = "a-token-for-tests-that-nobody-has"


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """A server that runs, and what it has."""

    address: str
    port: int
    desk: Desk


@contextmanager
def serving(
    models: Mapping[str, PixelSegmenter],
    limits: ServerLimits | None = None,
    port: int = 0,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Machine]:
    """Serve some models on loopback; with files of a certificate and its key, by TLS."""
    offers = Offers({name: lambda _, one=one: one for name, one in models.items()})
    desk = Desk(offers, limits or ServerLimits())
    with open_socket("127.0.0.1", port) as listening:
        port = listening.getsockname()[1]
        app = make_app(desk, Gate(TOKEN))
        server = make_server(app, desk.limits.message_bytes, *(certificate or ()))
        arguments = {"sockets": [listening]}
        thread = threading.Thread(target=server.run, kwargs=arguments, daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.002)
            scheme = "ws" if certificate is None else "wss"
            yield Machine(f"{scheme}://127.0.0.1:{port}", port, desk)
        finally:
            server.should_exit = True
            thread.join(10)
            desk.close()
