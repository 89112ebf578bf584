from collections.abc import Callable

import pytest

from forgemesh.routing.circuit import Circuit
from forgemesh.routing.endpoint import CircuitState, CircuitView
from forgemesh.routing.outcome import CallCounts, CallFailure
from tests.unit.routing.circuits import BAD, OK, REFUSED, SLOW, half_open, opened, ruled, seen, tried


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


def test_each_transition_starts_one_generation() -> None:
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
        if after.generation != circuit.generation:
            told.append((circuit.state, after.state, after.generation))
        circuit = after

    assert told == [
        (CircuitState.CLOSED, CircuitState.OPEN, 1),
        (CircuitState.OPEN, CircuitState.HALF_OPEN, 2),
        (CircuitState.HALF_OPEN, CircuitState.OPEN, 3),
        (CircuitState.OPEN, CircuitState.HALF_OPEN, 4),
        (CircuitState.HALF_OPEN, CircuitState.CLOSED, 5),
    ]


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
