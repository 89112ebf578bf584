"""Executions that have to do with one another: children, concurrency keys, archives."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from forgemesh.api.orchestrator.v1 import control_pb2
from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Code
from forgemesh.faults.control import ArchiveUnreadable, ConcurrencyKeyInvalid
from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import Cancelled, ExecutionExists
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.archives.archives import Archive
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.engine.sweep import Sweep
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.hosts import ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

CALL = "call: {plugin: p, operation: o}"
CHILD = f"name: child\nsteps: [{{id: x, {CALL}, input: '${{input}}'}}]\noutput: '${{steps.x.output}}'"
PARENT = """
name: parent
steps:
  - {id: c, workflow: {name: child}, input: {n: 1}, on_close: CLOSE}
output: "${steps.c.output}"
"""
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")


async def family(orchestrator: Orchestrator, on_close: str = "cancel") -> str:
    """A parent whose child's call is under way; the child's id."""
    await orchestrator.definitions.register("default", CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", on_close))
    return (await orchestrator.hosts.call("x")).invocation.execution_id


async def test_a_child_gives_its_output_to_the_step_that_waits_for_it(orchestrator: Orchestrator) -> None:
    child = await family(orchestrator)
    await orchestrator.hosts.answer("x", [7])

    ended, of_child = await orchestrator.ended(), await orchestrator.ended(child)
    assert ended.output == Payload(b"[7]")
    assert of_child.started is not None
    assert ended.started is not None
    assert of_child.started.origin == e.Origin(
        parent_id="e",
        parent_run=ended.run_id,
        parent_path="c",
        parent_attempt=1,
        root_run=ended.run_id,
        generation=2,
        on_close="cancel",
    )
    assert of_child.started.linked_span.startswith(ended.trace_id)


async def test_a_child_that_fails_fails_its_step_with_the_cause(orchestrator: Orchestrator) -> None:
    await family(orchestrator)
    (await orchestrator.hosts.call("x")).fail(BROKEN)

    failure = (await orchestrator.ended()).failure
    assert failure is not None
    assert failure.reason == "CHILD_FAILED"
    assert [cause.reason for cause in failure.causes] == ["BROKEN"]


async def test_a_parent_that_uses_an_id_again_has_a_child_of_its_own(orchestrator: Orchestrator) -> None:
    first = await family(orchestrator)
    await orchestrator.hosts.answer("x", "old")
    await orchestrator.ended()

    await orchestrator.start(PARENT.replace("CLOSE", "cancel"), reuse=IdReuse.ALLOW_DUPLICATE)
    await orchestrator.hosts.until(lambda: len(orchestrator.hosts.calls) == 2)
    orchestrator.hosts.calls[1].succeed("new")

    assert (await orchestrator.ended()).output == Payload(b'"new"')
    assert (await orchestrator.executions.get("default", "e~1")).output == Payload(b'"old"')
    assert (await orchestrator.executions.get("default", first)).output == Payload(b'"old"')


async def test_a_child_is_found_again_after_a_crash(database: Database, hosts: ScriptedHosts) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await family(first)

    second = orchestrator_over(await store_over(database), hosts)
    await second.recovery.run()
    await hosts.answer("x", [8], attempt=2)

    assert (await second.ended()).output == Payload(b"[8]")
    assert len(await second.store.open_executions({SOLE})) == 0


async def test_a_child_that_ended_during_the_crash_of_its_parent_is_not_started_again(
    database: Database, hosts: ScriptedHosts
) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await first.definitions.register("default", CHILD)
    await first.start(PARENT.replace("CLOSE", "cancel"))
    call = await hosts.call("x")
    parent = first.offered.owners.local("default", "e")
    assert parent is not None
    first.engine.drop(parent)
    call.succeed([9])
    await first.ended(call.invocation.execution_id)

    second = orchestrator_over(await store_over(database), hosts)
    await second.recovery.run()

    assert (await second.ended()).output == Payload(b"[9]")
    assert len(hosts.calls) == 1


@pytest.mark.parametrize(
    ("on_close", "child_status"),
    [("cancel", Status.CANCELLED), ("terminate", Status.TERMINATED), ("abandon", Status.SUCCEEDED)],
)
async def test_a_cancelled_parent_does_to_its_child_what_the_step_says(
    orchestrator: Orchestrator, on_close: str, child_status: Status
) -> None:
    child = await family(orchestrator, on_close)
    call = await orchestrator.hosts.call("x")
    for link in orchestrator.hosts.links("p").values():
        link.on_cancel = lambda call: call.fail(failure_of(Cancelled(call.path)))

    await orchestrator.offered.controls.cancel("default", "e", "me", "")
    assert (await orchestrator.ended()).status is Status.CANCELLED
    if on_close == "abandon":
        call.succeed()

    assert (await orchestrator.ended(child)).status is child_status


async def test_a_terminated_parent_lets_its_child_be_cancelled(orchestrator: Orchestrator) -> None:
    child = await family(orchestrator)
    for link in orchestrator.hosts.links("p").values():
        link.on_cancel = lambda call: call.fail(failure_of(Cancelled(call.path)))

    await orchestrator.offered.controls.terminate("default", "e", "me", "")

    assert (await orchestrator.ended(child)).status is Status.CANCELLED


KEYED = f"""
name: keyed
concurrency: {{key: "${{input.tenant}}", on_conflict: RULE}}
steps: [{{id: x, {CALL}}}]
"""


async def keyed(orchestrator: Orchestrator, rule: str, *ids: str) -> None:
    for execution_id in ids:
        await orchestrator.start(KEYED.replace("RULE", rule), {"tenant": "t"}, execution_id=execution_id)


async def test_executions_with_one_key_run_one_after_the_other(orchestrator: Orchestrator) -> None:
    await keyed(orchestrator, "queue", "a", "b", "c")
    await orchestrator.start(KEYED.replace("RULE", "queue"), {"tenant": "other"}, execution_id="other")

    async def seen() -> list[str]:
        return [call.invocation.execution_id for call in orchestrator.hosts.calls]

    await orchestrator.hosts.call("x", execution_id="other")
    assert await seen() == ["a", "other"]
    explained = await orchestrator.executions.explain("default", "c")
    assert (explained.status, explained.blockers[0].reason) == (Status.QUEUED, "QUEUED")
    assert explained.blockers[0].message.startswith("2 executions")
    for execution_id in ("a", "b", "c"):
        await orchestrator.hosts.answer("x", execution_id=execution_id)
        assert (await orchestrator.ended(execution_id)).status is Status.SUCCEEDED

    assert orchestrator.offered.concurrency_slots.leaked() == 0


async def test_places_survive_a_crash_and_cannot_leak(database: Database, hosts: ScriptedHosts) -> None:
    first = orchestrator_over(await store_over(database), hosts)
    await keyed(first, "queue", "a", "b")

    second = orchestrator_over(await store_over(database), hosts)
    second.offered.concurrency_slots.load(await second.store.slots({SOLE}))
    await keyed(second, "queue", "c")
    await second.recovery.run()
    assert {call.invocation.execution_id for call in hosts.calls} == {"a"}
    await hosts.answer("x", attempt=2, execution_id="a")
    await hosts.answer("x", execution_id="b")
    await hosts.answer("x", execution_id="c")

    assert (await second.ended("c")).status is Status.SUCCEEDED
    assert await second.store.slots({SOLE}) == []


async def test_the_newest_may_take_the_place_of_the_oldest(orchestrator: Orchestrator) -> None:
    for link in orchestrator.hosts.links("p").values():
        link.on_cancel = lambda call: call.fail(failure_of(Cancelled(call.path)))
    await keyed(orchestrator, "cancel_in_progress", "a")
    await orchestrator.hosts.call("x", execution_id="a")
    await keyed(orchestrator, "cancel_in_progress", "b")

    assert (await orchestrator.ended("a")).status is Status.CANCELLED
    await orchestrator.hosts.answer("x", execution_id="b")

    assert (await orchestrator.ended("b")).status is Status.SUCCEEDED


async def test_the_newest_may_be_the_one_that_gives_way(orchestrator: Orchestrator) -> None:
    await keyed(orchestrator, "cancel_newest", "a", "b")

    refused = await orchestrator.ended("b")
    assert refused.status is Status.CANCELLED
    assert refused.failure is not None
    assert refused.failure.reason == "CONCURRENCY_EXCEEDED"
    await orchestrator.hosts.answer("x", execution_id="a")
    assert (await orchestrator.ended("a")).status is Status.SUCCEEDED


async def exported(orchestrator: Orchestrator) -> bytes:
    return b"".join([piece async for piece in orchestrator.offered.archives.export("default", "e")])


async def test_an_ended_execution_arrives_elsewhere_as_it_was(orchestrator: Orchestrator) -> None:
    await orchestrator.start(CHILD, {"n": 1})
    await orchestrator.hosts.answer("x", "y" * 400_000)
    before = await orchestrator.ended()

    after = await orchestrator.offered.archives.take_over("elsewhere", "", await exported(orchestrator))

    assert after.output == before.output
    row = await orchestrator.executions.row("elsewhere", "e")
    assert await orchestrator.store.events(row.key, 1, 100) == await orchestrator.history()
    assert len(orchestrator.hosts.calls) == 1


async def test_an_open_execution_arrives_paused_and_can_go_on(orchestrator: Orchestrator) -> None:
    await orchestrator.start(CHILD, {"n": 1})
    await orchestrator.hosts.call("x")

    after = await orchestrator.offered.archives.take_over("default", "copy", await exported(orchestrator))
    assert after.status is Status.PAUSED
    await orchestrator.offered.controls.resume("default", "copy", "", "me")
    await orchestrator.hosts.answer("x", [5], attempt=2, execution_id="copy")

    assert (await orchestrator.ended("copy")).output == Payload(b"[5]")


async def test_a_damaged_file_is_refused(orchestrator: Orchestrator) -> None:
    await orchestrator.start(CHILD, {"n": 1})
    await orchestrator.hosts.answer("x")
    await orchestrator.ended()
    data = bytearray(await exported(orchestrator))
    data[len(data) // 2] ^= 1

    with pytest.raises(DataCorrupted):
        await orchestrator.offered.archives.take_over("default", "copy", bytes(data))


def forged(data: bytes, change: Callable[[Archive], Archive]) -> bytes:
    """A file that fits its digest, though nobody has exported it so."""
    packing = ArchivePacking()
    return packing.pack(change(packing.unpack(data)))


def edited(archive: Archive, fact: e.Fact) -> Archive:
    """Its start, and this fact behind it."""
    return replace(archive, events=[archive.events[0], e.Event(2, archive.events[0].at, fact)])


@pytest.mark.parametrize(
    "change",
    [
        lambda archive: replace(archive, events=archive.events[1:]),
        lambda archive: replace(archive, events=[archive.events[0], *archive.events[2:]]),
        lambda archive: replace(archive, events=[e.Event(1, 10, e.CancelRequested("me"))]),
        lambda archive: replace(archive, source=CHILD.replace("id: x", "id: y").replace("steps.x", "steps.y")),
        lambda archive: edited(archive, e.ExecutionFailed(BROKEN, "RUNNING")),
        lambda archive: edited(archive, e.AttemptStarted("x:compensate", 1, Payload(b"1"))),
        lambda archive: edited(archive, e.AttemptStarted("x", 7, Payload(b"1"))),
        lambda archive: edited(archive, e.StopRequested("", BROKEN)),
        lambda archive: edited(archive, e.GroupStarted("x", ("a",))),
    ],
    ids=[
        *("without its start", "with a gap", "with another start", "with another definition"),
        *("with an end that is none", "with an undoing of nothing", "with an attempt that nobody made"),
        *("with a stop that stops nothing", "with branches of a call"),
    ],
)
async def test_a_file_that_nobody_exported_so_is_refused_and_leaves_nothing(
    orchestrator: Orchestrator, change: Callable[[Archive], Archive]
) -> None:
    await orchestrator.start(CHILD, {"n": 1})
    await orchestrator.hosts.answer("x")
    await orchestrator.ended()
    data = forged(await exported(orchestrator), change)

    with pytest.raises(DataCorrupted):
        await orchestrator.offered.archives.take_over("elsewhere", "copy", data)

    assert await orchestrator.store.find("elsewhere", "copy") is None
    assert await orchestrator.store.definition_names("elsewhere") == []


async def test_a_file_of_a_newer_format_and_an_id_that_exists_are_refused(orchestrator: Orchestrator) -> None:
    await orchestrator.start(CHILD, {"n": 1})
    data = await exported(orchestrator)
    newer = control_pb2.ExecutionArchive.FromString(data)
    newer.format_version = 2

    with pytest.raises(ArchiveUnreadable, match="has format 2, this release knows 1"):
        await orchestrator.offered.archives.take_over("elsewhere", "", newer.SerializeToString())
    with pytest.raises(ExecutionExists):
        await orchestrator.offered.archives.take_over("default", "", data)


async def test_nothing_has_to_be_saved_by_the_sweep(orchestrator: Orchestrator) -> None:
    await family(orchestrator)
    await keyed(orchestrator, "queue", "a", "b")
    sweep: Sweep = orchestrator.offered.sweep

    await sweep.run()

    assert (sweep.saved, sweep.leaked, len(orchestrator.offered.open_executions.suspended)) == (0, 0, 0)


async def test_progress_of_a_running_attempt_is_seen_and_counts(orchestrator: Orchestrator) -> None:
    await orchestrator.start(f"name: w\nsteps:\n  - {{id: a, {CALL}}}\n  - {{id: b, {CALL}}}")
    await orchestrator.hosts.answer("a")
    (await orchestrator.hosts.call("b")).progress(0.5, "half")

    view = orchestrator.executions.view(await orchestrator.executions.get("default", "e"))

    assert view.said == {"b": (0.5, "half")}
    assert view.progress == pytest.approx(0.75)
    assert view.expected_end > 0
    explained = await orchestrator.executions.explain("default", "e")
    assert "50% done: half" in explained.blockers[0].message


async def test_nothing_that_has_ended_stays_in_memory(orchestrator: Orchestrator) -> None:
    child = await family(orchestrator)
    await orchestrator.offered.controls.terminate("default", "e", "me", "")
    call = await orchestrator.hosts.call("x")
    call.fail(failure_of(Cancelled(call.path)))
    await orchestrator.ended(child)
    await orchestrator.start(CHILD, {"n": 1}, execution_id="done")
    await orchestrator.hosts.answer("x", [1], execution_id="done")
    await orchestrator.ended("done")
    data = b"".join([piece async for piece in orchestrator.offered.archives.export("default", "done")])
    await orchestrator.offered.archives.take_over("default", "copy", data)
    fork = StartRequest(namespace="default", workflow="", execution_id="fork", input=Payload(b"{}"))
    await orchestrator.offered.controls.fork(fork, "done", "", None, [], keep_signals=False)

    assert [running.state.execution_id for running in orchestrator.engine.all_running()] == []


async def test_a_start_whose_caller_goes_away_at_whatever_moment_leaks_no_place(orchestrator: Orchestrator) -> None:
    await keyed(orchestrator, "queue", "first")
    for moment in range(30):
        asked = StartRequest(
            namespace="default", workflow="keyed", execution_id=f"e-{moment}", input=Payload(b'{"tenant": "other"}')
        )
        start = asyncio.create_task(orchestrator.offered.starts.start(asked))
        for _ in range(moment):
            await asyncio.sleep(0)
        start.cancel()
        await asyncio.wait([start])

    await keyed(orchestrator, "queue", "last")
    assert orchestrator.offered.concurrency_slots.leaked() == 0


async def test_a_number_and_its_text_are_two_concurrency_keys(orchestrator: Orchestrator) -> None:
    for execution_id, tenant in (("a", 1), ("b", "1"), ("c", 1)):
        await orchestrator.start(KEYED.replace("RULE", "queue"), {"tenant": tenant}, execution_id=execution_id)

    assert (await orchestrator.executions.get("default", "a")).status is Status.RUNNING
    assert (await orchestrator.executions.get("default", "b")).status is Status.RUNNING
    assert (await orchestrator.executions.get("default", "c")).status is Status.QUEUED


@pytest.mark.parametrize("tenant", [None, "", [], "x" * 201])
async def test_a_key_that_is_none_is_refused_at_the_door(orchestrator: Orchestrator, tenant: object) -> None:
    with pytest.raises(ConcurrencyKeyInvalid):
        await orchestrator.start(KEYED.replace("RULE", "queue"), {"tenant": tenant}, execution_id="a")

    assert await orchestrator.store.find("default", "a") is None
    assert orchestrator.offered.concurrency_slots.leaked() == 0


async def test_keys_that_differ_late_do_not_meet(orchestrator: Orchestrator) -> None:
    long = "x" * 199
    for execution_id, tenant in (("a", f"{long}a"), ("b", f"{long}b")):
        source = KEYED.replace("RULE", "cancel_in_progress")
        await orchestrator.start(source, {"tenant": tenant}, execution_id=execution_id)

    assert (await orchestrator.executions.get("default", "a")).status is Status.RUNNING
