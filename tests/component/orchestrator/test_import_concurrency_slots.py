"""An import that has found no place under its key, over a restart of the orchestrator."""

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.test_family_fences import dies

AWAY = Failure(Code.UNAVAILABLE, "AWAY", "comes back", retryable=True)
SOURCE = """
name: keyed
version: 1.0.0
concurrency: {key: k, limit: 1}
steps:
  - {id: done, call: {plugin: p, operation: o}, compensate: {plugin: p, operation: o, input: {undo: true}}}
  - {id: held, wait: {signal: go}}
"""


def served() -> ScriptedHosts:
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    return hosts


async def with_a_copy_that_waits(database: Database) -> Orchestrator:
    """An execution holds the only place, and an import of it waits behind it."""
    first = orchestrator_over(await store_over(database), served())
    await first.start(SOURCE, execution_id="e")
    await first.hosts.answer("done", {})
    await first.until(lambda state: bool(state.waits))
    data = b"".join([piece async for piece in first.offered.archives.export("default", "e")])
    await first.offered.archives.take_over("default", "copy", data)
    return first


async def restarted(first: Orchestrator, database: Database) -> Orchestrator:
    await dies(first, database)
    second = orchestrator_over(await store_over(database), served())
    second.offered.concurrency_slots.load(await second.store.slots({SOLE}))
    await second.recovery.run()
    return second


async def test_an_import_that_waits_for_a_place_and_is_paused_waits_on_after_a_restart(database: Database) -> None:
    second = await restarted(await with_a_copy_that_waits(database), database)

    copy = await second.executions.get("default", "copy")
    granted = {row.execution_id: row.granted for row in await second.store.slots({SOLE})}

    assert copy.status is Status.PAUSED
    assert copy.queued
    assert granted == {"e": True, "copy": False}
    assert not [event for event in await second.history("copy") if isinstance(event.fact, e.ExecutionAdmitted)]


async def test_an_import_that_waited_and_undoes_what_it_did_is_taken_up_and_admitted_to_nothing(
    database: Database,
) -> None:
    first = await with_a_copy_that_waits(database)
    await first.offered.controls.cancel("default", "copy", "me", "")
    await first.until(lambda state: state.compensating, "copy")
    second = await restarted(first, database)

    await second.hosts.answer("done:compensate", {}, attempt=2, execution_id="copy")
    copy = await second.ended("copy")

    assert copy.status is Status.COMPENSATED
    assert second.offered.open_executions.suspended == set()


async def test_an_import_without_a_place_tries_again_to_undo_what_it_did(database: Database) -> None:
    first = await with_a_copy_that_waits(database)
    await first.offered.controls.cancel("default", "copy", "me", "")
    (await first.hosts.call("done:compensate", execution_id="copy")).fail(AWAY)

    await first.hosts.answer("done:compensate", {}, attempt=2, execution_id="copy")

    assert (await first.ended("copy")).status is Status.COMPENSATED


async def test_what_a_person_decides_about_an_import_in_the_queue_counts_once_it_has_its_place(
    database: Database,
) -> None:
    group = "{id: g, parallel: {branches: {a: [{id: x, call: {plugin: p, operation: o}, on_exhausted: incident}]}}}"
    source = f"name: keyed\nversion: 2.0.0\nconcurrency: {{key: k, limit: 1}}\nsteps: [{group}]"
    first = orchestrator_over(await store_over(database), served())
    await first.start(source, execution_id="e")
    (await first.hosts.call("g/a/x", execution_id="e")).fail(Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work"))
    await first.until(lambda state: bool(state.incidents))
    data = b"".join([piece async for piece in first.offered.archives.export("default", "e")])
    await first.offered.archives.take_over("default", "copy", data)
    await first.offered.controls.resume("default", "copy", "", "me")

    await first.offered.controls.resolve("default", "copy", "g/a/x", "fail", None, "me", "")
    waiting = await first.executions.get("default", "copy")
    await first.offered.controls.terminate("default", "e", "me", "")

    assert waiting.status is Status.QUEUED
    assert (await first.ended("copy")).status is Status.FAILED
