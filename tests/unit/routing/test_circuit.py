from collections.abc import Callable
from typing import Any

import pytest

from forgemesh.faults import Code
from forgemesh.routing.circuit import Circuit, transition
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState, CircuitView
from forgemesh.routing.outcome import CallCounts, CallFailure

REFUSED = CallFailure(code=Code.UNAVAILABLE, message="connection refused", traceparent="00-aa-bb-01")
OK = CallCounts(succeeded=1)
BAD = CallCounts(failed=1, failures_in_a_row=1, last_failure=REFUSED)
SLOW = CallCounts(succeeded=1, slow=1)


def ruled(**facts: Any) -> CircuitRule:
    given: dict[str, Any] = {"jitter": 0.0}
    return CircuitRule(**(given | facts))


def seen(circuit: Circuit, *counts: CallCounts, at: float = 0.0) -> Circuit:
    """The circuit after calls of its own generation."""
    generation = circuit.generation
    for difference in counts:
        circuit = circuit.record(generation, difference, at, 0.5)
    return circuit


def opened(at: float = 0.0, **facts: Any) -> Circuit:
    return seen(Circuit(rule=ruled(consecutive_failures=1, **facts)), BAD, at=at)


def half_open(**facts: Any) -> Circuit:
    circuit = opened(**facts)
    return circuit.checked(True, circuit.open_until, 0.5)


def tried(circuit: Circuit, *outcomes: bool, at: float = 100.0) -> Circuit:
    """The circuit after trial calls, one by one."""
    for number, ok in enumerate(outcomes):
        permit_id = f"{circuit.generation}-{number}"
        circuit = circuit.grant(permit_id, at + 10.0)
        circuit = circuit.settle(permit_id, ok, None if ok else REFUSED, at, 0.5)
    return circuit


def test_failures_in_a_row_open_it_and_the_cause_names_the_last_one() -> None:
    circuit = Circuit(rule=ruled())
    nearly = seen(circuit, *[BAD] * 4)
    open_now = seen(nearly, BAD, at=7.0)

    assert nearly.state is CircuitState.CLOSED
    assert open_now.view() == CircuitView(
        CircuitState.OPEN, 1, 37.0, "5 failures in a row, last UNAVAILABLE: connection refused", "00-aa-bb-01"
    )
    assert (open_now.changed_at, open_now.last_failure) == (7.0, REFUSED)


def test_a_success_between_starts_the_row_anew() -> None:
    circuit = seen(Circuit(rule=ruled(minimum_calls=100)), *[BAD] * 4, OK, *[BAD] * 4)

    assert (circuit.state, circuit.failures_in_a_row) == (CircuitState.CLOSED, 4)


def test_failures_of_several_callers_without_a_success_between_are_in_a_row() -> None:
    circuit = seen(Circuit(rule=ruled()), CallCounts(failed=3, failures_in_a_row=3), BAD, BAD)

    assert circuit.state is CircuitState.OPEN


def test_the_rate_counts_from_the_minimum_of_calls_on() -> None:
    circuit = Circuit(rule=ruled(consecutive_failures=0, minimum_calls=5))

    nearly = seen(circuit, BAD, BAD, BAD, OK)
    open_now = seen(nearly, OK)

    assert nearly.state is CircuitState.CLOSED
    assert (open_now.state, open_now.cause) == (
        CircuitState.OPEN,
        "60 % of 5 calls failed, last UNAVAILABLE: connection refused",
    )


def test_alternating_failures_and_successes_open_it_by_their_rate() -> None:
    circuit = seen(Circuit(rule=ruled()), *[BAD, OK] * 5)

    assert (circuit.state, circuit.traceparent) == (CircuitState.OPEN, "00-aa-bb-01")


def test_less_than_the_rate_does_not_open_it() -> None:
    assert seen(Circuit(rule=ruled(failure_rate=0.51)), *[OK, BAD] * 50).state is CircuitState.CLOSED


