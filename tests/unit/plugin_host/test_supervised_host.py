import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin_host.supervisor.domain.host import (
    LONGEST_BACKOFF,
    PROVEN_AFTER,
    Host,
    IllegalTransition,
    State,
)


def host() -> Host:
    return Host(instance_id="stats-1", name="stats", load="weather_stats:WeatherStats")


def failed(times: int, *, jitter: float = 0.999) -> Host:
    value = host()
    for number in range(times):
        value = value.started(100 + number, now=0.0).failed("exit code 1", now=0.0, jitter=jitter)
    return value


def test_a_host_starts_serves_drains_and_stops() -> None:
    value = host().started(7, now=1.0)
    assert (value.state, value.pid, value.started_at, value.restarts) == (State.STARTING, 7, 1.0, 0)

    value = value.ready(now=2.0).draining()
    assert (value.state, value.pid) == (State.DRAINING, 7)

    value = value.stopped("exit code 0")
    assert (value.state, value.pid, value.reason) == (State.STOPPED, 0, "exit code 0")


def test_a_host_that_ends_by_itself_backs_off_and_says_why() -> None:
    value = host().started(7, now=1.0).failed("killed by signal 9", now=5.0, jitter=0.5)

    assert (value.state, value.reason, value.pid) == (State.BACKOFF, "killed by signal 9", 0)
    assert value.next_start_at == pytest.approx(5.1)


def test_the_next_start_counts_as_a_restart() -> None:
    value = failed(2).started(9, now=1.0)

    assert value.restarts == 2
    assert value.next_start_at == 0.0
    assert value.reason == ""


def test_the_back_off_doubles_up_to_its_bound() -> None:
    waits = [failed(times, jitter=1.0).next_start_at for times in range(1, 9)]

    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])


def test_a_host_that_was_ready_for_long_starts_over_with_a_short_back_off() -> None:
    value = failed(5).started(9, now=0.0).ready(now=1.0).failed("oops", now=1.0 + PROVEN_AFTER, jitter=1.0)

    assert value.failures == 1
    assert value.next_start_at - (1.0 + PROVEN_AFTER) == pytest.approx(0.2)


def test_a_host_that_was_ready_for_a_moment_does_not() -> None:
    value = failed(5).started(9, now=0.0).ready(now=1.0).failed("oops", now=2.0, jitter=1.0)

    assert value.failures == 6


def test_a_host_that_cannot_be_started_at_all_backs_off_too() -> None:
    assert host().failed("no memory", now=0.0, jitter=0.5).state is State.BACKOFF


def test_only_a_starting_host_is_late() -> None:
    assert host().started(7, now=0.0).late("not registered").reason == "not registered"
    assert host().started(7, now=0.0).ready(now=1.0).late("not registered").reason == ""


@pytest.mark.parametrize(
    "illegal",
    [
        lambda value: value.ready(now=1.0),
        lambda value: value.draining(),
        lambda value: value.stopped("asked to"),
        lambda value: value.started(7, now=1.0).started(8, now=1.0),
        lambda value: value.started(7, now=1.0).stopped("asked to"),
        lambda value: value.started(7, now=1.0).draining().ready(now=2.0),
        lambda value: value.started(7, now=1.0).draining().failed("exit code 1", now=2.0, jitter=0.0),
    ],
)
def test_other_ways_are_refused(illegal: object) -> None:
    assert callable(illegal)

    with pytest.raises(IllegalTransition):
        illegal(host())


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_no_back_off_is_longer_than_the_longest(times: int, jitter: float) -> None:
    assert 0 <= failed(times, jitter=jitter).next_start_at <= LONGEST_BACKOFF
