"""Stay with an execution until it has ended, and say how."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.foreign_text import printable
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.live import follow_events, follow_progress
from forgemesh.cli.problem import Problem
from forgemesh.client import ExecutionFailed, ExecutionHandle
from forgemesh.client.payload import decoded
from forgemesh.faults.workflow import PayloadUnreadable

if TYPE_CHECKING:
    from forgemesh.cli.terminal import Terminal


async def follow_to_end(
    execution: ExecutionHandle, terminal: Terminal, wait: float | None, *, events_as_data: bool = False
) -> None:
    """
    Tell its progress, then print its result; waits at most `wait` seconds.

    With `events_as_data` the data is the events, a line of JSON each. Raises Problem if it failed or the time ran
    out. When interrupted it says that the execution goes on.
    """
    follow = follow_events if events_as_data else follow_progress
    try:
        async with asyncio.timeout(wait):
            progress = await follow(execution.watch(), terminal)
            result = await execution.result()
    except TimeoutError as error:
        raise still_open(execution.id, wait or 0.0) from error
    except asyncio.CancelledError:
        terminal.talk("", f"detached: execution {execution.id} goes on; forgemesh execution watch {execution.id}")
        raise
    except ExecutionFailed as failed:
        terminal.talk(f"✗ {progress.summary()}")
        raise problem_of_failure(failed) from failed
    except PayloadUnreadable:
        terminal.talk(f"✓ {progress.summary()}")
        show_bytes(execution.last_seen.output, terminal)
        raise
    terminal.talk(f"✓ {progress.summary()} · {_trace_command(execution.id)}")
    if not events_as_data:
        show_result(result, terminal)


def show_result(result: Any, terminal: Terminal) -> None:
    """The result as data: JSON, indented on a terminal; what is not JSON as its message, data in base64."""
    if isinstance(result, Payload):
        terminal.message(result)
        return
    text = msgspec.json.encode(result)
    if terminal.is_seen():
        text = msgspec.json.format(text, indent=2)
    terminal.encoded(text.decode())


def show_output(payload: Payload, terminal: Terminal) -> None:
    """What is kept as an output, as data; what cannot be read stands there as it is, escaped, and why."""
    try:
        show_result(decoded(payload), terminal)
    except PayloadUnreadable as fault:
        terminal.talk(fault.message)
        show_bytes(payload, terminal)


def show_bytes(payload: Payload, terminal: Terminal) -> None:
    """What cannot be read, as its message for programs and escaped for people."""
    if terminal.json:
        terminal.message(payload)
    else:
        terminal.data(escaped(payload))


def escaped(payload: Payload) -> str:
    """Bytes as text on one line; what is no text, or does not belong on a terminal, as escapes."""
    return printable(payload.data.decode(errors="backslashreplace"))


def say_started(execution: ExecutionHandle, terminal: Terminal) -> None:
    """Its id as data, and how to follow it."""
    if terminal.json:
        run = {"run_id": execution.run_id} if execution.run_id else {}
        terminal.value({"execution_id": execution.id, **run, "trace_id": execution.trace_id})
        return
    terminal.data(execution.id)
    terminal.talk(f"started; see it with: forgemesh execution watch {execution.id}")


def problem_of_failure(failed: ExecutionFailed) -> Problem:
    """How an execution ended that did not end well, with the command that shows where it came from."""
    place = f" at {failed.step_path}" if failed.step_path else ""
    left = [f"not undone: {', '.join(failed.left_to_do)}"] if failed.left_to_do else []
    return Problem(
        ExitCode.FAILED,
        f"execution {failed.execution_id} {failed.how}{place}",
        reason=failed.reason,
        code=failed.code.name,
        details=[f"{failed.reason}: {failed.message}", *left],
        hint=_trace_command(failed.execution_id),
    )


def still_open(execution_id: str, seconds: float) -> Problem:
    """The time to wait ran out."""
    return Problem(
        ExitCode.TIMED_OUT,
        f"execution {execution_id} still runs after {seconds:g} s; it goes on",
        reason="WAIT_TIMEOUT",
        code="DEADLINE_EXCEEDED",
        hint=f"forgemesh execution watch {execution_id}",
    )


def _trace_command(execution_id: str) -> str:
    return f"forgemesh trace show {execution_id}"