def test_a_window_of_a_number_of_calls_needs_no_more_calls_than_it_holds() -> None:
    circuit = Circuit(rule=ruled(consecutive_failures=0, minimum_calls=10, window_calls=4))

    assert seen(circuit, OK, OK, BAD).state is CircuitState.CLOSED
    assert seen(circuit, OK, OK, BAD, BAD).state is CircuitState.OPEN


def test_failures_that_are_older_than_the_window_are_forgotten() -> None:
    circuit = Circuit(rule=ruled(consecutive_failures=0))
    circuit = seen(seen(circuit, *[BAD] * 9, at=0.0), *[OK] * 9, BAD, at=31.0)

    assert circuit.state is CircuitState.CLOSED


def test_slow_calls_open_it_by_their_rate() -> None:
    circuit = Circuit(rule=ruled(slow_call_rate=0.5, minimum_calls=4))

    assert seen(circuit, SLOW, OK, OK, SLOW).cause == "50 % of 4 calls were slow"
    assert seen(circuit, SLOW, OK, OK, OK).state is CircuitState.CLOSED
    assert seen(Circuit(rule=ruled()), *[SLOW] * 99).state is CircuitState.CLOSED


def test_what_says_nothing_changes_nothing() -> None:
    circuit = seen(Circuit(rule=ruled()), BAD)

    assert seen(circuit, CallCounts(started=9, overloaded=5, ignored=4)) is circuit


def test_rules_that_are_off_never_open_it() -> None:
    circuit = Circuit(rule=ruled(consecutive_failures=0, failure_rate=0.0))

    assert seen(circuit, *[BAD] * 99).state is CircuitState.CLOSED


def test_a_long_message_is_cut_to_its_first_line() -> None:
    failure = CallFailure(code=99, message="x" * 999 + "\nTraceback")
    counts = CallCounts(failed=1, failures_in_a_row=1, last_failure=failure)
    circuit = seen(Circuit(rule=ruled(consecutive_failures=1)), counts)

    assert circuit.cause == "1 failure in a row, last code 99: " + "x" * 197 + "..."


def test_a_late_success_from_before_the_opening_does_not_close_it() -> None:
    circuit = half_open()

    assert circuit.record(0, OK, 40.0, 0.5) is circuit
    assert opened().record(0, OK, 1.0, 0.5) == opened()


def test_a_late_failure_from_before_the_opening_does_not_open_it_again() -> None:
    closed = tried(half_open(), True)

    for generation in (0, 1, 2, 9):
        assert closed.record(generation, CallCounts(failed=99, failures_in_a_row=99), 101.0, 0.5) is closed


def test_each_transition_starts_one_generation_and_is_told_once() -> None:
    told = []
    circuit = Circuit(rule=ruled(consecutive_failures=1))
    steps: list[Callable[[Circuit], Circuit]] = [
        lambda at: at.record(at.generation, BAD, 1.0, 0.5),
        lambda at: at.checked(True, 31.0, 0.5),
        lambda at: at.grant("p", 41.0),
        lambda at: at.settle("p", False, REFUSED, 32.0, 0.5),
        lambda at: at.checked(True, 80.0, 0.5),
        lambda at: at.grant("q", 90.0),
        lambda at: at.settle("q", True, None, 81.0, 0.5),
    ]
    for step in steps:
        after = step(circuit)
        if change := transition(circuit, after):
            told.append((change.before, change.after.state, change.after.generation))
        circuit = after

    assert told == [
        (CircuitState.CLOSED, CircuitState.OPEN, 1),
        (CircuitState.OPEN, CircuitState.HALF_OPEN, 2),
        (CircuitState.HALF_OPEN, CircuitState.OPEN, 3),
        (CircuitState.OPEN, CircuitState.HALF_OPEN, 4),
        (CircuitState.HALF_OPEN, CircuitState.CLOSED, 5),
    ]


