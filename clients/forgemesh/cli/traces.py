"""`forgemesh trace show|list`."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.traces.v1.trace_service_pb2 import (
    GetTraceRequest,
    GetTraceResponse,
    ListTracesRequest,
    TraceSummary,
)
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.cli.arguments import seconds
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.critical_path import critical_path
from forgemesh.cli.moment import moment
from forgemesh.cli.problem import usage
from forgemesh.cli.progress import counted, duration
from forgemesh.cli.selection import find_execution
from forgemesh.cli.service_address import service_address
from forgemesh.cli.table import Table, joined
from forgemesh.cli.terminal import as_values
from forgemesh.cli.trace_arrival import expected, missing
from forgemesh.cli.trace_tree import glyphs_for, is_failed, iteration_of, summary, trace_lines
from forgemesh.client import Client
from forgemesh.client.peer import Peer
from forgemesh.faults.tracing import TraceNotFound

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
    from forgemesh.api.traces.v1.span_pb2 import Span
    from forgemesh.cli.terminal import Terminal

_WIDTH = 120
_ARRIVAL = 3.0
"""Seconds that spans may take from the end of an execution until they are stored."""
_PERIOD = 0.1
_FRESH = 10.0
"""Seconds after which what most traces have, and this one has not, is not expected any more."""
_PAGE = 500
_MOST_DECISIVE = 3
_TRACE = re.compile(r"[0-9a-fA-F]{32}")


async def show(
    execution: str,
    /,
    *,
    minimum: Annotated[str | None, Parameter(name="--min")] = None,
    errors: Annotated[bool, switch()] = False,
    critical: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Show the trace of an execution as a tree, from the caller through orchestrator and plugins.

    Examples:

        forgemesh trace show @last --errors

        forgemesh trace show 01m835g3 --critical --min 5ms

    Parameters
    ----------
    execution
        Its id, a unique beginning of it, ID@RUN, or @last; or the 32 digits of a trace, such as that of a call.
    minimum
        Leave out what took less, e.g. 5ms.
    errors
        Only what failed, and what leads to it.
    critical
        Only what decided how long it took: without these it would have ended earlier.
    """
    shortest = seconds(minimum, "--min") or 0.0
    trace, found = await trace_of(execution, line)
    if line.terminal.json:
        line.terminal.message(trace)
        return
    path = critical_path(trace.spans) if critical else None

    def only(span: Span) -> bool:
        return (not errors or is_failed(span)) and (path is None or span.span_id in path)

    _draw(trace, int(shortest * 1e9), only, line.terminal)
    if errors and not any(map(is_failed, trace.spans)):
        line.terminal.talk("nothing failed in this trace")
    if path is not None:
        line.terminal.talk(*_decisive(trace.spans, path))
    line.terminal.talk(*_gaps(trace, found))


async def list_(*, errors: Annotated[bool, switch()] = False, limit: int = 20, line: Given) -> None:
    """
    List the newest traces.

    Parameters
    ----------
    errors
        Only those in which something failed.
    limit
        At most so many.
    """
    if limit < 1:
        raise usage(f"--limit {limit} lists nothing", hint="take a number from 1")
    async with Client.connect(line.address) as mesh:
        address = await service_address(mesh, "traces")
    peer, found = Peer("traces", address), list[TraceSummary]()
    async with peer.channel() as channel:
        stored, request = TraceServiceStub(channel).ListTraces, ListTracesRequest(page_size=min(limit, _PAGE))
        while True:
            page = await peer.call(stored, request)
            found += [one for one in page.traces if one.errors or not errors]
            if len(found) >= limit or not page.next_page_token:
                break
            request.page_token = page.next_page_token
    del found[limit:]
    if line.terminal.json:
        line.terminal.value(as_values({"traces": found}))
        return
    if not found:
        none = "no trace with an error" if errors else "no traces; start something with: forgemesh run FILE"
        line.terminal.talk(none)
        return
    table = Table(("TRACE", "EXECUTION", "NAME", "STARTED", "TOOK", "SPANS", "ERRORS"))
    for one in found:
        started = Timestamp()
        started.FromNanoseconds(one.start_unix_nano)
        took = duration(one.end_unix_nano - one.start_unix_nano)
        counts = (str(one.spans), str(one.errors) if one.errors else "")
        table.add(one.trace_id, one.execution_id, one.name, moment(started), took, *counts)
    line.terminal.table(table)


async def trace_of(
    execution: str, line: CommandLine, *, as_sent: bool = False
) -> tuple[GetTraceResponse, Execution | None]:
    """A trace once it is whole, as far as that can be told, by its id or that of its execution, which is told too."""
    async with Client.connect(line.address) as mesh:
        address = await service_address(mesh, "traces")
        known = _TRACE.fullmatch(execution) is not None
        found = None if known else await (await find_execution(mesh, execution, line.namespace)).describe()
    peer = Peer("traces", address)
    async with peer.channel() as channel:
        ask = partial(peer.call, TraceServiceStub(channel).GetTrace)
        trace_id = found.trace_id if found else execution.lower()
        trace = await _settled(lambda: _whole(ask, trace_id), found)
        if as_sent:
            trace.sent.extend((await _whole(ask, trace_id, as_sent=True)).sent)
    return trace, found


def _decisive(spans: Sequence[Span], path: Mapping[str, int]) -> list[str]:
    """Where most of the time went, by the spans in whose own time it did."""
    names = {span.span_id: span.name + iteration_of(span) for span in spans}
    total = sum(path.values()) or 1
    first = sorted(path.items(), key=lambda item: -item[1])[:_MOST_DECISIVE]
    shares = [f"{names[span_id]} {duration(own)} ({own * 100 // total} %)" for span_id, own in first if own]
    return [f"most of it: {', '.join(shares)}"] if shares else []


def _draw(trace: GetTraceResponse, minimum: int, only: Callable[[Span], bool], terminal: Terminal) -> None:
    lines = trace_lines(
        trace.spans,
        width=shutil.get_terminal_size((_WIDTH, 0)).columns if terminal.is_seen() else _WIDTH,
        minimum=minimum,
        only=only,
        glyphs=glyphs_for(terminal.encoding),
        style=terminal.dress,
    )
    terminal.drawn(lines)
    facts = summary(trace.spans)
    terminal.talk(joined((f"trace {trace.trace_id}", counted(facts.spans, "span"), ", ".join(facts.services))))


async def _whole(
    ask: Callable[[GetTraceRequest], Awaitable[GetTraceResponse]], trace_id: str, *, as_sent: bool = False
) -> GetTraceResponse:
    """All pages of the trace as one."""
    trace = await ask(GetTraceRequest(trace_id=trace_id, as_sent=as_sent))
    while trace.next_page_token:
        page = await ask(GetTraceRequest(trace_id=trace_id, page_token=trace.next_page_token, as_sent=as_sent))
        trace.spans.extend(page.spans)
        trace.sent.extend(page.sent)
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
