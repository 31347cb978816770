"""A connection to a machine that computes for this one: made, lost, and made again."""

from __future__ import annotations

import atexit
import logging
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Literal

from napari_sam.segmentation.address import MISSING, Address
from napari_sam.segmentation.calls import Caller
from napari_sam.segmentation.messages import sound
from napari_sam.segmentation.pipe import Arrays, Message, from_bytes, to_bytes
from napari_sam.segmentation.tokens import TOKEN, TOKEN_FILE, checked_token

if TYPE_CHECKING:
    from napari_sam.segmentation.protocol import Progress

State = Literal["connected", "lost", "refused", "closed"]

_OPEN_SECONDS = 10.0
_HEARD_SECONDS = 0.1  # between two chances to cancel a call that waits for a connection
_PAUSES = (
    0.2,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
)  # seconds before each attempt; the last one again and again
_LONGEST_ANSWER = 2**28  # bytes
_MOST_LOSSES = 5  # of connections during one call
_SIGN_OF_LIFE = 10.0  # seconds between two, and how long one may take

# That of the library would write the token into a log of everything.
_quiet = logging.getLogger(__name__ + ".socket")
_quiet.setLevel(logging.WARNING)


class ConnectionLost(ConnectionError):
    """The machine that runs the model can't be reached."""


class _Socket(Caller):
    """One connection, until it is lost."""

    def __init__(self, address: Address, token: str) -> None:
        super().__init__()
        try:
            from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
            from websockets.sync.client import connect
        except ImportError as error:
            raise ImportError(MISSING.format(name=error.name or "websockets")) from None
        self._broken = (OSError, WebSocketException)
        self._address = address
        self.largest = _LONGEST_ANSWER
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(
                connect(
                    str(address),
                    additional_headers={"Authorization": f"Bearer {token}"},
                    compression=None,
                    proxy=None if address.is_loopback else True,
                    max_size=_LONGEST_ANSWER,
                    open_timeout=_OPEN_SECONDS,
                    close_timeout=1.0,
                    ping_interval=_SIGN_OF_LIFE,
                    ping_timeout=_SIGN_OF_LIFE,
                    logger=_quiet,
                )
            )
        except InvalidStatus as error:
            raise _refused(address, error.response.status_code, error.response.body) from None
        except (InvalidHandshake, EOFError) as error:
            raise ConnectionLost(
                f"{address}: expected 'napari-sam serve' there, got another answer ({error})"
                + ("; if it encrypts, its address begins with wss://" if _is_plain(address) else "")
            ) from None
        except ssl.SSLError as error:
            raise ConnectionLost(_distrusted(address, error)) from None
        except OSError as error:
            raise ConnectionLost(
                f"{address} can't be reached ({error}); check that 'napari-sam serve' runs there, "
                "and the tunnel to it"
            ) from None

    def close(self) -> None:
        self._has_ended = True
        with suppress(*self._broken):
            self._socket.close()

    def _put(self, message: Message) -> None:
        blob = to_bytes(message)
        if len(blob) > self.largest:
            raise ValueError(
                f"expected a call of at most {self.largest >> 20} MB, as {self._address} allows, "
                f"got one of {len(blob) >> 20} MB; ask for more there with --message-mb"
            )
        try:
            self._socket.send(blob)
        except self._broken as error:
            raise OSError(str(error)) from None

    def _take(self) -> Message | None:
        try:
            blob = self._socket.recv()
            return from_bytes(blob if isinstance(blob, bytes) else b"")
        except ValueError as error:
            _quiet.warning("%s sent something else: %s", self._address, error)
            self.close()
        except (*self._broken, EOFError):
            pass
        return None

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(f"the connection to {self._address} was lost")


