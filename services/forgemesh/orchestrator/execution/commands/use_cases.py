"""What the orchestrator offers, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forgemesh.orchestrator.execution.archives.archives import Archives, Packing
from forgemesh.orchestrator.execution.commands.bulk import Bulk
from forgemesh.orchestrator.execution.commands.controls import Controls
from forgemesh.orchestrator.execution.commands.forks import Forks
from forgemesh.orchestrator.execution.commands.starts import Starts
from forgemesh.orchestrator.execution.engine.awaited_ends import AwaitedEnds
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.ports import Store
from forgemesh.orchestrator.execution.engine.recovery import Recovery
from forgemesh.orchestrator.execution.engine.sweep import Sweep
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.queries.executions import Executions
from forgemesh.orchestrator.workflow.definitions import Definitions


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """One of each."""

    definitions: Definitions
    executions: Executions
    starts: Starts
    controls: Controls
    bulk: Bulk
    archives: Archives
    recovery: Recovery
    sweep: Sweep


def use_cases(
    store: Store,
    engine: Engine,
    definitions: Definitions,
    *,
    clock: Callable[[], int],
    checksum: Callable[[Event], int],
    packing: Packing,
) -> UseCases:
    """`checksum` is that of an event as the store keeps it."""
    executions = Executions(store, engine, definitions, clock, checksum)
    starts = Starts(store, engine, definitions, executions)
    recovery = Recovery(store, engine, definitions)
    forks, awaited_ends = Forks(store, engine, definitions), AwaitedEnds(store, engine, definitions)
    return UseCases(
        definitions=definitions,
        executions=executions,
        starts=starts,
        controls=Controls(store, engine, executions, starts, forks, awaited_ends, checksum),
        bulk=Bulk(store, starts),
        archives=Archives(store, engine, definitions, executions, packing),
        recovery=recovery,
        sweep=Sweep(store, engine, recovery, clock),
    )
