"""`forgemesh trace show`."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from forgemesh.api.traces.v1.trace_service_pb2 import GetTraceRequest, GetTraceResponse
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.cli.arguments import seconds
from forgemesh.cli.command_line import Given
from forgemesh.cli.progress import counted
from forgemesh.cli.selection import find_execution
from forgemesh.cli.service_address import service_address
from forgemesh.cli.table import joined
from forgemesh.cli.trace_arrival import expected, missing
from forgemesh.cli.trace_tree import glyphs_for, summary, trace_lines
from forgemesh.client import Client
from forgemesh.client.peer import Peer
from forgemesh.faults.tracing import TraceNotFound

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
    from forgemesh.cli.terminal import Terminal

_WIDTH = 120
_ARRIVAL = 3.0
"""Seconds that spans may take from the end of an execution until they are stored."""
_PERIOD = 0.1
_FRESH = 10.0
"""Seconds after which what most traces have, and this one has not, is not expected any more."""
_TRACE = re.compile(r"[0-9a-fA-F]{32}")


async def show(
    execution: str, /, *, minimum: Annotated[str | None, Parameter(name="--min")] = None, line: Given
) -> None:
    """
    Show the trace of an execution as a tree, from the caller through orchestrator and plugins.

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last; or the 32 digits of a trace, such as that of a call.
    minimum
        Leave out what took less, e.g. 5ms.
    """
    shortest = seconds(minimum, "--min") or 0.0
    async with Client.connect(line.address) as mesh:
        address = await service_address(mesh, "traces")
        known = _TRACE.fullmatch(execution) is not None
        found = None if known else await (await find_execution(mesh, execution, line.namespace)).describe()
    peer = Peer("traces", address)
    async with peer.channel() as channel:
        stored = TraceServiceStub(channel).GetTrace
        trace_id = found.trace_id if found else execution.lower()
        trace = await _settled(lambda: _whole(partial(peer.call, stored), trace_id), found)
    if line.terminal.json:
        line.terminal.message(trace)
        return
    _draw(trace, int(shortest * 1e9), line.terminal)
    line.terminal.talk(*_gaps(trace, found))


def _draw(trace: GetTraceResponse, minimum: int, terminal: Terminal) -> None:
    lines = trace_lines(
        trace.spans,
        width=shutil.get_terminal_size((_WIDTH, 0)).columns if terminal.is_seen() else _WIDTH,
        minimum=minimum,
        glyphs=glyphs_for(terminal.encoding),
        style=terminal.dress,
    )
    terminal.drawn(lines)
    facts = summary(trace.spans)
    terminal.talk(joined((f"trace {trace.trace_id}", counted(facts.spans, "span"), ", ".join(facts.services))))


async def _whole(ask: Callable[[GetTraceRequest], Awaitable[GetTraceResponse]], trace_id: str) -> GetTraceResponse:
    """All pages of the trace as one."""
    trace = await ask(GetTraceRequest(trace_id=trace_id))
    while trace.next_page_token:
        page = await ask(GetTraceRequest(trace_id=trace_id, page_token=trace.next_page_token))
        trace.spans.extend(page.spans)
        trace.next_page_token = page.next_page_token
    return trace


async def _settled(ask: Callable[[], Awaitable[GetTraceResponse]], execution: Execution | None) -> GetTraceResponse:
    """The trace, asked for again while spans of work that ended a moment ago may still be on their way."""
    since = 0.0 if execution is None else time.time() - _end(execution) / 1e9  # by two clocks, which may disagree
    until = time.monotonic() + min(_ARRIVAL, max(0.0, _ARRIVAL - since))
    while True:
        late = time.monotonic() >= until
        try:
            trace = await ask()
        except TraceNotFound:
            if late:
                raise
        else:
            if late or _is_whole(trace, execution):
                return trace
        await asyncio.sleep(_PERIOD)


def _end(execution: Execution) -> int:
    return execution.ended_at.ToNanoseconds() or execution.started_at.ToNanoseconds()


def _is_whole(trace: GetTraceResponse, execution: Execution | None) -> bool:
    """Whether nothing is missing that is known or likely to come; what goes on is as whole as it can be."""
    if execution is None:  # the plugin's span of a call comes after its caller's
        return len(trace.spans) > 1 and not summary(trace.spans).orphans
    if not execution.HasField("ended_at"):
        return True
    return not missing(trace.spans, execution) and not expected(trace.spans, execution)


def _gaps(trace: GetTraceResponse, execution: Execution | None) -> list[str]:
    """Why more may come, and what."""
    gaps = missing(trace.spans, execution)
    if execution is not None and not execution.HasField("ended_at"):
        return ["the execution goes on: what has not ended has no span yet"]
    if execution is not None and time.time() - _end(execution) / 1e9 < _FRESH:
        gaps += expected(trace.spans, execution)
    return [f"warning: this is not complete: {', '.join(gaps)} may still come; try again in a moment"] if gaps else []
