"""One byte of the orchestrator's database changed: what it shows is either what it was, or a refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from forgemesh.chassis.database import open_database
from forgemesh.faults import Code
from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.adapters.store.schema import MIGRATIONS
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.failure import Failure
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.state import StepStatus
from forgemesh.orchestrator.ports import ExecutionFilter, ExecutionOrder
from tests.component.orchestrator.byteflips import crashed_copy, flipped_copies, seed_of_run
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

FLIPS = 200
CALL = "call: {plugin: p, operation: o}"
SOURCES = {
    "done": f"name: done\nsteps: [{{id: a, {CALL}}}]\noutput: '${{steps.a.output}}'",
    "failed": f"name: failed\nsteps: [{{id: a, {CALL}}}]",
    "incident": f"name: incident\nsteps: [{{id: a, {CALL}, on_exhausted: incident}}]",
    "waiting": "name: waiting\nsteps: [{id: a, wait: {signal: go}}]",
    "paused": f"name: paused\nsteps: [{{id: a, wait: {{for: 1h}}}}, {{id: b, {CALL}}}]",
    "queued": f"name: queued\nconcurrency: {{key: k}}\nsteps: [{{id: a, {CALL}}}]",
}
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")


async def fill(orchestrator: Orchestrator) -> None:
    """Executions in every kind of state."""
    hosts = orchestrator.hosts
    for number in range(3):
        await orchestrator.start(SOURCES["done"], execution_id=f"done-{number}")
        await hosts.answer("a", "x" * 300_000 if number == 2 else number, execution_id=f"done-{number}")
    for name in ("failed", "incident"):
        await orchestrator.start(SOURCES[name], execution_id=name)
        (await hosts.call("a", execution_id=name)).fail(BROKEN)
    await orchestrator.until(lambda state: state.steps["a"].status is StepStatus.INCIDENT, "incident")
    for name in ("waiting", "paused"):
        await orchestrator.start(SOURCES[name], execution_id=name)
    await orchestrator.offered.controls.pause("default", "paused", e.PauseRequested())
    for number in range(2):
        await orchestrator.start(SOURCES["queued"], execution_id=f"queued-{number}")
    await orchestrator.store.keep_result(b"k" * 32, "1.0.0", Payload(b"[1]"), 1 << 60)


async def everything(path: Path) -> object:
    """All that anybody can ask of a database, asked."""
    async with open_database(path, MIGRATIONS) as database:
        store = await store_over(database)
        page = await store.executions(ExecutionFilter(namespace="default"), ExecutionOrder.STARTED_ASCENDING, "", 1_000)
        executions = orchestrator_over(store, ScriptedHosts(), store.epoch).executions
        return (
            page.rows,
            [await store.find("default", row.execution_id) for row in page.rows],
            [await store.events(row.key, 1, 1_000) for row in page.rows],
            [(await executions.get("default", row.execution_id)).status for row in page.rows],
            await store.open_executions(),
            await store.slots(),
            await store.count_open(),
            [(one.definition.content_hash, one.created_at) for one in await store.definitions("default", "")],
            await store.cached(b"k" * 32, 1),
            await store.spans_sent(),
            await store.executions_after(0),
        )


@pytest.mark.timeout(300)
async def test_a_changed_byte_never_changes_what_is_shown(tmp_path: Path) -> None:
    seed = seed_of_run()
    live = tmp_path / "live"
    hosts = ScriptedHosts()
    hosts.show("p", endpoint("i-1"))
    async with open_database(live / "orchestrator.db", MIGRATIONS) as database:
        store = await store_over(database)
        await fill(orchestrator_over(store, hosts, store.epoch))
        left = crashed_copy(live, tmp_path / "left")
    whole = crashed_copy(left, tmp_path / "whole")
    expected = await everything(whole / "orchestrator.db")
    shutil.rmtree(whole)
    refused = 0
    for flip, copy in flipped_copies(left, tmp_path / "flipped", seed, FLIPS):
        try:
            shown = await everything(copy / "orchestrator.db")
        except DataCorrupted as corrupted:
            shown = corrupted.message
        if isinstance(shown, str):
            refused += 1
        named = isinstance(shown, str) and 'see "Damaged data" in docs/operations.md' in shown

        assert named or shown == expected, flip

    print(f"{refused} of {FLIPS} refused, the others made no difference")
    assert refused > FLIPS / 4
