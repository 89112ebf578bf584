import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin_host.supervisor.hosts.host import (
    LONGEST_HISTORY,
    Host,
    IllegalTransition,
    Phase,
    State,
)
from forgemesh.plugin_host.supervisor.plan.restart import RestartPolicy, RestartRule
from forgemesh.plugin_host.supervisor.processes.ending import OUT_OF_MEMORY, Ending, ending_of

MANY = RestartRule(crashes=1000, within=1e9)
CRASH = Ending(exit_code=1)


def host(rule: RestartRule = MANY) -> Host:
    return Host(instance_id="stats-1", name="stats", load="weather_stats:WeatherStats", rule=rule)


def serving(value: Host, *, at: float = 1.0) -> Host:
    return value.started(7, now=at).called_back("weather.stats", "1.0.0", now=at).initializing(1, now=at).ready(now=at)


def failed(times: int, *, jitter: float = 0.999, rule: RestartRule = MANY) -> Host:
    value = host(rule)
    for number in range(times):
        value = value.started(100 + number, now=0.0).failed("exit code 1", CRASH, now=0.0, jitter=jitter)
    return value


def test_a_host_starts_calls_back_serves_drains_and_stops() -> None:
    value = host().started(7, now=1.0)
    assert (value.state, value.pid, value.started_at, value.restarts) == (State.STARTING, 7, 1.0, 0)

    value = value.called_back("weather.stats", "1.0.0", now=2.0)
    assert (value.state, value.plugin_id, value.plugin_version) == (State.HANDSHAKING, "weather.stats", "1.0.0")

    value = value.initializing(3, now=3.0)
    assert (value.state, value.config_revision) == (State.INITIALIZING, 3)

    value = value.ready(now=4.0).draining(now=5.0)
    assert (value.state, value.pid) == (State.DRAINING, 7)

    value = value.stopped("exit code 0", now=6.0)
    assert (value.state, value.pid, value.reason) == (State.STOPPED, 0, "exit code 0")
    assert [step.state for step in value.history] == [
        State.STARTING,
        State.HANDSHAKING,
        State.INITIALIZING,
        State.READY,
        State.DRAINING,
        State.STOPPED,
    ]


def test_a_host_that_ends_by_itself_backs_off_and_says_why() -> None:
    value = host().started(7, now=1.0).failed("killed by signal 9", ending_of(-9), now=5.0, jitter=0.5)

    assert (value.state, value.reason, value.pid) == (State.BACKOFF, "killed by signal 9", 0)
    assert value.next_start_at == pytest.approx(5.1)
    last = value.history[-1]
    assert (last.signal, last.exit_code, last.phase, last.pid) == (9, None, Phase.HANDSHAKE, 7)


def test_the_next_start_counts_as_a_restart() -> None:
    value = failed(2).started(9, now=1.0)

    assert value.restarts == 2
    assert value.next_start_at == 0.0
    assert value.reason == ""


def test_the_back_off_doubles_up_to_its_bound() -> None:
    waits = [failed(times, jitter=1.0).next_start_at for times in range(1, 9)]

    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])


def test_five_crashes_in_ten_minutes_are_a_crash_loop_until_somebody_resets_it() -> None:
    value = failed(5, rule=RestartRule())

    assert value.state is State.CRASH_LOOP
    assert value.reason == "5 crashes, the last one: exit code 1"
    with pytest.raises(IllegalTransition):
        value.started(9, now=1.0)

    value = value.reset("reset", now=2.0)
    assert (value.state, value.crashes) == (State.STOPPED, ())
    assert value.started(9, now=3.0).state is State.STARTING


def test_crashes_that_are_ten_minutes_old_no_longer_count() -> None:
    value = failed(4, rule=RestartRule())

    value = value.started(9, now=600.0).failed("exit code 1", CRASH, now=600.0, jitter=0.5)

    assert (value.state, len(value.crashes)) == (State.BACKOFF, 1)


def test_a_host_that_was_healthy_for_five_minutes_has_no_past() -> None:
    value = serving(failed(4, rule=RestartRule(within=1e9)), at=1.0)

    value = value.failed("oops", CRASH, now=301.0, jitter=1.0)

    assert len(value.crashes) == 1
    assert value.next_start_at - 301.0 == pytest.approx(0.2)


def test_a_host_that_was_ready_for_a_moment_has_one() -> None:
    value = serving(failed(4, rule=RestartRule()), at=1.0).failed("oops", CRASH, now=2.0, jitter=1.0)

    assert value.state is State.CRASH_LOOP


