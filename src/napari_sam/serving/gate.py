"""Who may connect to a server: who knows its token, by a name that is its own, from no web page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from napari_sam.segmentation.address import is_loopback
from napari_sam.segmentation.tokens import is_same_token


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody may not connect: an HTTP status, and a sentence."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets in who knows the token.

    Parameters
    ----------
    token
        That must be given.
    hosts
        Names by which the server may be called, beside those of its own machine.
    """

    token: str
    hosts: tuple[str, ...] = ()

    def refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        """Return why a request with some headers is refused; None if it isn't."""
        if "origin" in headers:
            return Refusal(403, "requests of web pages are refused")
        if not self._is_own(headers.get("host", "")):
            return Refusal(
                403,
                "the server isn't called by that name; start it with --host NAME for every name "
                "that it has",
            )
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not is_same_token(given.strip(), self.token):
            return Refusal(401, "another token is needed")
        return None

    def _is_own(self, header: str) -> bool:
        try:
            host = urlsplit(f"//{header}").hostname
        except ValueError:
            return False
        return host is not None and (is_loopback(host) or host in self.hosts)


def check_exposure(host: str, is_encrypted: bool, insecure: bool) -> None:
    """Refuse to listen beyond this machine without encryption, unless that is asked for.

    Raises
    ------
    ValueError
        If it is refused.
    """
    if not (is_loopback(host) or is_encrypted or insecure):
        raise ValueError(
            f"expected a certificate to listen on {host}, where others can read the token and the "
            "images on their way: give --cert and --key, or listen on 127.0.0.1 and let users in "
            "by an SSH tunnel; --insecure listens all the same"
        )


def own_names(host: str, more: Sequence[str]) -> tuple[str, ...]:
    """Return the names by which a server that listens on a host may be called."""
    names = [name.lower().strip("[]") for name in more]
    return (*names, *([] if host in ("0.0.0.0", "::") else [host.lower()]))