def test_it_is_due_when_its_time_is_over_and_then_a_health_check_decides() -> None:
    circuit = opened(at=100.0)

    assert (circuit.is_due(129.9), circuit.is_due(130.0)) == (False, True)
    assert circuit.next_look() == 130.0
    assert circuit.checked(True, 129.9, 0.5) is circuit
    assert circuit.checked(True, 130.0, 0.5).state is CircuitState.HALF_OPEN


def test_a_failed_health_check_keeps_it_open_in_the_same_generation_for_longer() -> None:
    circuit = opened(at=100.0)
    longer = circuit.checked(False, 130.0, 0.5)

    assert (longer.state, longer.generation, longer.open_until) == (CircuitState.OPEN, 1, 175.0)
    assert transition(circuit, longer) is None


def test_it_stays_open_longer_each_time_up_to_a_limit_and_begins_anew_once_closed() -> None:
    circuit, pauses = opened(), []
    for _ in range(4):
        pauses.append(circuit.open_until - circuit.changed_at)
        due = circuit.open_until
        circuit = tried(circuit.checked(True, due, 0.5), False, at=due + 1)
    closed = tried(circuit.checked(True, circuit.open_until, 0.5), True, at=500.0)
    again = seen(closed, BAD, at=600.0)

    assert pauses == [30.0, 45.0, 60.0, 60.0]
    assert again.open_until == 630.0


@pytest.mark.parametrize(("draw", "until"), [(0.0, 27.0), (0.5, 30.0), (0.999999, 33.0)])
def test_chance_moves_the_time_by_a_share_at_most(draw: float, until: float) -> None:
    circuit = Circuit(rule=ruled(consecutive_failures=1, jitter=0.1)).record(0, BAD, 0.0, draw)

    assert circuit.open_until == pytest.approx(until, abs=1e-4)


def test_of_a_thousand_that_ask_exactly_one_gets_a_permit() -> None:
    circuit, granted = half_open(), 0
    for number in range(1000):
        after = circuit.grant(f"p-{number}", 110.0)
        granted += after is not circuit
        circuit = after

    assert (granted, circuit.vacant) == (1, 0)


def test_four_permits_are_four_trial_calls_and_the_last_one_decides() -> None:
    circuit = half_open(permits=4, failure_rate=0.5)
    for number in range(6):
        circuit = circuit.grant(f"p-{number}", 110.0)
    assert len(circuit.trials.out) == 4

    for number in range(3):
        circuit = circuit.settle(f"p-{number}", number != 0, None, 101.0, 0.5)
    assert (circuit.state, circuit.vacant) == (CircuitState.HALF_OPEN, 0)

    closed = circuit.settle("p-3", True, None, 102.0, 0.5)
    assert (closed.state, closed.cause) == (CircuitState.CLOSED, "3 of 4 trial calls succeeded")
    failed = circuit.settle("p-3", False, REFUSED, 102.0, 0.5)
    assert (failed.state, failed.cause) == (
        CircuitState.OPEN,
        "2 of 4 trial calls failed, last UNAVAILABLE: connection refused",
    )


def test_without_a_failure_rate_half_of_the_trial_calls_decide() -> None:
    assert tried(half_open(permits=2, failure_rate=0.0), True, False).state is CircuitState.OPEN
    assert tried(half_open(permits=3, failure_rate=0.0), True, False, True).state is CircuitState.CLOSED


def test_a_closed_circuit_has_nothing_on_record() -> None:
    closed = tried(half_open(), True)

    assert (closed.window.calls, closed.failures_in_a_row, closed.opened, closed.traceparent) == (0, 0, 0, "")
    assert closed.last_failure == REFUSED


def test_an_open_circuit_shows_what_opened_it() -> None:
    circuit = half_open()

    assert (circuit.window.calls, circuit.window.failed, circuit.failures_in_a_row) == (1, 1, 1)
    assert circuit.traceparent == "00-aa-bb-01"


