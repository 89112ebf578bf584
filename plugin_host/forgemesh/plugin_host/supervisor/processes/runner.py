"""What the supervisor needs of the system that it runs on: processes that are started, watched, stopped and adopted."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from forgemesh.plugin_host.supervisor.plan.plan import Limits
from forgemesh.plugin_host.supervisor.processes.ending import Ending
from forgemesh.plugin_host.supervisor.processes.output import OutputLog


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """
    A process by its id and the time of its start, in the system's own words, which together never mean another one.

    `mark` is that of all that it has started, 0 if that does not end with it.
    """

    pid: int
    started: str
    mark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """
    What is to be started for an instance.

    A process with a `fifo` may outlive this supervisor, and writes to a named pipe there, which the next one opens; any
    other one ends with this one, and one that is `patient` looks after that by itself. All that it has started ends
    with it, but with `spare_detached` what has left its session.
    """

    instance_id: str
    command: Sequence[str]
    environment: Mapping[str, str]
    limits: Limits
    fifo: Path | None = None
    patient: bool = False
    spare_detached: bool = False


class HostProcess(Protocol):
    """
    A running process. `exited` is set once it has ended and what it wrote is read; `ending` says how then.

    `memory_limit` is what it may use, in bytes or 0. A process id that another process gets later is never touched.
    """

    identity: ProcessIdentity
    exited: asyncio.Event
    ending: Ending | None
    memory_limit: int

    def terminate(self) -> None:
        """Ask it to end in good order."""

    def kill_group(self) -> None:
        """End it at once, with everything in its process group."""

    def bound(self, limits: Limits) -> None:
        """Bound what it may allocate and open; what it has already stays with it."""


class Runner(Protocol):
    """Starts the processes of one supervisor, and ends them."""

    def spawn(self, launch: Launch, log: OutputLog) -> AbstractAsyncContextManager[HostProcess]:
        """Start a process; it is gone, with all that it has started, at the block's end. Raises OSError."""

    def adopt(
        self, identity: ProcessIdentity, log: OutputLog, *, fifo: Path, memory_limit: int, spare_detached: bool
    ) -> AbstractAsyncContextManager[HostProcess]:
        """
        Watch over a process that another supervisor has started; it is gone, as one that was spawned, at the block's
        end. Raises OSError if it is gone before. How it ends, nobody can tell.
        """

    def runs(self, identity: ProcessIdentity) -> bool:
        """Whether this very process still runs."""

    def stop(self, identities: Collection[ProcessIdentity]) -> None:
        """Kill processes that nobody watches, and what they have started; never another process."""
