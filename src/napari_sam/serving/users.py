"""Who uses a server, and what it keeps for each: nobody can ask for what is another's."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from napari_sam.segmentation.memory import Memory
from napari_sam.segmentation.protocol import Embedding
from napari_sam.serving.limits import ServerLimits

Key = tuple[str, str]
"""Of what is kept: the key of the encoder, and how its user calls it."""

Kept = Embedding | Memory


@dataclass(slots=True, eq=False)
class User:
    """A viewer or a script that uses the server.

    Parameters
    ----------
    digest
        Of the secret that it names itself by.
    """

    digest: bytes
    connections: int = 0
    last_here: float = 0.0
    kept: OrderedDict[Key, Kept] = field(default_factory=OrderedDict)
    nbytes: int = 0


class Users:
    """All users, and what is kept for them. Safe to use from several threads.

    Parameters
    ----------
    limits
        What they may use.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._users: dict[bytes, User] = {}
        self._lock = threading.Lock()

    @property
    def here(self) -> int:
        """How many are connected."""
        with self._lock:
            return sum(user.connections > 0 for user in self._users.values())

    @property
    def nbytes(self) -> int:
        """Memory of what is kept for all of them, in bytes."""
        with self._lock:
            return sum(user.nbytes for user in self._users.values())

    def enter(self, secret: str) -> User:
        """Return the user of a secret, connected once more; a new one if it is unknown.

        Raises
        ------
        ValueError
            If the secret could be guessed, or there are too many users.
        """
        if not (isinstance(secret, str) and 32 <= len(secret) <= 256):
            raise ValueError("expected a secret of at least 32 letters as a user's name")
        digest = hashlib.sha256(secret.encode()).digest()
        with self._lock:
            self._forget_gone()
            user = self._users.get(digest) or User(digest)
            here = sum(one.connections > 0 for one in self._users.values())
            if not user.connections and here >= self._limits.users:
                raise ValueError(f"the server has {here} users already; try again later")
            self._users[digest] = user
            user.connections += 1
            return user

    def leave(self, user: User) -> None:
        """Take note that a user's connection has ended."""
        with self._lock:
            user.connections -= 1
            user.last_here = time.monotonic()
            self._forget_gone()

    def get(self, user: User, key: Key) -> Kept | None:
        """Return what is kept for a user; None if it isn't."""
        with self._lock:
            if key in user.kept:
                user.kept.move_to_end(key)
            return user.kept.get(key)

    def keep(self, user: User, key: Key, one: Kept) -> None:
        """Keep something for a user; who has most makes room, but for the latest of each."""
        with self._lock:
            self._forget(user, key)
            user.kept[key] = one
            user.nbytes += one.nbytes
            while sum(user.nbytes for user in self._users.values()) > self._limits.memory_bytes:
                most = max(self._users.values(), key=lambda user: (len(user.kept) > 1, user.nbytes))
                if len(most.kept) <= 1:
                    break
                self._forget(most, next(iter(most.kept)))

    def forget(self, user: User, key: Key) -> None:
        """Drop what is kept for a user."""
        with self._lock:
            self._forget(user, key)

    def _forget(self, user: User, key: Key) -> None:
        one = user.kept.pop(key, None)
        if one is not None:
            user.nbytes -= one.nbytes

    def _forget_gone(self) -> None:
        longest_ago = time.monotonic() - self._limits.remembered_seconds
        for digest, user in list(self._users.items()):
            if not user.connections and user.last_here < longest_ago:
                del self._users[digest]
