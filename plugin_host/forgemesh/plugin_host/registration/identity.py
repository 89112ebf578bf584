"""Who this process is in the mesh."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from forgemesh.chassis.process import CannotStart
from forgemesh.chassis.secret_file import NoSecret, read_or_make_secret
from forgemesh.faults.plugin import WrongIncarnation


class Identity:
    """
    An instance and its incarnations: one for each time that this process has registered.

    A call may mean any of them, since all are this process; one that means another process is refused. `on_registered`
    is told each new one.
    """

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        self.incarnation = 0
        self.on_registered: Callable[[], None] = _nothing
        self._own = {0}

    def registered(self, incarnation: int) -> None:
        """The registry has given this process a new incarnation."""
        self.incarnation = incarnation
        self._own.add(incarnation)
        self.on_registered()

    def refuse_others(self, wanted: int) -> None:
        """Raise WrongIncarnation if a caller means another process; 0 means any."""
        if wanted not in self._own:
            raise WrongIncarnation(self.instance_id, wanted, self.incarnation)


def _nothing() -> None:
    """Nobody needs to know."""


def default_instance_id(plugin_id: str) -> str:
    """
    What a host is called that nobody has named: its plugin and process number.

    The first process of a container has the number 1 everywhere; it is called as its machine is, which is a name of its
    own: that of the pod on Kubernetes.
    """
    number = os.getpid()
    return socket.gethostname() if number == 1 else f"{plugin_id}-{number}"


def owner_token(given: str, file: str) -> str:
    """The secret by which the registry knows this host again: as `given`, from the file, or new. Raises CannotStart."""
    if given or not file:
        return given or secrets.token_hex(16)
    try:
        return read_or_make_secret(Path(file))
    except NoSecret as error:
        raise CannotStart(f"owner_token_file: {error}") from error
