"""Executions whose plugins have circuits: what is on record of it, and what it costs."""

from __future__ import annotations

import json

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.faults import Code
from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.execution.trace.exporter import encode
from forgemesh.orchestrator.execution.trace.spans import ExecutionTrace, SpanFacts
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.outcome import PermitUse
from forgemesh.routing.policy import PluginPolicy, Policy
from forgemesh.routing.retry_budget import RetryBudget
from tests.component.orchestrator.hosts import endpoint, half_open, with_open_circuit
from tests.component.orchestrator.orchestrators import Orchestrator

ONE_STEP = """
name: one
steps:
  - {id: a, call: {plugin: p, operation: o}, idempotent: true, retry: {initial: 1ms, max_attempts: 5}}
output: "${steps.a.output}"
"""
MANY = """
name: many
steps:
  - id: m
    map: {over: "${input.items}", steps: [{id: x, call: {plugin: p, operation: o}, retry: {initial: 1ms}}]}
"""
CULPRIT = f"00-{'c' * 32}-{'d' * 16}-01"
AWAY = Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True)
UNSENT = Answer(None, failure_of(HostLost("i-1", accepted=False), retryable=True), accepted=False, sent=False)


async def encoded(orchestrator: Orchestrator, name: str) -> Span:
    """The span of that name, as a collector gets it."""
    state = await orchestrator.ended()
    trace = ExecutionTrace("e", state.definition)
    finished: list[SpanFacts] = []
    for event in await orchestrator.history():
        finished += trace.project(event)
    return Span.FromString(encode(trace, next(facts for facts in finished if facts.name == name)))


def texts(span: Span) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in span.attributes}


async def test_a_step_behind_a_circuit_waits_without_an_attempt_and_its_span_leads_to_the_culprit(
    orchestrator: Orchestrator,
) -> None:
    until = orchestrator.account.clock() + 30.0
    orchestrator.hosts.show("p", with_open_circuit("i-1", until, CULPRIT))
    await orchestrator.start(ONE_STEP)
    blocked = await orchestrator.until(lambda state: state.steps["a"].blocked is not None)

    orchestrator.hosts.show("p", endpoint("i-1"))
    await orchestrator.hosts.answer("a")
    ended = await orchestrator.ended()

    reason = blocked.steps["a"].blocked
    assert reason is not None
    assert (reason.reason, reason.opened_by) == ("CIRCUIT_OPEN", CULPRIT)
    assert 29e9 < reason.until - blocked.steps["a"].blocked_at < 31e9
    assert (ended.status, ended.steps["a"].attempts) == (Status.SUCCEEDED, 1)
    (link,) = (await encoded(orchestrator, "blocked")).links
    assert (link.trace_id.hex(), link.span_id.hex()) == ("c" * 32, "d" * 16)
    assert [pair.value.string_value for pair in link.attributes] == ["breaker_opened_by"]


async def test_what_is_no_traceparent_makes_no_link(orchestrator: Orchestrator) -> None:
    orchestrator.hosts.show("p", with_open_circuit("i-1", 1e12, "nonsense"))
    await orchestrator.start(ONE_STEP)
    await orchestrator.until(lambda state: state.steps["a"].blocked is not None)
    orchestrator.hosts.show("p", endpoint("i-1"))
    await orchestrator.hosts.answer("a")

    assert not (await encoded(orchestrator, "blocked")).links


async def test_a_trial_call_says_so_in_its_span_and_one_that_fails_is_tried_again_elsewhere(
    orchestrator: Orchestrator,
) -> None:
    policy = PluginPolicy(pick=Policy.LEAST_CONNECTIONS)
    orchestrator.hosts.show("p", half_open("i-1"), endpoint("i-2"), policy=policy)
    orchestrator.account.granted("p", "i-1", Permit("t", 1, 4), 10.0, 0)
    await orchestrator.start(ONE_STEP)
    trial = await orchestrator.hosts.call("a")
    trial.fail(AWAY)
    again = await orchestrator.hosts.call("a", attempt=2)
    again.succeed()
    await orchestrator.ended()

    assert (trial.instance_id, again.instance_id, again.invocation.permit) == ("i-1", "i-2", None)
    used = orchestrator.account.report().permits
    assert [outcome.use for outcome in used] == [PermitUse.FAILED]
    span = await encoded(orchestrator, "a")
    assert next(pair.value.bool_value for pair in span.attributes if pair.key == "forgemesh.pick.trial")
    assert texts(span)["forgemesh.pick.policy"] == "least_connections"
    assert used[0].failure is not None
    assert used[0].failure.traceparent == trial.invocation.traceparent


