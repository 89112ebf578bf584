from functools import partial

import pytest

from forgemesh.faults import Code
from forgemesh.faults.plugin import (
    InputInvalid,
    InstanceDraining,
    InstanceFull,
    OperationNotFound,
    OutputInvalid,
    PermitRefused,
    PluginException,
    QueueTooLong,
    WrongIncarnation,
)
from forgemesh.faults.workflow import Cancelled, HeartbeatTimeout, HostLost, StartToCloseTimeout
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.failure import Failure, failure_of
from tests.component.orchestrator.orchestrators import Orchestrator

CALL = "call: {plugin: p, operation: o}"
LOST = failure_of(HostLost("i", accepted=False), retryable=True)
CAUTIOUS = f"name: d\nsteps: [{{id: a, {CALL}, idempotent: false, retry: {{initial: 1ms}}}}]"


def bare(code: Code) -> Failure:
    return Failure(code, code.name, "sorry", retryable=True)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (LOST, True),
        (bare(Code.INTERNAL), False),
        (bare(Code.UNKNOWN), False),
        (bare(Code.RESOURCE_EXHAUSTED), False),
        (bare(Code.INVALID_ARGUMENT), False),
        (bare(Code.UNIMPLEMENTED), False),
        (Failure(Code.UNAVAILABLE, "INSTANCE_DRAINING", "as a stranger says it", retryable=True), False),
        (failure_of(StartToCloseTimeout("a", 1.0), retryable=True), True),
        (failure_of(HeartbeatTimeout("a", 1.0), retryable=True), True),
        (failure_of(Cancelled("a"), retryable=True), True),
        (failure_of(PluginException("p", "o", "KeyError"), retryable=True), True),
        (failure_of(OutputInvalid("p", "o", "NaN")), True),
    ],
)
async def test_what_may_have_had_its_effect_is_not_repeated(
    orchestrator: Orchestrator, failure: Failure, told: bool
) -> None:
    await orchestrator.start(CAUTIOUS)

    (await orchestrator.hosts.call("a")).fail(failure, accepted=False, told=told)

    await orchestrator.until(lambda state: state.steps["a"].status is StepStatus.IN_DOUBT)
    assert len(orchestrator.hosts.calls) == 1


@pytest.mark.parametrize(
    "failure",
    [
        failure_of(InstanceDraining("i"), retryable=True),
        failure_of(WrongIncarnation("i", 1, 2), retryable=True),
        failure_of(PermitRefused("i", "1", "used"), retryable=True),
        failure_of(InstanceFull("i", 3), retryable=True),
        failure_of(QueueTooLong("i", 0.001, 1.0), retryable=True),
        Failure(Code.UNAVAILABLE, "BANK_AWAY", "try again, I did nothing", retryable=True),
    ],
)
async def test_what_the_plugin_says_did_not_happen_is_tried_again(orchestrator: Orchestrator, failure: Failure) -> None:
    await orchestrator.start(CAUTIOUS)

    (await orchestrator.hosts.call("a")).fail(failure)
    await orchestrator.hosts.answer("a", attempt=2)

    assert (await orchestrator.ended()).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    "failure",
    [
        failure_of(OperationNotFound("p", "o", ())),
        failure_of(InputInvalid("p", "o", "no")),
        Failure(Code.FAILED_PRECONDITION, "CARD_DECLINED", "no"),
    ],
)
async def test_what_the_plugin_says_for_good_is_no_doubt(orchestrator: Orchestrator, failure: Failure) -> None:
    await orchestrator.start(CAUTIOUS)

    (await orchestrator.hosts.call("a")).fail(failure)

    ended = await orchestrator.ended()
    assert ended.failure is not None
    assert ended.failure.reason == failure.reason


@pytest.mark.parametrize("idempotent", ["", ", idempotent: true", ", idempotent: false, in_doubt: retry"])
@pytest.mark.parametrize(("failure", "told"), [(LOST, True), (bare(Code.INTERNAL), False)])
async def test_who_does_not_say_false_or_says_retry_is_repeated(
    orchestrator: Orchestrator, idempotent: str, failure: Failure, told: bool
) -> None:
    await orchestrator.start(f"name: d\nsteps: [{{id: a, {CALL}{idempotent}, retry: {{initial: 1ms}}}}]")

    (await orchestrator.hosts.call("a")).fail(failure, told=told)
    await orchestrator.hosts.answer("a", attempt=2)

    assert (await orchestrator.ended()).status is Status.SUCCEEDED


def _has_calls(orchestrator: Orchestrator, wanted: int) -> bool:
    return len(orchestrator.hosts.calls) == wanted


async def test_a_call_that_never_left_costs_no_attempt_and_no_doubt(orchestrator: Orchestrator) -> None:
    await orchestrator.start(f"name: d\nsteps: [{{id: a, {CALL}, idempotent: false, retry: {{max_attempts: 1}}}}]")
    for number in range(5):
        await orchestrator.hosts.until(partial(_has_calls, orchestrator, number + 1))
        if number < 4:
            orchestrator.hosts.calls[-1].fail(LOST, accepted=False, sent=False)
    orchestrator.hosts.calls[-1].succeed()

    assert (await orchestrator.ended()).status is Status.SUCCEEDED
    assert {call.invocation.attempt for call in orchestrator.hosts.calls} == {1}
    assert [type(event.fact) for event in await orchestrator.history()].count(e.AttemptFailed) == 0


async def test_a_call_that_a_pause_took_back_is_in_doubt_unless_it_had_not_left(orchestrator: Orchestrator) -> None:
    branches = f"a: [{{id: x, {CALL}, idempotent: false}}], b: [{{id: y, {CALL}, idempotent: false}}]"
    await orchestrator.start(f"name: d\nsteps: [{{id: g, parallel: {{branches: {{{branches}}}}}}}]")
    first, second = await orchestrator.hosts.call("g/a/x"), await orchestrator.hosts.call("g/b/y")

    await orchestrator.offered.controls.pause("default", "e", e.PauseRequested(interrupt=True))
    first.fail(LOST, accepted=False)
    second.fail(LOST, accepted=False, sent=False)

    state = await orchestrator.until(lambda state: state.status is Status.PAUSED)
    assert state.steps["g/a/x"].status is StepStatus.IN_DOUBT
    assert state.steps["g/b/y"].status is StepStatus.WAITING
