from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from forgemesh.chassis.span_encoding import SHORTEST, end_of
from forgemesh.chassis.telemetry import SpanSink
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.trace.exporter import SpanExporter, encode
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts, span_id, span_owner
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.values.shard import SOLE
from tests.unit.orchestrator.histories import History, broken, unavailable
from tests.unit.orchestrator.workflows import call, case, loop, of_steps, parallel, switch


def spans_of(history: History) -> tuple[ExecutionTrace, list[SpanFacts]]:
    trace = ExecutionTrace("e-1", history.definition)
    return trace, [span for event in history.events for span in trace.project(event)]


def encoded(history: History) -> dict[str, Span]:
    trace, spans = spans_of(history)
    return {"/".join(facts.key): Span.FromString(encode(trace, facts)) for facts in spans}


def texts(span: Span) -> dict[str, str]:
    return {pair.key: pair.value.string_value or str(pair.value.int_value) for pair in span.attributes}


def failed_history() -> History:
    skipped = switch("s", case("false", call("y")), no_match="skip")
    history = History(of_steps(skipped, parallel("g", b=[call("x")])))
    history.fail("g/b/x", unavailable())
    history.wait(1)
    history.block("g/b/x")
    history.fail("g/b/x", broken())
    return history


def test_each_round_of_a_loop_is_a_span_with_the_spans_of_its_steps_below_it() -> None:
    inner = parallel("g", b=[call("x")])
    history = History(of_steps(loop("l", "index == 1", call("a"), inner, delay="1s")))
    for path in ("l/0/a", "l/0/g/b/x"):
        history.succeed(path)
    history.wait(1)
    history.succeed("l/1/a")
    history.fail("l/1/g/b/x", broken())
    spans = encoded(history)

    parents = {key: span.parent_span_id for key, span in spans.items()}
    for number in ("0", "1"):
        one = spans[f"round/l/{number}"]
        assert parents[f"attempt/l/{number}/a/1"] == parents[f"group/l/{number}/g"] == one.span_id
        assert one.parent_span_id == spans["group/l"].span_id
        assert one.name == f"round {number}"
        assert texts(one)["forgemesh.loop.round"] == number
    first, second = spans["round/l/0"], spans["round/l/1"]
    assert second.start_time_unix_nano == first.start_time_unix_nano + 1_000_000_000
    assert first.end_time_unix_nano < second.start_time_unix_nano
    assert (first.status.code, second.status.code) == (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)


async def test_spans_say_what_happened_and_hang_together() -> None:
    history = failed_history()
    spans = encoded(history)
    started = history.state.started

    assert started is not None
    group = span_id(span_owner(started, "e-1"), ("group", "g"))
    assert list(spans) == [
        "start",
        "group/s",
        "attempt/g/b/x/1",
        "blocked/g/b/x/7",
        "attempt/g/b/x/2",
        "group/g",
        "run",
    ]
    assert {span.trace_id for span in spans.values()} == {b"t" * 16}
    assert spans["attempt/g/b/x/2"].parent_span_id == spans["group/g"].span_id == group
    assert spans["group/g"].parent_span_id == spans["run"].span_id
    assert spans["run"].parent_span_id == b""
    assert spans["attempt/g/b/x/2"].links[0].span_id == spans["attempt/g/b/x/1"].span_id
    assert spans["run"].status.code == Status.STATUS_CODE_ERROR
    assert spans["start"].status.code == Status.STATUS_CODE_UNSET
    assert texts(spans["group/s"])["forgemesh.skipped.reason"] == "NO_CASE_MATCHED"
    assert texts(spans["blocked/g/b/x/7"])["forgemesh.blocked.reason"] == "NONE_HEALTHY"
    facts = texts(spans["attempt/g/b/x/2"])
    assert (facts["forgemesh.step.attempt"], facts["forgemesh.instance.id"], facts["error.type"]) == (
        "2",
        "i-1",
        "BROKEN",
    )


def test_no_span_is_shorter_than_a_trace_store_can_say_nor_ends_before_it_began() -> None:
    spans = encoded(failed_history())

    assert spans["start"].end_time_unix_nano - spans["start"].start_time_unix_nano == SHORTEST
    assert all(span.end_time_unix_nano - span.start_time_unix_nano >= SHORTEST for span in spans.values())
    assert end_of(5_000, 4_000) == 6_000
    assert end_of(5_000, 9_000) == 9_000


async def test_the_cursor_stands_behind_the_last_span_of_an_event_and_not_before(store: SqliteStore) -> None:
    sink = SpanSink(Resource(), ())
    marks: list[object] = []
    sink.sent.add(marks.append)
    exporter = SpanExporter(sink, store, store.shard)
    trace, spans = spans_of(failed_history())

    exporter.export(trace, spans[:1], 3)
    exporter.export(trace, [], 4)  # most events finish none
    exporter.export(trace, spans[1:4], 7)
    exporter.export(trace, spans[4:], 0)
    await exporter.mark()

    assert marks == [3, 6, 6, 7, -1, -1, 0]
    assert await store.spans_sent(SOLE) == 7


def test_an_attempt_that_never_left_is_no_call_to_anybody() -> None:
    waiting = History(of_steps(call("a")))
    waiting.block("a")
    waiting.turn(*control.terminate(waiting.state, "me", ""))
    lost = History(of_steps(call("a", retry={"max_attempts": 1, "initial": "1s"})))
    lost.crash()
    lost.succeed("a")
    taken_back = History(of_steps(call("a")))
    taken_back.turn(*control.pause(taken_back.state, e.PauseRequested()))
    taken_back.turn(control.unsent(taken_back.state, "a", taken_back.now))

    assert encoded(waiting)["attempt/a/1"].kind == Span.SPAN_KIND_INTERNAL
    assert encoded(taken_back)["attempt/a/1"].kind == Span.SPAN_KIND_INTERNAL
    assert encoded(lost)["attempt/a/1"].kind == Span.SPAN_KIND_CLIENT
    assert encoded(lost)["attempt/a/2"].kind == Span.SPAN_KIND_CLIENT
