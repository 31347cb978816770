"""Other machines that run models for the user: their addresses, and the connection in use."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.atomic import replaced
from napari_sam.engine import Executor, Outcome, Report
from napari_sam.gui.mailbox import Mailbox
from napari_sam.model.registry import home
from napari_sam.segmentation.address import Address
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.segmentation.tokens import keep_token, usual_token

if TYPE_CHECKING:
    from napari_sam.segmentation.connection import Connection

_log = logging.getLogger(__name__)

_MOST = 8  # addresses that are remembered
_ASKING = "other machine"  # chore


class Machines:
    """Addresses that were used before, and the connection in use.

    Addresses are remembered in a file. Tokens are remembered only while napari runs, or come from
    environment variables.

    Parameters
    ----------
    executor
        Requests the lists of models in the background.
    use
        Called with the address of a machine that answered, and the names of its models.

    Attributes
    ----------
    changed
        Signal: a machine was asked, reached or lost.
    refused
        Signal: a machine can't be used; emits the error.
    """

    changed = Signal()
    refused = Signal(object)

    def __init__(self, executor: Executor, use: Callable[[str, tuple[str, ...]], None]) -> None:
        self._executor, self._use = executor, use
        self.connection: Connection | None = None
        self.asked: str | None = None
        self._offered: dict[str, tuple[str, ...]] = {}
        self._addresses = _read()
        self._mailbox = Mailbox(self.changed.emit)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses that were used before, the latest first."""
        return self._addresses

    def offered(self, device: str) -> tuple[str, ...] | None:
        """Return the models of a machine; None if it has not been asked, or is no machine."""
        return self._offered.get(device)

    def has_token(self, address: str) -> bool:
        """Whether a token is known, so that the user needn't be asked for it."""
        try:
            return usual_token(address) is not None
        except (ValueError, OSError):
            return False

    def connect(self, address: str, token: str = "") -> None:
        """Ask a machine for its models, and use it.

        Parameters
        ----------
        address
            Such as ``"ws://127.0.0.1:8765"``.
        token
            Token for access; by default the one used before, or that of the environment.

        Raises
        ------
        ValueError
            If the address or the token is malformed.
        """
        where = Address.of(address)
        if token:
            keep_token(str(where), token)
        self.asked = str(where)
        self._executor.chore(
            _ASKING, partial(_ask, where), partial(self._answered, str(where)), awaited=False
        )
        self.changed.emit()

    def follow(self, segmenter: Segmenter | None) -> None:
        """Watch the connection of the model in use, if it is on another machine."""
        from napari_sam.segmentation.remote import remote_of

        remote = remote_of(segmenter)
        connection = None if remote is None else remote.connection
        if connection is self.connection:
            return
        self.connection = connection
        if connection is not None:
            connection.listen(self._mailbox.notify)
            self._list(connection.address)
        self.changed.emit()

    def give_up(self, now: bool = True) -> None:
        """Stop waiting for a lost connection, since another model will be used.

        With `now` False, wait again.
        """
        if self.connection is not None and self.connection.state != "connected":
            self.connection.give_up(now)

    def close(self) -> None:
        """Stop reporting changes, and stop waiting for a lost connection."""
        self._mailbox.close()
        if self.connection is not None:
            self.connection.give_up()

    def _list(self, where: Address) -> None:
        """Ask the machine in use for its models, unless they are known."""
        if str(where) in self._offered:
            return
        self._executor.chore(
            ("models of", str(where)),
            partial(_ask, where),
            partial(self._listed, str(where)),
            awaited=False,
        )

    def _listed(self, address: str, outcome: Outcome) -> None:
        if outcome.error is not None:
            _log.warning("the models of %s can't be listed: %s", address, outcome.error)
        elif not outcome.cancelled:
            self._offered[address] = outcome.value
            self.changed.emit()

    def _answered(self, address: str, outcome: Outcome) -> None:
        if outcome.cancelled or self.asked != address:
            return
        self.asked = None
        if outcome.error is not None:
            self.refused.emit(outcome.error)
        else:
            self._offered[address] = outcome.value
            self._remember(address)
            self._use(address, outcome.value)
        self.changed.emit()

    def _remember(self, address: str) -> None:
        others = [one for one in self._addresses if one != address]
        self._addresses = (address, *others)[:_MOST]
        try:
            with replaced(_file()) as temporary:
                temporary.write_text(json.dumps(self._addresses))
        except OSError as error:
            _log.warning("the address can't be remembered: %s", error)


def _ask(where: Address, report: Report) -> tuple[str, ...]:
    from napari_sam.segmentation.remote import offered_models

    return offered_models(where)


def _file() -> Path:
    return home() / "machines.json"


def _read() -> tuple[str, ...]:
    try:
        stored = json.loads(_file().read_text())
        return tuple(str(Address.of(one)) for one in stored[:_MOST])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        _log.warning("%s can't be read: %s", _file(), error)
        return ()
