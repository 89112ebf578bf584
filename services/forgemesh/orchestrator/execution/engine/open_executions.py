"""Which executions this process has in memory, and why it has not those that are open all the same."""

from __future__ import annotations

import asyncio
from asyncio import Future

from forgemesh.orchestrator.dispatch.call_request import RunKey
from forgemesh.orchestrator.execution.engine.running import Running


class OpenExecutions:
    """
    Those that run, by namespace and id; those that were found in the store and are about to; those whose first write is
    under way.

    `suspended` are open executions that nobody runs at the moment, `set_aside` those of them that nobody takes up any
    more, and why.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], Running] = {}
        self._arriving: dict[tuple[str, str], Running] = {}
        self._coming: dict[tuple[str, str], Future[None]] = {}
        self.suspended: set[tuple[str, str]] = set()
        self.set_aside: dict[tuple[str, str], str] = {}

    def find(self, namespace: str, execution_id: str, run_id: str = "") -> Running | None:
        """The execution, if it is open and in memory; with a run, none that has merely the same id."""
        found = self._running.get((namespace, execution_id))
        return found if found is None or run_id in ("", found.state.run_id) else None

    def of_run(self, run: RunKey) -> Running | None:
        """The execution that began as this run, if it is open and in memory; never another one that has got its id."""
        found = self._running.get(run[:2])
        return found if found is not None and found.run == run else None

    def known(self, namespace: str, execution_id: str) -> Running | None:
        """The same, or one that is about to be taken up."""
        name = (namespace, execution_id)
        return self._running.get(name) or self._arriving.get(name)

    def has(self, running: Running) -> bool:
        """Whether it is this one that runs, and not another one of its name."""
        return self._running.get(running.name) is running

    def is_coming(self, namespace: str, execution_id: str) -> bool:
        """Whether the first write of an execution of that id is under way."""
        return (namespace, execution_id) in self._coming

    @property
    def count(self) -> int:
        """How many run."""
        return len(self._running)

    def all(self) -> list[Running]:
        """Those that run, as they are now."""
        return list(self._running.values())

    def coming(self) -> list[Future[None]]:
        """Is done once a first write that is under way is not any more."""
        return list(self._coming.values())

    def comes(self, running: Running) -> None:
        """The first write of an execution goes into the queue."""
        self._coming[running.name] = asyncio.get_running_loop().create_future()

    def came(self, running: Running) -> None:
        """It was written, or was not."""
        coming = self._coming.pop(running.name, None)
        if coming is not None:
            coming.set_result(None)

    def expect(self, running: Running) -> bool:
        """One that was found is about to go on, unless it runs already."""
        if running.name in self._running:
            return False
        self._arriving[running.name] = running
        return True

    def arrived(self, running: Running) -> bool:
        """It is expected no more, and may enter unless one of its name runs."""
        self._arriving.pop(running.name, None)
        return running.name not in self._running

    def enter(self, running: Running) -> None:
        """It runs from now on."""
        self._running[running.name] = running

    def leave(self, running: Running) -> None:
        """It runs no more."""
        del self._running[running.name]
