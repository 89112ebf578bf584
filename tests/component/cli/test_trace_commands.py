"""`forgemesh trace`: a trace that comes bit by bit, what is drawn of one, and traces that leave and come."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, Step
from forgemesh.api.traces.v1 import trace_service_pb2 as pb
from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceServicer, add_TraceServiceServicer_to_server
from forgemesh.chassis.attributes import INSTANCE_ID, STEP_ATTEMPT, STEP_PATH
from forgemesh.chassis.channel import connect
from forgemesh.chassis.server import Listen, serving
from forgemesh.cli import trace_export, traces
from forgemesh.cli.problem import Problem
from forgemesh.traces.main import serving_traces
from forgemesh.traces.settings import TracesSettings
from tests.component.cli.typed import Typed, typing
from tests.component.client.script import RUNNING, SUCCEEDED, Script
from tests.component.traces.conftest import TraceStore
from tests.unit.traces import otlp

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
async def stored(folder: Path) -> AsyncIterator[tuple[Typed, TraceStore]]:
    """A command line that leads to a real trace store, and that store."""
    settings = TracesSettings(listen="127.0.0.1:0", health_listen="127.0.0.1:0", database=folder / "traces.db")
    async with (
        serving_traces(settings) as server,
        connect(server.address) as channel,
        typing(Script(services={"traces": server.address})) as typed,
    ):
        yield typed, TraceStore(server.address, channel)


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


async def many(store: TraceStore) -> None:
    """A trace of three spans, in which the last one failed, and another one."""
    work = otlp.span(1, 2, 1, name="quick", start=5, length=2, attributes={"n": 2**60})
    bad = otlp.span(1, 3, 1, name="slow", start=8, length=90, failed=True)
    await store.export(otlp.span(1, 1, name="run etl", length=100, execution="x1"), work, bad)
    await store.export(otlp.span(2, 1, name="other", start=1000), sender=otlp.resource("p", "p-1"))


TRACE_1, TRACE_2 = otlp.trace_id(1).hex(), otlp.trace_id(2).hex()


async def test_traces_are_listed_newest_first_and_those_with_errors_alone(tmp_path: Path) -> None:
    async with stored(tmp_path) as (typed, store):
        await many(store)
        await traces.list_(line=typed.line())
        first = [row[0] for row in typed.rows]
        typed.out.truncate(0)
        typed.out.seek(0)
        await traces.list_(errors=True, limit=1, line=typed.line(json=True))

    assert first == ["TRACE", TRACE_2, TRACE_1]
    assert [(one["trace_id"], one["execution_id"], one["errors"]) for one in typed.value["traces"]] == [
        (TRACE_1, "x1", 1)
    ]


async def test_an_empty_store_says_what_to_type(tmp_path: Path) -> None:
    async with stored(tmp_path) as (typed, _):
        await traces.list_(line=typed.line())

    assert typed.talk == ["no traces; start something with: forgemesh run FILE"]


async def test_only_what_failed_and_what_leads_to_it_is_drawn(tmp_path: Path) -> None:
    async with stored(tmp_path) as (typed, store):
        await many(store)
        await traces.show(TRACE_1, errors=True, line=typed.line())

    assert [name for name in ("run etl", "quick", "slow") if name in typed.out.getvalue()] == ["run etl", "slow"]
    assert "(1 span hidden)" in typed.out.getvalue()


async def test_only_what_decided_is_drawn_with_where_the_time_went(tmp_path: Path) -> None:
    async with stored(tmp_path) as (typed, store):
        await many(store)
        await store.export(otlp.span(1, 4, 1, name="beside", start=10, length=20))
        await traces.show(TRACE_1, critical=True, line=typed.line())

    assert [name for name in ("quick", "slow", "beside") if name in typed.out.getvalue()] == ["quick", "slow"]
    assert any(line.startswith("most of it: slow 90 ms (90 %)") for line in typed.talk), typed.talk


async def test_a_trace_goes_to_another_store_with_all_that_was_sent(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    async with stored(tmp_path / "here") as (typed, store):
        await many(store)
        await trace_export.export(TRACE_1, str(file), line=typed.line())
        before = await store.get(trace_id=TRACE_1, as_sent=True)
    async with stored(tmp_path / "there") as (typed, store):
        for _ in range(2):  # what is there already stays as it is
            await trace_export.import_(str(file), line=typed.line())
        after = await store.get(trace_id=TRACE_1, as_sent=True)

    assert list(after.sent) == list(before.sent)
    assert typed.out.getvalue().split() == [TRACE_1, TRACE_1]


@pytest.mark.parametrize(("form", "begins"), [("otlp-json", "{"), ("chrome", "{"), ("tree", "run etl")])
async def test_a_trace_is_written_in_each_form(form: Any, begins: str, tmp_path: Path) -> None:
    async with stored(tmp_path) as (typed, store):
        await many(store)
        await trace_export.export(TRACE_1, format_=form, line=typed.line())

    assert typed.out.getvalue().startswith(begins)


async def test_a_file_that_is_there_is_not_written_over_unless_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text("mine")
    async with stored(tmp_path) as (typed, store):
        await many(store)
        with pytest.raises(Problem, match="is there already"):
            await trace_export.export(TRACE_1, str(file), line=typed.line())
        await trace_export.export(TRACE_1, str(file), force=True, line=typed.line())

    assert file.read_text().startswith("{")


@pytest.mark.parametrize("content", ["no traces", "{}", None])
async def test_what_holds_no_trace_is_refused_by_the_name_of_its_file(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    if content is not None:
        file.write_text(content)
    async with stored(tmp_path) as (typed, _):
        with pytest.raises(Problem, match=r"trace\.json"):
            await trace_export.import_(str(file), line=typed.line())
