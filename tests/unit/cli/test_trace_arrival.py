from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, Step
from forgemesh.api.traces.v1.span_pb2 import SPAN_STATUS_ERROR, SPAN_STATUS_UNSPECIFIED, Span
from forgemesh.chassis.attributes import INSTANCE_ID, STEP_ATTEMPT, STEP_PATH
from forgemesh.cli.trace_arrival import expected, missing

FETCH = Execution(steps=[Step(step_path="fetch", kind="call", attempts=1)])


def attempt(number: int, path: str, *, parent: int = 1, failed: bool = False) -> Span:
    facts = {STEP_PATH: path, STEP_ATTEMPT: "1", INSTANCE_ID: "p-1"}
    status = SPAN_STATUS_ERROR if failed else SPAN_STATUS_UNSPECIFIED
    span = Span(trace_id="t", span_id=f"{number}", parent_span_id=f"{parent}", kind="CLIENT", attributes=facts)
    span.status = status
    return span


def plugin_span(number: int, parent: int, path: str = "fetch") -> Span:
    facts = {STEP_PATH: path, STEP_ATTEMPT: "1", INSTANCE_ID: "p-1"}
    return Span(trace_id="t", span_id=f"{number}", parent_span_id=f"{parent}", kind="SERVER", attributes=facts)


ROOT = Span(trace_id="t", span_id="1")


def test_nothing_is_missing_of_a_whole_trace() -> None:
    spans = [ROOT, attempt(2, "fetch"), plugin_span(3, 2)]

    assert missing(spans, FETCH) == []
    assert expected(spans, FETCH) == []


def test_a_step_that_was_tried_and_has_no_span_is_missing() -> None:
    assert missing([ROOT], FETCH) == ["1 step such as fetch"]


def test_a_parent_that_is_not_stored_is_missing() -> None:
    assert missing([attempt(2, "fetch")], FETCH) == ["the parent of 1 span"]
    assert missing([attempt(2, "fetch")], None) == ["the parent of 1 span"]


def test_the_plugins_side_of_a_call_is_expected_and_that_of_a_failed_one_is_not() -> None:
    assert expected([ROOT, attempt(2, "fetch")], FETCH) == ["what the plugins did in 1 call"]
    assert expected([ROOT, attempt(2, "fetch", failed=True)], FETCH) == []


def test_rounds_that_are_done_are_expected() -> None:
    looped = Execution(steps=[Step(step_path="poll", kind="loop", branches=2, branches_succeeded=2)])
    spans = [ROOT, attempt(2, "poll/0/x"), plugin_span(3, 2, "poll/0/x")]

    assert expected(spans, looped) == ["1 round of poll"]


def test_iterations_that_are_done_are_expected() -> None:
    mapped = Execution(steps=[Step(step_path="each", kind="map", branches=3, branches_succeeded=2, branches_failed=1)])
    spans = [ROOT, attempt(2, "each/0/x"), attempt(3, "each/2/x"), attempt(4, "each/2/y", failed=True)]
    spans += [plugin_span(5, 2, "each/0/x"), plugin_span(6, 3, "each/2/x")]

    assert expected(spans, mapped) == ["1 iteration of each"]
