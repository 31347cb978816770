"""Where another machine is that computes for this one.

Nothing here imports torch: an address is known for what it is before anything is loaded.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from napari_sam.segmentation.tokens import TOKEN

SCHEMES = ("ws", "wss")
MISSING = (
    "expected the extra 'server' for another machine's GPU, found no {name}; "
    "run: pip install 'napari-sam-live[server]'"
)
"""Message of the error for a missing library."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model runs on another machine.

    Parameters
    ----------
    scheme
        ``"ws"``, or ``"wss"`` with TLS.
    host, port
        Of the machine, or of this end of a tunnel.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Address:
        """Read an address such as ``ws://127.0.0.1:8765``.

        Raises
        ------
        ValueError
            If it isn't an address, or has other parts. The message repeats neither a user name
            nor a password.
        """
        example = "such as ws://127.0.0.1:8765, or wss://gpu.example.org:8765 with TLS"
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"expected an address {example}, got another text ({error})") from None
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                f"expected an address {example}, got one with a name, password or token in it; "
                f"give the token by itself, or in {TOKEN}"
            )
        if parts.scheme not in SCHEMES or not host or port is None or parts.path not in ("", "/"):
            raise ValueError(f"expected an address {example}, got {text!r}")
        return cls(parts.scheme, host, port)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, or a tunnel that begins here."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def is_address(device: str) -> bool:
    """Whether a device's name is the address of another machine."""
    return device.strip().partition("://")[0] in SCHEMES and "://" in device


def is_loopback(host: str) -> bool:
    """Whether a host's name means this machine alone."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
