from asyncio import Future
from collections.abc import Sequence
from pathlib import Path

import pytest

from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow, Standing
from forgemesh.orchestrator.execution.ports.starts import Created, NewExecution, Request
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE, Shard
from tests.component.byteflips import crashed_copy, fates_of_flips
from tests.component.orchestrator.orchestrators import database_at, store_over
from tests.component.orchestrator.stores import asked
from tests.unit.orchestrator.workflows import parsed

FLIPS = 200
EXECUTIONS = 60
SPACES = ("default", "elsewhere")
LARGE = Payload(b'"' + b"0123456789" * 30_000 + b'"')
DEFINITION = "name: w\nversion: 1.0.{}\nsteps: [{{id: a, call: {{plugin: p, operation: o}}}}]"
STARTED = e.ExecutionStarted(
    workflow="w", workflow_version="1.0.0", content_hash="h", input=Payload(b'{"n": 1}'), trace_id=b"t" * 16
)

DISPATCH = Dispatch(instance_id="i", incarnation=1, plugin_version="1.0.0", at=12)


def new(number: int, shard: Shard) -> NewExecution:
    """With something in every column in some of them."""
    return NewExecution(
        shard=shard,
        namespace=SPACES[number % 2],
        execution_id=f"e-{number}",
        workflow=f"w-{number % 3}",
        workflow_version="1.0.0",
        started_at=10 + number,
        trace_id=f"{number:032x}",
        request=Request(f"r-{number}" if number % 4 else "", f"content {number}", id_chosen=True),
        standing=Standing(Status.QUEUED if number % 5 == 0 else Status.RUNNING),
        priority=number % 3,
        concurrency_key=f"k-{number % 7}" if number % 5 == 0 else "",
        parent_id=f"e-{number - 2}" if number % 6 == 2 else "",
        schedule_id="s" if number % 6 == 3 else "",
    )


def nobody(written: Future[Created]) -> None:
    pass


async def begin(store: SqliteStore, numbers: Sequence[int]) -> None:
    """Executions in every state there is, some with a large payload."""
    for number in numbers:
        given = LARGE if number % 20 == 0 else Payload(b'"%d"' % number * (1 + number % 5))
        first = [e.Event(1, 10, STARTED), e.Event(2, 11, e.AttemptStarted("a", 1, given))]
        key = (await store.create(*asked(new(number, store.shard), first), nobody)).key
        status = list(Status)[number % len(Status)]
        standing = Standing(status, 20 + number if status.final else 0, number % 3 if number % 11 == 0 else 0)
        await store.append(key, store.shard, [e.Event(3, 12, e.AttemptSucceeded("a", 1, given, DISPATCH))], standing)


async def everything(directory: Path) -> list[object]:
    """All that can be asked of the database in it."""
    async with database_at(directory / "orchestrator.db") as database:
        store = await store_over(database)
        lists: list[list[ExecutionRow]] = [
            (await store.executions(ExecutionFilter(namespace=space), order, "", 500)).rows
            for space in SPACES
            for order in ExecutionOrder
        ]
        everyone = [row for rows in lists for row in rows]
        found = [await store.find(space, f"e-{number}") for space in SPACES for number in range(EXECUTIONS)]
        started = [
            await store.started_by(space, Request(f"r-{number}", f"content {number}", id_chosen=True))
            for space in SPACES
            for number in range(EXECUTIONS)
        ]
        return [
            lists,
            found,
            started,
            [await store.events(key, 1, 100) for key in sorted({row.key for row in everyone})],
            await store.open_executions({SOLE}),
            await store.slots({SOLE}),
            await store.expired(40, 20, 500),
            await store.definitions("default", ""),
            await store.definition("default", "w", ""),
            [await store.cached(b"key %d" % number, 0) for number in range(10)],
        ]


@pytest.fixture
async def crashed(tmp_path: Path) -> Path:
    """The directory of an orchestrator that was killed: some of it in its database, some in the log beside it."""
    path = tmp_path / "mesh" / "orchestrator.db"
    async with database_at(path) as database:
        await begin(await store_over(database), range(EXECUTIONS - 10))
    async with database_at(path) as database:
        store = await store_over(database)
        for number in range(10):
            await store.keep_definition(parsed(DEFINITION.format(number)), 100 + number)
            kept = KeptResult("p", "1.0.0", "ab", Payload(b"%d" % number))
            await store.keep_result(b"key %d" % number, kept, 1_000)
        await store.delete_execution(3, store.shard)
        await begin(store, range(EXECUTIONS - 10, EXECUTIONS))
        return crashed_copy(path.parent, tmp_path / "crashed")


async def test_a_byte_that_changes_anywhere_changes_no_answer(crashed: Path, tmp_path: Path) -> None:
    _, fates = await fates_of_flips(crashed, tmp_path, FLIPS, everything)

    assert {fate for _, fate in fates} == {"refused", "the same"}
    assert fates["orchestrator.db", "refused"] + fates["orchestrator.db-wal", "refused"] > FLIPS / 4
