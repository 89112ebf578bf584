"""`forgemesh execution show`: one execution on one page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, Step, StepStatus
from forgemesh.cli.command_line import Given
from forgemesh.cli.executions import note, took
from forgemesh.cli.follow import escaped, show_output
from forgemesh.cli.iteration_steps import (
    ITERATED,
    LONGEST_HISTORY,
    MOST_STEPS,
    chosen,
    has_iterations,
    iteration_steps,
)
from forgemesh.cli.moment import ahead, moment
from forgemesh.cli.progress import cut, duration, short
from forgemesh.cli.selection import find_execution
from forgemesh.cli.table import Table, joined, word
from forgemesh.cli.trace_tree import glyphs_for
from forgemesh.client import Client, ExecutionHandle, Status
from forgemesh.client.payload import decoded
from forgemesh.faults.workflow import PayloadUnreadable

if TYPE_CHECKING:
    from forgemesh.api.payload.v1.payload_pb2 import Payload

_BAR = 20
_LABEL = 10
_WAITS_FOR_A_PERSON = (StepStatus.STEP_STATUS_INCIDENT, StepStatus.STEP_STATUS_IN_DOUBT)


async def show(execution: str, /, *, line: Given) -> None:
    """
    Show one execution and its steps.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last.
    """
    async with Client.connect(line.address) as mesh:
        handle = await find_execution(mesh, execution, line.namespace)
        found = await handle.describe()
        inside = [] if line.terminal.json else await _inside(handle, found)
    if line.terminal.json:
        line.terminal.message(found)
        return
    for name, value in facts(found, time.time_ns(), line.terminal.encoding):
        line.terminal.data(f"{name:<{_LABEL}} {value}")
    line.terminal.data("")
    line.terminal.table(steps(found, time.time_ns(), chosen(inside)))
    if len(inside) > MOST_STEPS or _is_too_long(found):
        line.terminal.talk(f"not all steps of iterations are listed: forgemesh execution watch {found.execution_id}")
    if Status.of(found) is Status.SUCCEEDED:
        line.terminal.data("")
        show_output(found.output, line.terminal)
    line.terminal.talk(*next_commands(found))


async def _inside(handle: ExecutionHandle, execution: Execution) -> list[Step]:
    wanted = has_iterations(execution) and not _is_too_long(execution)
    return await iteration_steps(handle, execution) if wanted else []


def _is_too_long(execution: Execution) -> bool:
    return has_iterations(execution) and execution.sequence > LONGEST_HISTORY


def facts(execution: Execution, now: int, encoding: str | None = "utf-8") -> Iterator[tuple[str, str]]:
    """What there is to say about the execution as a whole; `now` is Unix time in nanoseconds."""
    yield "execution", execution.execution_id
    if execution.run_id:
        yield "run", execution.run_id
    yield "workflow", f"{execution.workflow} {execution.workflow_version}"
    yield "status", joined((str(Status.of(execution)), note(execution)))
    yield "started", moment(execution.started_at)
    if execution.HasField("ended_at"):
        yield "took", took(execution)
    else:
        yield from _outlook(execution, now, encoding)
    yield from _circumstances(execution)
    yield "trace", execution.trace_id
    if execution.HasField("failure"):
        place = f" (at {execution.failure.step_path})" if execution.failure.step_path else ""
        yield "failure", f"{execution.failure.reason}: {execution.failure.message}{place}"
    if execution.left_to_do:
        yield "not undone", ", ".join(execution.left_to_do)
    for path in sorted(execution.handed_over):
        yield "handed over", f"the effect of {path} to {execution.handed_over[path]}"
    for name in sorted(execution.variables):
        yield "variable", f"{name} = {_brief(execution.variables[name])}"


def _outlook(execution: Execution, now: int, encoding: str | None) -> Iterator[tuple[str, str]]:
    glyphs = glyphs_for(encoding)
    filled = int(execution.progress * _BAR)
    bar = glyphs.working * filled + glyphs.waiting * (_BAR - filled)
    end = f"ends {ahead(execution.expected_end, now)}, if it goes on so" if execution.HasField("expected_end") else ""
    yield "progress", joined((f"{bar} {execution.progress:.0%}", end))
    if execution.HasField("deadline"):
        yield "deadline", f"{moment(execution.deadline)} ({ahead(execution.deadline, now)})"


def _circumstances(execution: Execution) -> Iterator[tuple[str, str]]:
    """What is only said where it is out of the ordinary."""
    if execution.priority:
        yield "priority", str(execution.priority)
    if execution.concurrency_key:
        yield "key", execution.concurrency_key
    origin = execution.origin
    if origin.parent_execution_id:
        yield (
            "parent",
            f"{_of_run(origin.parent_execution_id, origin.parent_run_id)}, its step {origin.parent_step_path}",
        )
    if origin.forked_from:
        yield (
            "fork of",
            f"{_of_run(origin.forked_from, origin.forked_run_id)}, its first {origin.forked_sequence} events",
        )
    if origin.schedule_id:
        yield "schedule", origin.schedule_id


def _of_run(execution_id: str, run_id: str) -> str:
    return f"{execution_id}@{run_id}" if run_id else execution_id


def steps(execution: Execution, now: int, inside: Sequence[Step] = ()) -> Table:
    """A row for each step; those `inside` iterations stand after their map or loop."""
    table = Table(("STEP", "KIND", "STATUS", "ATTEMPTS", "INSTANCE", "TOOK", "WHY"))
    for step in _in_order(execution.steps, inside):
        length = step.ended_at.ToNanoseconds() - step.began_at.ToNanoseconds() if step.HasField("ended_at") else None
        table.add(
            step.step_path,
            step.kind,
            word(StepStatus.Name(step.status), "STEP_STATUS_"),
            step.attempts or "",
            step.instance_id,
            "" if length is None else duration(length),
            why(step, now),
        )
    return table


def _in_order(listed: Iterable[Step], inside: Sequence[Step]) -> Iterator[Step]:
    left = list(inside)
    for step in listed:
        yield step
        below = [one for one in left if step.kind in ITERATED and one.step_path.startswith(f"{step.step_path}/")]
        left = [one for one in left if one not in below]
        yield from below
    yield from left


def why(step: Step, now: int) -> str:
    """What there is to say about a step beside its status."""
    blocked = f"{step.blocked_reason}: {step.blocked_message}" if step.blocked_message else step.blocked_reason
    count = f"{step.branches_succeeded} of {step.branches} done" if step.branches else ""
    return joined(
        (
            blocked,
            joined(
                (
                    count,
                    f"{step.branches_failed} failed" if step.branches_failed else "",
                    f"{step.branches_skipped} skipped" if step.branches_skipped else "",
                )
            ),
            f"skipped: {step.skipped_reason}" if step.skipped_reason else "",
            "taken over" if step.taken else "",
            f"its effect is that of {step.effect_owner}" if step.effect_owner else "",
            f"execution {step.child_execution_id}" if step.child_execution_id else "",
            f"{step.progress:.0%} {step.progress_note}".rstrip() if step.progress else "",
            _waits(step, now),
            short(step.failure) if step.HasField("failure") and not blocked else "",
        )
    )


def _waits(step: Step, now: int) -> str:
    if step.status != StepStatus.STEP_STATUS_WAITING:
        return ""
    if step.HasField("next_attempt_at"):
        return f"next attempt {ahead(step.next_attempt_at, now)}"
    until = f"until {moment(step.waits_until)} ({ahead(step.waits_until, now)})" if step.HasField("waits_until") else ""
    signal = f"for signal {step.waits_for_signal}" if step.waits_for_signal else ""
    return joined((signal, until))


def next_commands(execution: Execution) -> list[str]:
    """What people may want to type next, one a line; nothing for an execution that goes its way."""
    name, status = execution.execution_id, Status.of(execution)
    waiting = [step for step in execution.steps if step.status in _WAITS_FOR_A_PERSON]
    lines = [
        f"step {step.step_path} waits for a person; decide with: forgemesh execution resolve {name}"
        f" {shlex.quote(step.step_path)} --action retry|complete|fail"
        for step in waiting
    ]
    lines += [
        f"step {step.step_path} waits for a signal; send it with: forgemesh execution signal {name}"
        f" {step.waits_for_signal}"
        for step in execution.steps
        if step.waits_for_signal and step.status == StepStatus.STEP_STATUS_WAITING
    ]
    if status is Status.PAUSED:
        lines.append(f"let it go on with: forgemesh execution resume {name}")
    elif not status.final and not waiting:
        lines.append(f"see what it waits for: forgemesh execution explain {name}")
    elif status.final and status is not Status.SUCCEEDED:
        lines.append(f"see where it came from: forgemesh trace show {name}")
    return lines


def _brief(payload: Payload) -> str:
    """A value on one line."""
    try:
        value = decoded(payload)
    except PayloadUnreadable:
        return cut(escaped(payload))
    if value is payload:
        return f"{payload.media_type}, {len(payload.data)} bytes"
    return cut(msgspec.json.encode(value).decode())
