"""A server's socket: WebSocket by FastAPI and uvicorn."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse

from napari_sam.segmentation.pipe import Message, from_bytes, to_bytes
from napari_sam.serving.gate import Gate, Refusal
from napari_sam.serving.visits import Desk, Visit

_log = logging.getLogger(__name__)

_BAD_DATA = 1007  # why a connection is closed, as a number of WebSocket
_SIGN_OF_LIFE = 20.0  # seconds between two, and how long one may take
_BUSY_SECONDS = 0.005  # between two checks whether an answer has been sent
_GOODBYE_SECONDS = 2
_AFTER_REFUSAL = 0.05  # seconds


def make_app(desk: Desk, gate: Gate) -> FastAPI:
    """Return the application of a server.

    Parameters
    ----------
    desk
        What answers.
    gate
        Who may connect.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.websocket("/")
    async def visit(web: WebSocket) -> None:
        refusal = gate.refusal(web.headers)
        if refusal is not None:
            await _refuse(web, refusal)
            return
        if desk.users.here >= desk.limits.users:
            await _refuse(web, Refusal(503, f"{desk.limits.users} are served"))
            return
        await web.accept()
        await _serve(web, desk)

    return app


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens; of port 0 the system chooses the number."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=64)


def make_server(
    app: FastAPI, limit_bytes: int, cert: Path | None = None, key: Path | None = None
) -> uvicorn.Server:
    """Return a server that is ready to run.

    Parameters
    ----------
    app
        From :func:`make_app`.
    limit_bytes
        Of a message.
    cert, key
        Files of the certificate and its key; without, nothing is encrypted.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws_max_size=limit_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=_SIGN_OF_LIFE,
        ws_ping_timeout=_SIGN_OF_LIFE,
        ssl_certfile=None if cert is None else str(cert),
        ssl_keyfile=None if key is None else str(key),
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
    )
    config.load()
    if config.ssl is not None:
        # A client reads and writes in two threads: a ticket, which comes unasked after the
        # handshake, makes both change one TLS state at once, and some connections never answer.
        config.ssl.num_tickets = 0
    return uvicorn.Server(config)


def check_certificate(cert: Path, key: Path) -> None:
    """Refuse files that a server can't encrypt with.

    Raises
    ------
    ValueError
        If they are no PEM files of a certificate and its private key.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise ValueError(
            f"expected a certificate and its private key, PEM files, got {cert} and {key} "
            f"({error.reason or error}); name those that belong together"
        ) from None


async def _refuse(web: WebSocket, refusal: Refusal) -> None:
    await web.send_denial_response(PlainTextResponse(refusal.text, refusal.status))
    # uvicorn takes an application that returns before the answer has left for one that failed
    await asyncio.sleep(_AFTER_REFUSAL)


async def _serve(web: WebSocket, desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    answers: asyncio.Queue[tuple[Message, bytes]] = asyncio.Queue()

    def send(message: Message) -> None:
        packed = message, to_bytes(message)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(answers.put_nowait, packed)

    visit = Visit(desk, send)
    sender = asyncio.create_task(_send(web, answers, visit.sent))
    try:
        while True:
            received = await web.receive()
            if received["type"] == "websocket.disconnect":
                return
            visit.take(from_bytes(received.get("bytes") or b""))
            while visit.is_busy:
                await asyncio.sleep(_BUSY_SECONDS)
    except ValueError as error:
        _log.warning("a connection was closed: %s", error)
        with suppress(RuntimeError, WebSocketDisconnect):
            await web.close(_BAD_DATA, "expected a call, got other bytes")
    except WebSocketDisconnect:
        pass
    finally:
        visit.end()
        sender.cancel()


async def _send(
    web: WebSocket,
    answers: asyncio.Queue[tuple[Message, bytes]],
    sent: Callable[[Message], None],
) -> None:
    while True:
        message, blob = await answers.get()
        with suppress(RuntimeError, WebSocketDisconnect):  # it has gone
            await web.send_bytes(blob)
        sent(message)
