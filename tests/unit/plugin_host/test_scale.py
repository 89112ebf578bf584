from hypothesis import given, strategies as st

from forgemesh.plugin_host.supervisor.domain.scale import Idleness, Scale, ScaleRule, mean_of

RULE = ScaleRule(least=1, most=10, target=0.5, down_after=60.0)


def test_twice_the_load_wants_twice_the_instances() -> None:
    assert Scale().desired(RULE, 2, utilization=1.0, now=0.0)[1] == 4


def test_within_the_tolerance_nothing_changes() -> None:
    assert Scale().desired(RULE, 4, utilization=0.54, now=0.0)[1] == 4


def test_the_bounds_hold() -> None:
    assert Scale().desired(RULE, 8, utilization=5.0, now=0.0)[1] == 10
    assert Scale().desired(RULE, 12, utilization=0.5, now=0.0)[1] == 10
    assert Scale().desired(RULE, 0, utilization=0.0, now=0.0)[1] == 1


def test_fewer_only_after_the_load_was_low_for_long() -> None:
    scale, wanted = Scale().desired(RULE, 4, utilization=0.5, now=0.0)
    for now in range(10, 61, 10):
        scale, wanted = scale.desired(RULE, 4, utilization=0.1, now=float(now))
        assert wanted == 4

    _, wanted = scale.desired(RULE, 4, utilization=0.1, now=70.0)

    assert wanted == 1


def test_more_only_after_the_load_was_high_for_as_long_as_the_rule_says() -> None:
    rule = ScaleRule(least=1, most=10, target=0.5, up_after=20.0)
    scale, wanted = Scale().desired(rule, 2, utilization=0.5, now=0.0)
    scale, wanted = scale.desired(rule, 2, utilization=1.0, now=10.0)
    assert wanted == 2

    _, wanted = scale.desired(rule, 2, utilization=1.0, now=30.0)

    assert wanted == 4


def test_fewer_only_after_the_load_was_looked_at_for_so_long() -> None:
    scale, wanted = Scale().desired(RULE, 4, utilization=0.0, now=100.0)
    assert wanted == 4
    scale, wanted = scale.desired(RULE, 4, utilization=0.0, now=159.0)
    assert wanted == 4

    assert scale.desired(RULE, 4, utilization=0.0, now=160.0)[1] == 1


def test_more_only_after_the_load_was_looked_at_for_so_long() -> None:
    rule = ScaleRule(least=1, most=10, target=0.5, up_after=20.0)
    scale, wanted = Scale().desired(rule, 2, utilization=1.0, now=100.0)
    assert wanted == 2

    assert scale.desired(rule, 2, utilization=1.0, now=120.0)[1] == 4


def test_those_on_their_way_count_as_idle_where_more_are_needed_and_as_busy_where_fewer_are() -> None:
    assert mean_of([1.0, 1.0], 0, target=0.5) == 1.0
    assert mean_of([1.0, 1.0], 1, target=0.5) == 2 / 3
    assert mean_of([1.0], 3, target=0.5) == 0.5
    assert mean_of([0.1], 1, target=0.5) == 0.3
    assert mean_of([0.5], 9, target=0.5) == 0.5


@given(st.integers(0, 20), st.floats(0, 10), st.lists(st.floats(0, 10), max_size=20))
def test_what_is_desired_lies_within_the_bounds(current: int, utilization: float, earlier: list[float]) -> None:
    scale = Scale()
    for number, one in enumerate(earlier):
        scale, _ = scale.desired(RULE, current, one, now=float(number))

    assert RULE.least <= scale.desired(RULE, current, utilization, now=20.0)[1] <= RULE.most


def test_idle_is_who_was_asked_nothing_for_long() -> None:
    idle = Idleness(0.0).seen(busy=True, now=5.0).seen(busy=False, now=9.0)

    assert not idle.over(10.0, now=14.9)
    assert idle.over(10.0, now=15.0)


@given(st.floats(0, 1e300), st.floats(5e-324, 10), st.integers(0, 10))
def test_the_bounds_hold_for_any_load(utilization: float, target: float, current: int) -> None:
    rule = ScaleRule(least=1, most=10, target=target)

    assert 1 <= Scale().desired(rule, current, utilization, now=0.0)[1] <= 10