class Connection:
    """A connection that is made again whenever it is lost; calls wait for it.

    Parameters
    ----------
    address, token
        Where, and what lets us in.
    greet
        Makes the first call of every connection, and returns the largest message that the machine
        takes, in bytes; raises if the machine is not the one that it was.
    patience
        Seconds that a call waits for a lost connection; None waits until :meth:`give_up`.

    Raises
    ------
    ConnectionLost
        If the machine can't be reached.
    PermissionError
        If it doesn't know the token.
    ValueError
        For a token that can't be one.
    ImportError
        If the extra isn't installed.
    """

    def __init__(
        self,
        address: Address,
        token: str,
        greet: Callable[[Caller], int],
        patience: float | None = 60.0,
    ) -> None:
        self.address, self.patience = address, patience
        self._token, self._greet = checked_token(token), greet
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._state: State = "lost"
        self._error: Exception | None = None
        self._given_up = False
        self._socket: _Socket | None = None
        first = _Socket(address, self._token)
        try:
            # nobody else reads yet: who asks reads
            first.largest = greet(first)
        except BaseException:
            first.close()
            raise
        self._set("connected", socket=first)
        self._thread = threading.Thread(target=self._keep, name="napari-sam link", daemon=True)
        self._thread.start()
        _OPEN.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended for good."""
        return self._state == "closed"

    @property
    def state(self) -> State:
        """Whether it is there; ``"refused"`` where the machine answers and won't have us."""
        return self._state

    @property
    def error(self) -> Exception | None:
        """Why it isn't."""
        return self._error

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function, on the connection's thread, whenever :attr:`state` changes."""
        self._listeners.append(listener)

    def call(
        self,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays | None = None,
        progress: Progress | None = None,
    ) -> Message:
        """Call the other machine; if the connection is lost meanwhile, wait until it is back.

        Parameters
        ----------
        kind, values, arrays
            The call; it may reach the other machine twice.
        progress
            As of :meth:`Caller.call`; called again and again while there is no connection.

        Raises
        ------
        ConnectionLost
            After :attr:`patience`, :meth:`give_up` or :meth:`close`.
        PermissionError, ValueError
            If the machine is there again and refuses us, or is another one.
        """
        reported, losses = 0.0, 0

        def report(fraction: float) -> None:
            nonlocal reported
            reported = fraction
            if progress is not None:
                progress(fraction)

        while True:
            socket = self._wait(None if progress is None else lambda: report(reported))
            try:
                return sound(socket.call(kind, values, arrays, report))
            except ConnectionLost as error:
                losses += 1
                if losses == _MOST_LOSSES:  # it may be the call that ends it
                    raise
                self._lose(socket, error)

    def give_up(self, now: bool = True) -> None:
        """Have calls end with an error instead of waiting, until the connection is back.

        Attempts to connect continue. With `now` False calls wait again, up to :attr:`patience`.
        """
        with self._changed:
            self._given_up = now
            self._changed.notify_all()

    def close(self) -> None:
        """End it for good."""
        socket = self._socket
        self._set("closed", ConnectionLost(f"the connection to {self.address} was closed"))
        if socket is not None:
            socket.close()

    def _wait(self, report: Callable[[], None] | None) -> _Socket:
        start = time.monotonic()
        while True:
            with self._changed:
                if self._state == "connected" and self._socket is not None:
                    return self._socket
                waited = time.monotonic() - start
                impatient = self.patience is not None and waited > self.patience
                if self._state in ("refused", "closed") or impatient or self._given_up:
                    assert self._error is not None
                    raise _again(self._error)
                self._changed.wait(_HEARD_SECONDS)
            if report is not None:
                report()

    def _lose(self, socket: _Socket, error: Exception) -> None:
        with self._changed:
            is_current = self._socket is socket and self._state == "connected"
        if is_current:
            self._set("lost", error)

    def _keep(self) -> None:
        """Read what comes; connect again when nothing more will."""
        while not self.is_closed:
            socket = self._socket
            if socket is not None:
                socket.read_on()
                socket.close()
                self._lose(socket, ConnectionLost(f"the connection to {self.address} was lost"))
            self._connect_again()

    def _connect_again(self) -> None:
        attempt = 0
        while self._state != "connected":
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            attempt += 1
            with self._changed:
                self._changed.wait_for(lambda: self.is_closed, pause)
            if self.is_closed:
                return
            socket: _Socket | None = None
            try:
                socket = _Socket(self.address, self._token)
                socket.largest = self._greet(socket)
            except Exception as error:  # noqa: BLE001 - raised by the calls
                if socket is not None:
                    socket.close()
                is_away = isinstance(error, ConnectionLost)
                self._set("lost" if is_away else "refused", error)
            else:
                self._set("connected", socket=socket)

    def _set(
        self, state: State, error: Exception | None = None, socket: _Socket | None = None
    ) -> None:
        with self._changed:
            if self._state == "closed":
                if socket is not None:
                    socket.close()
                return
            has_changed = self._state != state
            self._state, self._error, self._socket = state, error, socket
            self._given_up = self._given_up and state != "connected"
            self._changed.notify_all()
        for listener in list(self._listeners) if has_changed else ():
            listener()


_OPEN: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # a call that waits for a connection must not keep the interpreter from its end
    for connection in list(_OPEN):
        connection.close()


def _again(error: Exception) -> Exception:
    """Return an error to raise that others may be raising at the same time."""
    return type(error)(*error.args)


# Numbers of OpenSSL's verification errors (x509_vfy.h).
_NOT_YET, _EXPIRED, _OTHER_HOST, _OTHER_IP = 9, 10, 62, 64


def _distrusted(address: Address, error: ssl.SSLError) -> str:
    """Return a message about what is wrong with the encryption, and what to do."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{address} doesn't encrypt as expected ({error.reason or error}); if 'napari-sam "
            "serve' runs there without --cert, its address begins with ws://"
        )
    code = error.verify_code
    if code == _EXPIRED:
        return f"the certificate of {address} has expired; ask whoever runs it for a new one"
    if code == _NOT_YET:
        return f"the certificate of {address} isn't valid yet; check the clock of this machine"
    if code in (_OTHER_HOST, _OTHER_IP):
        return (
            f"the certificate of {address} is of another machine ({error.verify_message}); use "
            "the name that it was made for, or ask for one that names this"
        )
    return (
        f"the certificate of {address} isn't trusted here ({error.verify_message}); if you know "
        "who signed it, name their certificate, a PEM file, in SSL_CERT_FILE and start again"
    )


def _is_plain(address: Address) -> bool:
    return address.scheme == "ws"


def _refused(address: Address, status: int, body: bytes | bytearray | None) -> Exception:
    text = (body or b"").decode("utf-8", "replace").strip()[:300]
    if status == 401:
        return PermissionError(
            f"{address} doesn't know the token; give the one that 'napari-sam serve' printed "
            f"there, in {TOKEN} or in a file of mode 600 that {TOKEN_FILE} names"
        )
    if status == 503:
        return ConnectionLost(f"{address} has too many users now ({text})")
    return PermissionError(f"{address} refused the connection with {status}: {text}")