def test_a_permit_that_is_not_out_changes_nothing() -> None:
    circuit = half_open(permits=2).grant("p", 110.0)
    settled = circuit.settle("p", True, None, 101.0, 0.5)

    assert settled.settle("p", False, REFUSED, 102.0, 0.5) is settled
    assert circuit.settle("unknown", False, REFUSED, 102.0, 0.5) is circuit
    assert circuit.give_back("unknown") is circuit
    assert circuit.grant("p", 120.0) is circuit
    assert opened().grant("p", 110.0) == opened()


def test_a_permit_that_is_given_back_is_vacant_again() -> None:
    circuit = half_open().grant("p", 110.0)

    back = circuit.give_back("p")

    assert (back.vacant, back.state, back.trials.lost) == (1, CircuitState.HALF_OPEN, 0)
    assert back.settle("p", True, None, 101.0, 0.5) is back


def test_a_permit_that_is_not_heard_of_is_vacant_again_and_no_failure() -> None:
    circuit = half_open().grant("p", 110.0)

    assert circuit.next_look() == 110.0
    assert circuit.expire(109.9, 0.5) is circuit
    lost = circuit.expire(110.0, 0.5)

    assert (lost.state, lost.generation, lost.vacant) == (CircuitState.HALF_OPEN, circuit.generation, 1)
    assert lost.settle("p", False, REFUSED, 110.1, 0.5) is lost


def test_three_permits_lost_in_a_row_open_it_for_as_long_as_the_last_time() -> None:
    circuit = half_open()
    for number in range(3):
        assert circuit.state is CircuitState.HALF_OPEN
        circuit = circuit.grant(f"p-{number}", 110.0).expire(110.0, 0.5)

    assert (circuit.state, circuit.open_until, circuit.opened) == (CircuitState.OPEN, 140.0, 1)
    assert circuit.cause == "3 permits for trial calls in a row were lost"
    assert circuit.traceparent == "00-aa-bb-01"


def test_a_holder_that_is_heard_of_ends_the_row_of_lost_permits() -> None:
    circuit = half_open()
    for number in range(9):
        circuit = circuit.grant(f"p-{number}", 110.0).expire(110.0, 0.5)
        circuit = circuit.grant(f"q-{number}", 120.0).give_back(f"q-{number}")

    assert circuit.state is CircuitState.HALF_OPEN


def test_an_instance_that_was_out_for_its_health_comes_back_with_a_trial_call_and_no_failure() -> None:
    back = Circuit(rule=ruled()).readmit(5.0, "serving again")

    assert back.view() == CircuitView(CircuitState.HALF_OPEN, 1, 0.0, "serving again")
    assert tried(back, False, at=6.0).open_until == 36.0


def test_health_that_is_back_shortens_nothing() -> None:
    for circuit in (opened(), half_open(), Circuit(rule=ruled()).force(CircuitState.FORCED_OPEN, "", 1.0)):
        assert circuit.readmit(5.0, "serving again") is circuit


@pytest.mark.parametrize("state", [CircuitState.FORCED_OPEN, CircuitState.FORCED_CLOSED, CircuitState.METRICS_ONLY])
def test_what_an_operator_ordered_stays_until_an_operator_says_otherwise(state: CircuitState) -> None:
    forced = half_open().grant("p", 110.0).force(state, "maintenance", 50.0)

    assert (forced.generation, forced.cause, forced.changed_at) == (3, "maintenance", 50.0)
    after = seen(forced, *[BAD] * 99, at=51.0).checked(True, 999.0, 0.5).expire(999.0, 0.5).readmit(999.0, "")
    assert (after.state, after.generation, after.vacant) == (state, 3, 0)
    assert forced.force(state, "again", 60.0) is forced
    fresh = after.reset("done", 70.0)
    assert fresh == Circuit(
        rule=after.rule, generation=4, state=CircuitState.CLOSED, cause="done", changed_at=70.0, window=fresh.window
    )
    assert fresh.window.calls == 0


