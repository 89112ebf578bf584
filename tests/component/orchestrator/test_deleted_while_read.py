"""An execution that is deleted while somebody reads it is not found; nobody sees the half of it that was read."""

from collections.abc import Awaitable, Callable

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.workflow import ExecutionNotFound
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from tests.component.orchestrator.hosts import ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.test_controls import CALL
from tests.component.orchestrator.test_forks import fork

ITEMS = 1_100
LONG = f"""
name: long
steps:
  - id: m
    map: {{over: "${{input}}", steps: [{{id: x, when: "item < 0", wait: {{for: 1h}}}}]}}
  - {{id: y, {CALL}}}
"""


class DeletingStore(SqliteStore):
    """The real store; once `armed`, what is read is deleted after that many pages of it."""

    def __init__(self, inner: SqliteStore) -> None:
        for name, value in vars(inner).items():
            setattr(self, name, value)
        self.armed: int | None = None

    async def events(self, key: int, from_sequence: int, limit: int) -> list[Event]:
        if self.armed is not None:
            if self.armed == 0:
                await self.delete_execution(key, self.shard)
            self.armed -= 1
        return await super().events(key, from_sequence, limit)


async def get(orchestrator: Orchestrator) -> None:
    await orchestrator.executions.get("default", "e")


async def export(orchestrator: Orchestrator) -> None:
    [piece async for piece in orchestrator.offered.archives.export("default", "e")]


async def forked(orchestrator: Orchestrator) -> None:
    await fork(orchestrator)


async def checkpoints(orchestrator: Orchestrator) -> None:
    await orchestrator.executions.checkpoints("default", "e", 0, 1 << 30)


async def explain(orchestrator: Orchestrator) -> None:
    await orchestrator.executions.explain("default", "e")


async def watch(orchestrator: Orchestrator) -> None:
    async for _ in orchestrator.executions.watch("default", "e", 1):
        pass


async def resume(orchestrator: Orchestrator) -> None:
    await orchestrator.offered.controls.resume("default", "e", "", "")


@pytest.mark.parametrize("pages", [0, 1])
@pytest.mark.parametrize("read", [get, export, forked, checkpoints, explain, watch, resume])
async def test_what_is_deleted_while_it_is_read_is_not_found(
    database: Database, hosts: ScriptedHosts, read: Callable[[Orchestrator], Awaitable[None]], pages: int
) -> None:
    store = DeletingStore(await store_over(database))
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(LONG, list(range(ITEMS)))
    await hosts.answer("y", 1)
    await orchestrator.ended()
    assert len(await store.events(1, 1, 1 << 20)) > ITEMS
    store.armed = pages

    with pytest.raises(ExecutionNotFound):
        await read(orchestrator)

    assert await store.find("default", "f") is None
