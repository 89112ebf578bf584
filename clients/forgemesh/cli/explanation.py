"""`forgemesh execution explain`: why an execution does not move, when it will, and what to do about it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from forgemesh.api.orchestrator.v1.execution_pb2 import EXECUTION_STATUS_PAUSED
from forgemesh.cli.command_line import Given
from forgemesh.cli.moment import ago, ahead
from forgemesh.cli.progress import cut
from forgemesh.cli.selection import find_execution
from forgemesh.cli.table import Table
from forgemesh.client import Client

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.control_pb2 import ExplainExecutionResponse, Hindrance

_WORDS = {
    "NOT_REGISTERED": "BLOCKED: no instance is registered",
    "NONE_HEALTHY": "BLOCKED: no instance is healthy",
    "CIRCUIT_OPEN": "BLOCKED: circuit open",
    "ALL_FULL": "BLOCKED: all instances are full",
    "PROCESS_FULL": "BLOCKED: the orchestrator is full",
    "RETRY_BUDGET_SPENT": "BLOCKED: enough retries are under way",
    "RUNNING": "runs",
    "BACKOFF": "waits for its next attempt",
    "TIMER": "waits for a moment",
    "SIGNAL": "waits for a signal",
    "CHILD": "waits for an execution",
    "INCIDENT": "waits for a person",
    "IN_DOUBT": "may have taken effect, waits for a person",
    "PAUSED": "",
    "QUEUED": "waits for a place under its concurrency key",
    "CONCURRENCY": "waits for its turn",
    "SUSPENDED": "suspended",
    "STOPPING": "is ending",
}
_REMEDIES = {
    "NOT_REGISTERED": "forgemesh plugin list",
    "NONE_HEALTHY": "forgemesh status",
    "CIRCUIT_OPEN": "forgemesh circuit list",
    "ALL_FULL": "start more instances",
    "PROCESS_FULL": "raise the orchestrator's max_in_flight",
    "RETRY_BUDGET_SPENT": "forgemesh policy set PLUGIN --retry-share SHARE",
    "CONCURRENCY": "raise the workflow's max_concurrency",
    "INCIDENT": "forgemesh execution resolve {execution} {step} --action retry|complete|fail",
    "IN_DOUBT": "forgemesh execution resolve {execution} {step} --action retry|complete|fail",
    "PAUSED": "forgemesh execution resume {execution}",
    "QUEUED": "forgemesh execution list --open",
    "STOPPING": "forgemesh execution terminate {execution}, if it must end now",
    "SUSPENDED": "forgemesh status",
}
_PEOPLE = frozenset({"INCIDENT", "IN_DOUBT", "PAUSED"})
_BY_ITSELF = "it goes on by itself"
_COMMAND = re.compile(r"`(forgemesh [^`]+)`")


async def explain(execution: str, /, *, line: Given) -> None:
    """
    Say why an execution does not move, when it will, and what to do about it.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last.
    """
    async with Client.connect(line.address) as mesh:
        found = await find_execution(mesh, execution, line.namespace)
        answer = await found.explain()
    if line.terminal.json:
        line.terminal.message(answer)
        return
    line.terminal.data(answer.summary)
    if answer.hindrances:
        line.terminal.data("")
        line.terminal.table(blockers(answer, found.id, time.time_ns()))


def blockers(answer: ExplainExecutionResponse, execution_id: str, now: int) -> Table:
    """A row for each thing that the execution waits for; `now` is Unix time in nanoseconds."""
    table = Table(("STEP", "WHY", "SINCE", "GOES ON", "WHAT TO DO"))
    paused = answer.status == EXECUTION_STATUS_PAUSED
    for one in answer.hindrances:
        table.add(
            one.step_path,
            _why(one),
            ago(one.since, now) if one.HasField("since") else "",
            _goes_on(one, paused, now),
            _remedy(one, execution_id),
        )
    return table


def _why(hindrance: Hindrance) -> str:
    """The reason and its cause, without the advice and without what stands under GOES ON."""
    causes = [part for part in hindrance.message.split("; ") if part != _BY_ITSELF and not _COMMAND.search(part)]
    where = f" on {hindrance.instance_id}" if hindrance.instance_id else ""
    words = _WORDS.get(hindrance.reason, hindrance.reason.lower().replace("_", " "))
    return ": ".join(part for part in (words + where, cut("; ".join(causes))) if part)


def _goes_on(hindrance: Hindrance, paused: bool, now: int) -> str:
    until = ahead(hindrance.until, now) if hindrance.HasField("until") else ""
    if hindrance.reason == "SIGNAL":
        return f"when it comes, or {until}" if until else "when it comes"
    if until:
        return until
    if paused and hindrance.step_path and hindrance.reason not in _PEOPLE:
        return "once it is resumed"
    if hindrance.reason == "CIRCUIT_OPEN":
        return "once a circuit lets it"
    return "when you say so" if hindrance.reason in _PEOPLE or _set_aside(hindrance) else "by itself"


def _set_aside(hindrance: Hindrance) -> bool:
    """Whether it is suspended for good: then the mesh advises a command."""
    return hindrance.reason == "SUSPENDED" and _COMMAND.search(hindrance.message) is not None


def _remedy(hindrance: Hindrance, execution_id: str) -> str:
    """The command to type; the mesh's own advice where there is no better one."""
    remedy = _REMEDIES.get(hindrance.reason, "")
    if remedy and not _set_aside(hindrance):
        return remedy.format(execution=execution_id, step=hindrance.step_path)
    advised = _COMMAND.search(hindrance.message)
    return advised[1] if advised else "nothing"