async def test_a_retry_goes_past_every_instance_on_which_the_step_failed(orchestrator: Orchestrator) -> None:
    orchestrator.hosts.show("p", *(endpoint(f"i-{number}") for number in range(4)))
    await orchestrator.start(ONE_STEP)

    tried = []
    for attempt in range(1, 5):
        call = await orchestrator.hosts.call("a", attempt)
        tried.append(call.instance_id)
        call.fail(AWAY)
    last = await orchestrator.hosts.call("a", 5)
    last.succeed()

    assert sorted(tried) == ["i-0", "i-1", "i-2", "i-3"]
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_retries_beyond_the_budget_wait_and_do_not_fail_while_first_attempts_go_on(
    orchestrator: Orchestrator,
) -> None:
    policy = PluginPolicy(retry_budget=RetryBudget(share=0.0, least=1))
    orchestrator.hosts.show("p", endpoint("i-1"), endpoint("i-2"), policy=policy)
    await orchestrator.start(MANY, {"items": list(range(4))})
    paths = [f"m/{number}/x" for number in range(4)]
    for path in paths[:3]:
        (await orchestrator.hosts.call(path)).fail(AWAY)
    first = await orchestrator.hosts.call(paths[0], 2)
    held = await orchestrator.until(lambda state: state.steps[paths[2]].blocked is not None)
    await orchestrator.hosts.call(paths[3])

    reason = held.steps[paths[2]].blocked
    assert reason is not None
    assert (reason.reason, held.steps[paths[2]].attempts) == ("RETRY_BUDGET_SPENT", 2)
    assert "retry_budget" in reason.message
    first.succeed()
    for path in paths[1:3]:
        (await orchestrator.hosts.call(path, 2)).succeed()
    await orchestrator.hosts.answer(paths[3])
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_an_attempt_that_was_lost_with_its_host_is_not_held_back(orchestrator: Orchestrator) -> None:
    policy = PluginPolicy(retry_budget=RetryBudget(share=0.0, least=0))
    orchestrator.hosts.show("p", endpoint("i-1"), endpoint("i-2"), policy=policy)
    await orchestrator.start(ONE_STEP)
    lost = failure_of(HostLost("i-1", accepted=True), retryable=True)

    (await orchestrator.hosts.call("a")).fail(lost)

    await orchestrator.hosts.answer("a", attempt=2)
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_a_call_that_could_not_be_sent_goes_elsewhere_and_burns_no_attempt(orchestrator: Orchestrator) -> None:
    orchestrator.hosts.show("p", endpoint("i-1"))
    await orchestrator.start(ONE_STEP)
    call = await orchestrator.hosts.call("a")
    orchestrator.hosts.show("p", endpoint("i-2"))
    orchestrator.hosts.calls.clear()

    call.done(UNSENT)

    again = await orchestrator.hosts.call("a", attempt=1)
    assert again.instance_id == "i-2"
    again.succeed(json.loads("1"))
    ended = await orchestrator.ended()
    assert ended.steps["a"].attempts == 1
    facts = [event.fact for event in await orchestrator.history()]
    assert not any(isinstance(fact, e.AttemptFailed) for fact in facts)


async def test_a_call_that_could_not_be_sent_waits_if_there_is_nobody_else(orchestrator: Orchestrator) -> None:
    orchestrator.hosts.show("p", endpoint("i-1"))
    await orchestrator.start(ONE_STEP)
    call = await orchestrator.hosts.call("a")
    orchestrator.hosts.links("p")["i-1"].usable = False
    orchestrator.hosts.tell("p")
    orchestrator.hosts.calls.clear()

    call.done(UNSENT)

    await orchestrator.until(lambda state: state.steps["a"].blocked is not None)
    orchestrator.hosts.links("p")["i-1"].usable = True
    orchestrator.hosts.tell("p")
    await orchestrator.hosts.answer("a", attempt=1)
    assert (await orchestrator.ended()).steps["a"].attempts == 1
