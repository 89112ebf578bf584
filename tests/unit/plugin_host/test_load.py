from hypothesis import given, strategies as st

from forgemesh.plugin_host.host.calls.call_runner import DEFAULT_CONCURRENCY
from forgemesh.plugin_host.supervisor.hosts.load import Idleness, demand_of
from forgemesh.routing.scaling import DEFAULT_CAPACITY, Scale, ScaleRule


def test_those_on_their_way_count_as_idle_where_more_are_needed_and_as_busy_where_fewer_are() -> None:
    assert demand_of([1.0, 1.0], 0, share=0.5) == 2.0
    assert demand_of([1.0, 1.0], 1, share=0.5) == 2.0
    assert demand_of([1.0], 3, share=0.5) == 2.0
    assert demand_of([0.1], 1, share=0.5) == 0.6
    assert demand_of([0.5], 9, share=0.5) == 5.0


@given(st.integers(1, 10), st.integers(0, 10), st.floats(0.1, 1))
def test_those_on_their_way_change_no_number_that_is_right(said: int, silent: int, target: float) -> None:
    rule = ScaleRule(least=0, most=50, target=target, down_after=0.0)
    demand = demand_of([target * 8] * said, silent, share=target * 8)

    assert Scale().desired(rule, said + silent, demand, 8, now=0.0)[1] == said + silent


def test_a_host_runs_as_many_calls_at_a_time_as_the_rule_takes_for_granted() -> None:
    assert DEFAULT_CONCURRENCY == DEFAULT_CAPACITY


def test_idle_is_who_was_asked_nothing_for_long() -> None:
    idle = Idleness(0.0).seen(busy=True, now=5.0).seen(busy=False, now=9.0)

    assert not idle.over(10.0, now=14.9)
    assert idle.over(10.0, now=15.0)
