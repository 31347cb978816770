"""The token that lets one machine compute on another."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import sys
from pathlib import Path

from napari_sam.special_files import refuse_special

TOKEN, TOKEN_FILE = "NAPARI_SAM_TOKEN", "NAPARI_SAM_TOKEN_FILE"
"""Environment variables with the token, or with the file that has it."""

_LEAST, _MOST = 16, 512  # characters

_given: dict[str, str] = {}  # by address, until this process ends; never written anywhere


def new_token() -> str:
    """Make a token that nobody can guess."""
    return secrets.token_urlsafe(32)


def checked_token(token: str) -> str:
    """Return a token without the blanks around it.

    Raises
    ------
    ValueError
        If it is none. The message doesn't repeat it.
    """
    token = token.strip()
    plain = token.isascii() and token.isprintable() and " " not in token
    if not (plain and _LEAST <= len(token) <= _MOST):
        raise ValueError(
            f"expected a token of {_LEAST} to {_MOST} letters, digits and signs without blanks, "
            "got another text; 'napari-sam serve' prints one at its start"
        )
    return token


def read_token(path: str | Path) -> str:
    """Read a token from a file that nobody else may read.

    Raises
    ------
    ValueError
        If others may read or write it, or it holds no token.
    OSError
        If it can't be read.
    """
    path = Path(path).expanduser()
    refuse_special(path)
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        if sys.platform != "win32" and about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = stat.S_IMODE(about.st_mode)
            raise ValueError(
                f"{path}: expected a token's file that its owner alone may read, mode 600, got "
                f"{mode:o}; run: chmod 600 {path}"
            )
        text = file.read(2 * _MOST)
    try:
        return checked_token(text.decode("ascii"))
    except ValueError as error:
        raise ValueError(f"{path}: {_reason(error)}") from None


def keep_token(address: str, token: str) -> None:
    """Use a token for an address while this process lives.

    Raises
    ------
    ValueError
        As :func:`checked_token` raises it.
    """
    _given[address] = checked_token(token)


def usual_token(address: str = "") -> str | None:
    """Return the token of an address: that of :func:`keep_token`, or else the environment's.

    Raises
    ------
    ValueError, OSError
        As :func:`checked_token` and :func:`read_token` raise them.
    """
    if token := _given.get(address):
        return token
    if token := os.environ.get(TOKEN):
        return checked_token(token)
    path = os.environ.get(TOKEN_FILE)
    return read_token(path) if path else None


def is_same_token(given: str, expected: str) -> bool:
    """Compare two tokens in a time that doesn't depend on either."""
    one, other = (hashlib.sha256(text.encode()).digest() for text in (given, expected))
    return hmac.compare_digest(one, other)


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):  # whose text would quote the bytes
        return "expected a token of plain letters, digits and signs, got other bytes"
    return str(error)