@pytest.mark.parametrize(
    ("policy", "exit_code", "state"),
    [
        (RestartPolicy.ALWAYS, 0, State.BACKOFF),
        (RestartPolicy.ON_FAILURE, 0, State.STOPPED),
        (RestartPolicy.ON_FAILURE, 3, State.BACKOFF),
        (RestartPolicy.ON_FAILURE, None, State.BACKOFF),
        (RestartPolicy.NEVER, 3, State.STOPPED),
    ],
)
def test_the_policy_says_after_which_end_comes_a_start(
    policy: RestartPolicy, exit_code: int | None, state: State
) -> None:
    value = serving(host(RestartRule(policy=policy)))

    assert value.failed("it ended", Ending(exit_code=exit_code), now=2.0, jitter=0.5).state is state


def test_a_host_that_cannot_be_started_at_all_backs_off_too() -> None:
    value = host().failed("no such file", Ending(), now=0.0, jitter=0.5)

    assert (value.state, value.phase) == (State.BACKOFF, Phase.SPAWN)


def test_a_host_is_degraded_while_something_is_missing() -> None:
    value = serving(host()).lacking(("shop.stock",), "", now=2.0)
    assert (value.state, value.reason, value.missing) == (State.DEGRADED, "missing: shop.stock", ("shop.stock",))

    value = value.lacking((), "", now=3.0)
    assert (value.state, value.reason, value.missing) == (State.READY, "", ())


def test_a_host_is_degraded_while_it_does_not_keep_up() -> None:
    value = serving(host()).lacking((), "its event loop has not turned for 2 s", now=2.0)

    assert (value.state, value.reason) == (State.DEGRADED, "its event loop has not turned for 2 s")


def test_what_it_lacks_changes_without_a_transition_while_it_stays_degraded() -> None:
    value = serving(host()).lacking(("a",), "", now=2.0)
    changed = value.lacking(("a", "b"), "", now=3.0)

    assert (changed.missing, len(changed.history)) == (("a", "b"), len(value.history))


def test_only_a_host_that_has_called_back_waits() -> None:
    started = host().started(7, now=0.0)

    assert started.waiting(("a",), "waits for plugin a").reason == ""
    assert started.called_back("p", "1.0.0", now=1.0).waiting(("a",), "waits for plugin a").missing == ("a",)


def test_the_history_has_a_bound() -> None:
    value = failed(100)

    assert len(value.history) == LONGEST_HISTORY
    assert value.history[-1].pid == 199


@pytest.mark.parametrize(
    "illegal",
    [
        lambda value: value.ready(now=1.0),
        lambda value: value.draining(now=1.0),
        lambda value: value.stopped("asked to", now=1.0),
        lambda value: value.called_back("p", "1.0.0", now=1.0),
        lambda value: value.started(7, now=1.0).started(8, now=1.0),
        lambda value: value.started(7, now=1.0).ready(now=1.0),
        lambda value: value.started(7, now=1.0).initializing(1, now=1.0),
        lambda value: value.started(7, now=1.0).draining(now=1.0).ready(now=2.0),
        lambda value: value.started(7, now=1.0).draining(now=1.0).failed("x", CRASH, now=2.0, jitter=0.0),
        lambda value: value.disabled("unloaded", now=1.0).started(7, now=2.0),
        lambda value: serving(value).initializing(1, now=2.0),
    ],
)
def test_other_ways_are_refused(illegal: object) -> None:
    assert callable(illegal)

    with pytest.raises(IllegalTransition):
        illegal(host())


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_no_back_off_is_longer_than_the_longest(times: int, jitter: float) -> None:
    assert 0 <= failed(times, jitter=jitter).next_start_at <= MANY.longest_pause


def test_a_process_that_could_get_no_memory_is_said_to_have_died_of_it() -> None:
    mebibyte = 1 << 20
    said = Ending(exit_code=OUT_OF_MEMORY, memory_peak=250 * mebibyte, memory_limit=256 * mebibyte)
    killed = Ending(signal=6, memory_peak=200 * mebibyte, memory_limit=256 * mebibyte)
    ended = Ending(exit_code=1, memory_peak=250 * mebibyte, memory_limit=256 * mebibyte)
    well = Ending(exit_code=0, memory_peak=250 * mebibyte, memory_limit=256 * mebibyte)
    kernel = Ending(signal=9, killed_for_memory=True)
    elsewhere = Ending(signal=9, memory_peak=10 * mebibyte, memory_limit=256 * mebibyte)

    assert said.text == "OOM, exit code 77, used up to 250 MiB of 256 MiB"
    assert killed.text == "OOM, killed by signal 6, used up to 200 MiB of 256 MiB"
    assert ended.text == "OOM, exit code 1, used up to 250 MiB of 256 MiB"
    assert well.text == "exit code 0"
    assert kernel.text == "OOM, killed by signal 9"
    assert elsewhere.text == "killed by signal 9, used up to 10 MiB of 256 MiB"
