import pytest

from forgemesh.routing.circuit import Circuit
from forgemesh.routing.endpoint import CircuitState
from tests.unit.routing.circuits import BAD, REFUSED, half_open, opened, ruled, seen, tried


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