def test_with_metrics_only_it_tells_why_it_would_be_open() -> None:
    watched = Circuit(rule=ruled(minimum_calls=1000)).force(CircuitState.METRICS_ONLY, "", 0.0)
    bad = seen(watched, *[BAD] * 5)

    assert bad.would_open == "5 failures in a row, last UNAVAILABLE: connection refused"
    assert seen(bad, OK).would_open == ""
    assert seen(watched.reset("", 1.0).force(CircuitState.FORCED_CLOSED, "", 2.0), *[BAD] * 9).would_open == ""


def test_a_reset_closes_an_open_circuit_and_cleans_a_closed_one() -> None:
    assert opened().reset("mended", 5.0).view() == CircuitView(CircuitState.CLOSED, 2, 0.0, "mended")
    dirty = seen(Circuit(rule=ruled()), *[BAD] * 4)
    clean = dirty.reset("mended", 5.0)
    assert (clean.failures_in_a_row, clean.window.calls, clean.generation) == (0, 0, 0)
    assert clean.reset("again", 6.0) is clean


def test_nobody_can_force_it_half_open() -> None:
    with pytest.raises(ValueError, match="half open"):
        Circuit(rule=ruled()).force(CircuitState.HALF_OPEN, "", 0.0)


def test_another_rule_counts_from_now_on_for_what_was_seen_already() -> None:
    circuit = seen(Circuit(rule=ruled()), BAD, BAD)

    stricter = circuit.under(ruled(consecutive_failures=3))

    assert stricter.state is CircuitState.CLOSED
    assert seen(stricter, BAD).state is CircuitState.OPEN
    assert circuit.under(ruled()) is circuit
    assert circuit.under(ruled(window=5.0)).window.seconds == 5.0


def test_fewer_permits_than_have_been_used_decide_at_the_next_look() -> None:
    circuit = tried(half_open(permits=3), True, True).under(ruled(permits=2))

    assert (circuit.vacant, circuit.next_look()) == (0, circuit.changed_at)
    assert circuit.expire(101.0, 0.5).state is CircuitState.CLOSED


def test_only_a_higher_generation_is_news() -> None:
    circuit = half_open()

    for generation in (0, 1, 2):
        assert circuit.adopt(CircuitView(CircuitState.CLOSED, generation), 50.0) is circuit


def test_an_open_circuit_is_taken_over_with_the_time_that_is_left() -> None:
    view = CircuitView(CircuitState.OPEN, 7, 65.0, "5 failures in a row", "00-aa-bb-01")

    adopted = Circuit(rule=ruled()).adopt(view, 50.0)

    assert adopted.view() == view
    assert tried(adopted.checked(True, 65.0, 0.5), False, at=70.0).open_until == 115.0


def test_a_half_open_circuit_waits_until_permits_that_may_be_out_are_over() -> None:
    adopted = Circuit(rule=ruled(permit_lease=10.0)).adopt(CircuitView(CircuitState.HALF_OPEN, 7), 50.0)

    assert (adopted.state, adopted.generation, adopted.open_until) == (CircuitState.OPEN, 8, 60.0)
    assert adopted.checked(True, 60.0, 0.5).vacant == 1


def test_what_an_operator_ordered_is_taken_over_and_outlives_what_others_know() -> None:
    view = CircuitView(CircuitState.FORCED_OPEN, 7, 0.0, "maintenance")
    ordered = Circuit(rule=ruled()).force(CircuitState.FORCED_OPEN, "maintenance", 1.0)

    assert Circuit(rule=ruled()).adopt(view, 50.0).view() == view
    assert ordered.adopt(view, 50.0).view() == view
    assert ordered.adopt(CircuitView(CircuitState.CLOSED, 9), 50.0).view() == CircuitView(
        CircuitState.FORCED_OPEN, 10, 0.0, "maintenance"
    )
