import zlib
from pathlib import Path

from forgemesh.api.orchestrator.v1 import event_pb2
from forgemesh.chassis.sqlite.database import Bulk, open_database
from forgemesh.faults.workflow import Cancelled
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.events import event_to_message
from forgemesh.orchestrator.store.sqlite.schema import MIGRATIONS
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.orchestrators import database_at, store_over

SOURCE = "name: w\nversion: 1.0.0\nsteps: [{id: a, call: {plugin: p, operation: o}}]"
STARTED = e.ExecutionStarted(
    workflow="w", workflow_version="1.0.0", content_hash="h", input=Payload(b"{}"), trace_id=b"t" * 16
)
FAILURE: Failure = failure_of(Cancelled("a"))
OPEN = [e.Event(1, 10, STARTED), e.Event(2, 11, e.AttemptStarted("a", 1, Payload(b"{}")))]
ENDED = [*OPEN, e.Event(3, 12, e.AttemptFailed("a", 1, FAILURE, None)), e.Event(4, 12, e.ExecutionFailed(FAILURE))]

EXECUTIONS = Bulk("INSERT INTO execution VALUES", f"({', '.join('?' * 11)})")
EVENTS = Bulk("INSERT INTO event VALUES", "(?, ?, ?, ?)")


def first_release(event: e.Event) -> bytes:
    """A record as it was written then."""
    body = event_to_message(event).SerializeToString()
    return event_pb2.StoredEvent(schema_version=1, checksum=zlib.crc32(body), event=body).SerializeToString()


async def written_by_the_first_release(path: Path) -> None:
    rows: list[tuple[Bulk, tuple[object, ...]]] = [
        (EXECUTIONS, (1, "default", "open", "w", "1.0.0", "RUNNING", 10, 0, "ab", "", "")),
        (EXECUTIONS, (2, "default", "ended", "w", "1.0.0", "FAILED", 10, 12, "cd", "r", "content")),
    ]
    keyed = [(key, event) for key, history in ((1, OPEN), (2, ENDED)) for event in history]
    for position, (key, event) in enumerate(keyed, start=1):
        rows.append((EVENTS, (position, key, event.sequence, first_release(event))))
    async with open_database(path, MIGRATIONS[:1]) as old:
        await old.write_rows(rows, None)


async def test_what_the_first_release_wrote_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    await written_by_the_first_release(path)

    async with database_at(path) as database:
        store = await store_over(database)
        everything = await store.executions(
            ExecutionFilter(namespace="default"), ExecutionOrder.ENDED_DESCENDING, "", 10
        )
        histories = [await store.events(key, 1, 100) for key in (1, 2)]
        following = await store.append(1, store.shard, [e.Event(3, 12, e.StepUnblocked("a", 1))], None)
        still_open = await store.open_executions({SOLE})

    assert [(row.execution_id, row.status, row.priority) for row in everything.rows] == [
        ("open", Status.RUNNING, 0),
        ("ended", Status.FAILED, 0),
    ]
    assert histories == [OPEN, ENDED]
    assert following == 7
    assert [(row.key, row.sequence) for row in still_open] == [(1, 3)]


FOURTH_RELEASE = Bulk(
    "INSERT INTO execution (key, namespace, execution_id, workflow, workflow_version, status, started_at, ended_at,"
    " trace_id, request_id, request_hash, parent_id, schedule_id) VALUES",
    f"({', '.join('?' * 13)})",
)


async def written_before_runs_were_known(path: Path) -> None:
    """Ids that were used again, with children of both parents; starts of two schedules of one id, and an import."""

    def row(key: int, execution_id: str, started_at: int, **said: str) -> tuple[object, ...]:
        told = {"request_id": "", "parent_id": "", "schedule_id": ""} | said
        facts = (key, "default", execution_id, "w", "1.0.0", "RUNNING", started_at, 0, "ab")
        return (*facts, told["request_id"], "", told["parent_id"], told["schedule_id"])

    executions = [
        row(1, "p~1", 10),
        row(2, "p.c.1~1", 11, parent_id="p"),
        row(3, "p", 12),
        row(4, "p.c.1", 13, parent_id="p"),
        row(5, "orphan", 14, parent_id="gone"),
        row(6, "s-1", 15, schedule_id="s", request_id="schedule-1"),
        row(7, "s-2", 25, schedule_id="s", request_id="schedule-2"),
        row(8, "imported", 26, schedule_id="s"),
    ]
    schedule = (
        "INSERT INTO schedule VALUES (7, 'default', 's', x'', 1, 20, 20, 20, 0, '', '', 0, 0, 0, 0, 0, 0, 0, 0, 1)"
    )
    async with open_database(path, MIGRATIONS[:4]) as old:
        await old.write(lambda connection: connection.execute(schedule))
        rows: list[tuple[Bulk, tuple[object, ...]]] = [(FOURTH_RELEASE, one) for one in executions]
        for position, one in enumerate(executions, start=1):
            rows.append((EVENTS, (position, one[0], 1, first_release(OPEN[0]))))
        await old.write_rows(rows, None)


async def test_executions_of_older_releases_get_a_run_parent_and_schedule_that_stay_theirs(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    await written_before_runs_were_known(path)

    async with database_at(path) as database:
        store = await store_over(database)
        rows = {row.execution_id: row for row in await store.open_executions({SOLE})}

    run = {name: row.run_id for name, row in rows.items()}
    assert run["p"] == "00000000000000000000000003"
    assert len(set(run.values())) == 8
    assert (rows["p.c.1~1"].parent_run, rows["p.c.1"].parent_run) == (run["p~1"], run["p"])
    assert rows["orphan"].parent_run == ""
    assert {name: rows[name].schedule_incarnation for name in ("s-1", "s-2", "imported")} == {
        "s-1": "",
        "s-2": "00000000000000000000000007",
        "imported": "",
    }
