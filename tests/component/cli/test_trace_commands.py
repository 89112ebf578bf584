"""`forgemesh trace show` against a trace that comes bit by bit."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, Step
from forgemesh.api.traces.v1 import trace_service_pb2 as pb
from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceServicer, add_TraceServiceServicer_to_server
from forgemesh.chassis.attributes import INSTANCE_ID, STEP_ATTEMPT, STEP_PATH
from forgemesh.chassis.server import Listen, serving
from forgemesh.cli import traces
from tests.component.cli.typed import Typed, typing
from tests.component.client.script import RUNNING, SUCCEEDED, Script

SERVICE = "forgemesh.api.traces.v1.TraceService"
TRACE = "ab" * 16
RUN = Span(trace_id=TRACE, span_id="01", name="run etl")
FETCH = Span(
    trace_id=TRACE,
    span_id="02",
    parent_span_id="01",
    name="fetch",
    kind="CLIENT",
    attributes={STEP_PATH: "fetch", STEP_ATTEMPT: "1", INSTANCE_ID: "p-1"},
)
PLUGIN = Span(trace_id=TRACE, span_id="03", parent_span_id="02", name="execute p/fetch", service="p")


@dataclass
class Ended(Script):
    """Its execution has tried `fetch`, and ended `ago` seconds ago if it has ended."""

    ago: float = 0.0

    def execution(self) -> Execution:
        found = super().execution()
        found.steps.append(Step(step_path="fetch", kind="call", attempts=1))
        if self.status == SUCCEEDED:
            found.ended_at.CopyFrom(Timestamp(seconds=int(time.time() - self.ago)))
        return found


@dataclass
class Traces(TraceServiceServicer):
    """Has `states` one after the other, each asked for once, and stays at the last one."""

    states: list[Sequence[Span]] = field(default_factory=list)

    async def GetTrace(self, request: Any, context: Any) -> pb.GetTraceResponse:
        spans = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return pb.GetTraceResponse(trace_id=TRACE, spans=spans)

    async def ListTraces(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@asynccontextmanager
async def traced(script: Script, *states: Sequence[Span]) -> AsyncIterator[Typed]:
    def add(server: grpc.aio.Server) -> None:
        add_TraceServiceServicer_to_server(Traces(list(states)), server)

    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", grace=0.0)
    async with serving(listen, (SERVICE,), add) as server:
        script.services = {"traces": server.address}
        async with typing(script) as typed:
            yield typed


async def test_a_trace_is_waited_for_until_all_of_it_has_come() -> None:
    async with traced(Ended(status=SUCCEEDED), [RUN], [RUN, FETCH], [RUN, FETCH, PLUGIN]) as typed:
        await traces.show("x1", line=typed.line())

    assert len(typed.rows) == 3
    assert "not complete" not in typed.err.getvalue()


async def test_a_trace_of_which_a_part_does_not_come_says_what_is_missing() -> None:
    async with traced(Ended(status=SUCCEEDED), [RUN, FETCH]) as typed:
        await traces.show("x1", line=typed.line())

    assert "this is not complete: what the plugins did in 1 call may still come" in typed.err.getvalue()


async def test_a_step_without_a_span_is_told_also_long_after_the_end() -> None:
    async with traced(Ended(status=SUCCEEDED, ago=3600.0), [RUN]) as typed:
        await traces.show("x1", line=typed.line())

    assert "this is not complete: 1 step such as fetch" in typed.err.getvalue()


async def test_long_after_the_end_a_plugin_without_spans_is_no_news() -> None:
    async with traced(Ended(status=SUCCEEDED, ago=3600.0), [RUN, FETCH]) as typed:
        await traces.show("x1", line=typed.line())

    assert "not complete" not in typed.err.getvalue()


async def test_an_execution_that_goes_on_says_that_its_trace_does_too() -> None:
    async with traced(Ended(status=RUNNING), [RUN]) as typed:
        await traces.show("x1", line=typed.line())

    assert "the execution goes on" in typed.err.getvalue()
