"""A small HTTP server on this machine that can misbehave as real ones do."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class FileServer(ThreadingHTTPServer):
    """Serve one content under every path.

    Parameters
    ----------
    content
        The bytes to serve.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.status = 0  # answer this instead, unless 0
        self.ranges = True  # honour Range
        self.lengths = True  # send Content-Length
        self.break_after: list[int] = []  # close connection i after so many bytes of the body
        self.asked: list[str | None] = []  # the Range of each request
        self.announced = 0  # send this Content-Length instead, unless 0
        self.endless = False  # send the content again and again
        self.silent = False  # accept a connection and say nothing
        self.drips = False  # send two bytes of the body every half second
        self.sent = 0  # bytes of all bodies
        self.ended = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.pt"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        number = len(server.asked)
        server.asked.append(asked)
        self.close_connection = True
        if server.silent:
            server.ended.wait()
            return
        if server.status:
            self.send_error(server.status)
            return
        start, total = 0, len(server.content)
        if asked and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        body = server.content[start:]
        if server.lengths:
            self.send_header("Content-Length", str(server.announced or len(body)))
        self.end_headers()
        if number < len(server.break_after):
            body = body[: server.break_after[number]]
        with suppress(OSError):  # the other side has left
            self._send(body)

    def _send(self, body: bytes) -> None:
        server, size = self.server, 2 if self.server.drips else 2**16
        while not server.ended.is_set():
            for start in range(0, len(body), size):
                server.sent += self.wfile.write(body[start : start + size])
                if server.drips and server.ended.wait(0.5):
                    return
            if not server.endless:
                return

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Run a server until the block ends."""
    with FileServer(content) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def unused_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
