import asyncio
from asyncio import Future

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.engine.retention import BATCH, Retention
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.execution.ports.rows import Standing
from forgemesh.orchestrator.execution.ports.starts import Created, NewExecution, Request
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.settings import OrchestratorSettings
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.component.orchestrator.stores import asked

NOW = 1_000 * SECOND
STARTED = e.ExecutionStarted(
    workflow="w", workflow_version="1.0.0", content_hash="h", input=Payload(b"{}"), trace_id=b"t" * 16
)


def nobody(written: Future[Created]) -> None:
    pass


async def begin(store: SqliteStore, execution_id: str, ended_at: int) -> None:
    """An execution that ended at that second; 0: it is open."""
    standing = Standing(Status.SUCCEEDED if ended_at else Status.RUNNING, ended_at * SECOND)
    new = NewExecution(
        shard=store.shard,
        namespace="default",
        execution_id=execution_id,
        workflow="w",
        workflow_version="1.0.0",
        started_at=10,
        trace_id="ab",
        request=Request("", "c", id_chosen=True),
        standing=standing,
    )
    await store.create(*asked(new, [e.Event(1, 10, STARTED)]), nobody)


async def ids(store: SqliteStore) -> list[str]:
    found = await store.executions(ExecutionFilter(namespace="default"), ExecutionOrder.STARTED_ASCENDING, "", 500)
    return [row.execution_id for row in found.rows]


def retention(store: SqliteStore, age: float = 0.0, count: int = 0) -> Retention:
    return Retention(store, store.shard, lambda: NOW, age, count)


@pytest.mark.parametrize(
    ("age", "count", "kept"),
    [
        (0.0, 0, ["open", "oldest", "old", "new", "newest"]),
        (100.0, 0, ["open", "new", "newest"]),
        (0.0, 1, ["open", "newest"]),
        (100.0, 3, ["open", "new", "newest"]),
        (100.0, 1, ["open", "newest"]),
    ],
)
async def test_what_has_ended_is_kept_for_its_age_and_up_to_its_number(
    store: SqliteStore, age: float, count: int, kept: list[str]
) -> None:
    for execution_id, ended_at in (("open", 0), ("oldest", 100), ("old", 800), ("new", 950), ("newest", 990)):
        await begin(store, execution_id, ended_at)

    await retention(store, age, count).run()

    assert await ids(store) == kept


async def test_any_number_is_forgotten_in_one_run_with_its_history(database: Database, store: SqliteStore) -> None:
    await asyncio.gather(*(begin(store, f"e-{number}", 100) for number in range(2 * BATCH + 1)))

    await retention(store, count=1).run()

    count = await database.read(lambda connection: connection.execute("SELECT count(*) FROM event").fetchone()[0])
    assert len(await ids(store)) == 1
    assert count == 1


async def test_results_that_have_expired_are_forgotten_whatever_is_kept_of_executions(
    database: Database, store: SqliteStore
) -> None:
    kept = KeptResult("p", "1.0.0", "ab", Payload(b"1"))
    await store.keep_result(b"old", kept, NOW)
    await store.keep_result(b"new", kept, NOW + 1)

    await retention(store).run()

    keys = await database.read(lambda connection: connection.execute("SELECT key FROM kept_result").fetchall())
    assert [row["key"] for row in keys] == [b"new"]


@pytest.mark.parametrize("facts", [{"retention_age": -1.0}, {"retention_count": -1}])
def test_executions_cannot_be_kept_for_less_than_no_time(facts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="0 keeps executions for ever"):
        OrchestratorSettings(**facts)  # type: ignore[arg-type]
