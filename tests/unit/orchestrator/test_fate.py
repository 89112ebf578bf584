from dataclasses import replace

import msgspec
import pytest

from forgemesh.faults import Code, Fault
from forgemesh.faults.workflow import InDoubt
from forgemesh.orchestrator.dispatch.refusals import NOTHING_RAN
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.fate import is_in_doubt, is_unknown
from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import MAX_INPUT, Payload
from forgemesh.orchestrator.workflow.definition import COMPENSATION, Published
from tests.unit.orchestrator.histories import DISPATCH, History, broken, host_lost
from tests.unit.orchestrator.workflows import CALL, call, of_steps

UNDONE = {"compensate": {**CALL, "input": {}}}
CAREFUL = Published(idempotent=False)


def failure(reason: str) -> Failure:
    return Failure(Code.UNKNOWN, reason, "why", retryable=True)


def test_of_the_meshs_own_reasons_only_a_short_list_says_that_nothing_ran() -> None:
    safe = {reason for reason in Fault.by_reason if not is_unknown(failure(reason), DISPATCH, told=True)}

    assert safe == NOTHING_RAN
    assert safe == {
        "INSTANCE_DRAINING",
        "WRONG_INCARNATION",
        "PERMIT_REFUSED",
        "OPERATION_NOT_FOUND",
        "INSTANCE_FULL",
        "QUEUE_TOO_LONG",
        "INPUT_INVALID",
        "INSTANCE_RESERVED",
        "POISON",
    }


def test_what_nobody_told_is_unknown_whatever_its_reason_and_what_never_left_is_known() -> None:
    for reason in [*Fault.by_reason, "BANK_DOWN"]:
        assert is_unknown(failure(reason), DISPATCH, told=False)
        never_left = replace(failure(reason), metadata={"sent": "False"})
        assert not is_unknown(never_left, None, told=True)


@pytest.mark.parametrize("reason", ["HOST_LOST", "START_TO_CLOSE_TIMEOUT", "HEARTBEAT_TIMEOUT", "CANCELLED"])
def test_events_of_earlier_releases_fold_as_they_did(reason: str) -> None:
    taken_on = e.AttemptFailed("a", 1, failure(reason), DISPATCH)
    not_taken_on = e.AttemptFailed("a", 1, failure(reason), msgspec.structs.replace(DISPATCH, accepted=False))

    assert is_in_doubt(taken_on)
    assert not is_in_doubt(not_taken_on)
    assert not is_in_doubt(e.AttemptFailed("a", 1, failure("INTERNAL"), DISPATCH))


def careful(definition_of: object = None, **step: object) -> History:
    """An execution whose step `a` was done, whose `b` has failed, and that undoes `a` by what must not be repeated."""
    definition = of_steps(call("a", **UNDONE, **step), call("b"))
    history = History(replace(definition, published={f"a{COMPENSATION}": CAREFUL}))
    history.succeed("a")
    history.fail("b", broken())
    return history


def test_a_compensation_in_doubt_is_not_repeated_and_left_to_a_person() -> None:
    history = careful()

    history.fail(f"a{COMPENSATION}", host_lost())

    assert history.state.status is Status.COMPENSATION_FAILED
    assert history.state.left_to_do == ("a",)
    assert history.state.failure is not None
    assert history.state.failure.causes[-1].reason == InDoubt.reason


def test_a_compensation_that_a_crash_cut_off_is_in_doubt_too() -> None:
    history = careful()

    history.crash()

    assert history.state.status is Status.COMPENSATION_FAILED


@pytest.mark.parametrize("step", [{"in_doubt": "retry"}, {}])
def test_a_compensation_is_repeated_if_that_is_safe_or_wanted(step: dict[str, object]) -> None:
    history = careful(**step)
    if not step:
        history.definition.published.clear()  # type: ignore[attr-defined]

    history.fail(f"a{COMPENSATION}", host_lost())

    assert history.state.status is Status.COMPENSATING
    assert history.step(f"a{COMPENSATION}").attempts == 2


def test_what_was_lost_with_its_orchestrator_while_its_execution_ended_is_undone() -> None:
    history = History(of_steps(call("a", **UNDONE)))
    history.turn(*control.cancel(history.state, "me", ""))

    history.crash()

    assert history.state.status is Status.COMPENSATING
    assert history.open == [f"a{COMPENSATION}"]


def test_an_output_that_is_too_large_was_an_effect_all_the_same() -> None:
    history = History(of_steps(call("a", idempotent=False, **UNDONE)))

    history.succeed("a", Payload(b"x" * (MAX_INPUT + 1)))

    assert history.step("a").status is StepStatus.IN_DOUBT
