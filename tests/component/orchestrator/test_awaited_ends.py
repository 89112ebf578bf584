"""A child that has ended is not forgotten, and not mistaken, before its parent has taken its end up."""

import pytest

from forgemesh.faults.control import ExecutionState
from forgemesh.orchestrator.execution.engine.retention import Retention
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import Status
from tests.component.orchestrator.hosts import ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, database_at, orchestrator_over, store_over
from tests.component.orchestrator.parents import CHILD, PARENT, child_of, registered


async def awaited(orchestrator: Orchestrator) -> str:
    """The child of "e" has ended, and nobody runs "e" at that moment."""
    await registered(orchestrator, CHILD)
    await orchestrator.start(PARENT.replace("CLOSE", "cancel"))
    child = await child_of(orchestrator)
    call = await orchestrator.hosts.call("x", execution_id=child)
    parent = orchestrator.offered.owners.local("default", "e")
    assert parent is not None
    orchestrator.engine.forsake(parent, haste=False)
    call.succeed([7])
    await orchestrator.ended(child)
    return child


async def answered(orchestrator: Orchestrator) -> tuple[Status, bytes, int]:
    """How "e" has ended, with which output, and how often its child's step was called."""
    await orchestrator.recovery.run()
    state = await orchestrator.ended()
    return state.status, state.output.data if state.output is not None else b"", len(orchestrator.hosts.calls)


async def test_a_child_is_not_deleted_before_its_parent_knows_of_its_end(orchestrator: Orchestrator) -> None:
    child = await awaited(orchestrator)

    with pytest.raises(ExecutionState, match="'e' waits for its end"):
        await orchestrator.offered.controls.delete("default", child)

    assert await answered(orchestrator) == (Status.SUCCEEDED, b"[7]", 1)
    assert await orchestrator.offered.controls.delete("default", child)


async def test_a_child_is_deleted_although_its_parent_goes_on(orchestrator: Orchestrator) -> None:
    await registered(orchestrator, CHILD)
    await orchestrator.start(f"{PARENT.replace('CLOSE', 'cancel')}".replace("}]", "}, {id: w, wait: {signal: go}}]"))
    child = await child_of(orchestrator)
    await orchestrator.hosts.answer("x", [7], execution_id=child)
    await orchestrator.until(lambda state: "w" in state.steps)

    assert await orchestrator.offered.controls.delete("default", child)

    assert await orchestrator.store.find("default", child) is None


async def test_a_child_of_a_parent_that_has_ended_is_deleted(orchestrator: Orchestrator) -> None:
    child = await awaited(orchestrator)
    await orchestrator.offered.controls.terminate("default", "e", "", "")

    assert await orchestrator.offered.controls.delete("default", child)


async def test_a_child_whose_id_is_used_again_before_its_parent_knows_of_its_end_answers_it(
    orchestrator: Orchestrator,
) -> None:
    child = await awaited(orchestrator)
    await orchestrator.start(CHILD, execution_id=child, reuse=IdReuse.ALLOW_DUPLICATE)
    await orchestrator.hosts.call("x", execution_id=child)

    assert await answered(orchestrator) == (Status.SUCCEEDED, b"[7]", 2)


async def test_an_execution_that_has_the_id_of_a_child_is_none(orchestrator: Orchestrator) -> None:
    child = await awaited(orchestrator)
    await orchestrator.offered.controls.terminate("default", "e", "", "")
    await orchestrator.offered.controls.delete("default", child)
    await orchestrator.start(CHILD, execution_id=child)

    assert (await orchestrator.executions.get("default", child)).status is Status.RUNNING


async def exported(orchestrator: Orchestrator, execution_id: str) -> bytes:
    return b"".join([piece async for piece in orchestrator.offered.archives.export("default", execution_id)])


async def test_an_imported_child_is_kept_as_long_as_its_imported_parent_is_open(
    orchestrator: Orchestrator, hosts: ScriptedHosts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    child = await awaited(orchestrator)
    files = {name: await exported(orchestrator, name) for name in ("e", child)}
    async with database_at(tmp_path_factory.mktemp("elsewhere") / "orchestrator.db") as there:
        elsewhere = orchestrator_over(await store_over(there), hosts)
        await registered(elsewhere, CHILD)
        for name, file in files.items():
            await elsewhere.offered.archives.take_over("default", name, file)

        await Retention(elsewhere.store, elsewhere.store.shard, lambda: 1 << 62, 1.0, 0).run()
        with pytest.raises(ExecutionState, match="'e' waits for its end"):
            await elsewhere.offered.controls.delete("default", child)
        await elsewhere.offered.controls.resume("default", "e", "", "")

        assert await answered(elsewhere) == (Status.SUCCEEDED, b"[7]", 1)
        await elsewhere.engine.stop(0)


async def test_a_copy_of_a_parent_does_not_take_the_child_of_the_original(orchestrator: Orchestrator) -> None:
    child = await awaited(orchestrator)
    await orchestrator.start(CHILD, execution_id=child, reuse=IdReuse.ALLOW_DUPLICATE)
    await orchestrator.hosts.call("x", execution_id=child)
    await orchestrator.offered.controls.terminate("default", child, "", "")
    await orchestrator.offered.controls.delete("default", child)
    await orchestrator.offered.archives.take_over("default", "copy", await exported(orchestrator, "e"))

    await orchestrator.offered.controls.resume("default", "copy", "", "")

    await orchestrator.hosts.until(lambda: len(orchestrator.hosts.calls) == 3)
    assert (await orchestrator.executions.get("default", "copy")).status is Status.RUNNING
