"""Tokens of objects: what ``id`` gives, but never given twice."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import RLock
from typing import Any

_serials = count(1)
_tokens: dict[int, tuple[weakref.ReferenceType[Any], int]] = {}
_lock = RLock()  # an object may be collected, and its token forgotten, while one is being given


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """An object by identity; while this lives, so does the object, and its ``id`` stays taken."""

    thing: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def token_of(thing: Any) -> Hashable:
    """Return a token of an object: the same as long as it lives, and never another object's.

    Use it where ``id`` would outlive its object: the number of a freed array is given to the next
    one. The object is not kept alive, unless it is of a kind that can't be referred to weakly.

    Parameters
    ----------
    thing
        Any object, hashable or not.
    """
    with _lock:
        known = _tokens.get(id(thing))
        if known is not None and known[0]() is thing:
            return known[1]
        token = next(_serials)
        try:
            reference = weakref.ref(thing, partial(_forget, id(thing), token))
        except TypeError:
            return _Kept(thing)
        _tokens[id(thing)] = reference, token
        return token


def _forget(number: int, token: int, reference: object) -> None:
    with _lock:
        known = _tokens.get(number)
        if known is not None and known[1] == token:  # not that of the number's next owner
            del _tokens[number]
