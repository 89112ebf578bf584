from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from forgemesh.routing.outlier import Ejections, Identity, IntervalCalls, OutlierRule

RULE = OutlierRule()
BY_RATE = replace(RULE, failure_share=0.0)
BY_SHARE = replace(RULE, success_rate_factor=0.0)


def tallies(*rates: float, calls: int = 100) -> dict[Identity, IntervalCalls]:
    """Instances a, b, c and so on, with their shares of failures."""
    return {
        Identity(name, 1): IntervalCalls(succeeded=calls - round(share * calls), failed=round(share * calls))
        for name, share in zip("abcdefghij", rates, strict=False)
    }


def names(ejections: Ejections) -> str:
    return "".join(sorted(identity.instance_id for identity in ejections.out))


def test_below_the_mean_less_the_factor_times_the_deviation_is_out() -> None:
    """Rates .99 four times and .5: mean .892, deviation .196, so the limit is .5196."""
    assert names(Ejections().sweep(BY_RATE, tallies(0.01, 0.01, 0.01, 0.01, 0.5), now=10.0)) == "e"
    assert names(Ejections().sweep(BY_RATE, tallies(0.01, 0.01, 0.01, 0.01, 0.01), now=10.0)) == ""


@pytest.mark.parametrize(("factor", "out"), [(1.9, "e"), (1.99, "e"), (2.01, "")])
def test_the_factor_decides_how_far_below_is_too_far(factor: float, out: str) -> None:
    """One of five that differs is always twice the deviation away."""
    rule = replace(BY_RATE, success_rate_factor=factor)

    assert names(Ejections().sweep(rule, tallies(0.1, 0.1, 0.1, 0.1, 0.3), now=10.0)) == out


@pytest.mark.parametrize(("share", "out"), [(0.84, ""), (0.85, "c"), (1.0, "c")])
def test_so_large_a_share_of_failures_is_out_whatever_the_others_do(share: float, out: str) -> None:
    assert names(Ejections().sweep(BY_SHARE, tallies(0.5, 0.5, share), now=10.0)) == out


def test_a_rule_of_zero_is_off() -> None:
    neither = replace(BY_RATE, success_rate_factor=0.0)

    assert names(Ejections().sweep(neither, tallies(0.0, 0.0, 0.0, 0.0, 1.0), now=10.0)) == ""


def test_instances_with_few_calls_are_not_compared_and_without_enough_instances_nobody_is() -> None:
    some = tallies(0.0, 0.0, 1.0)

    assert names(Ejections().sweep(BY_SHARE, some, now=10.0)) == "c"
    assert names(Ejections().sweep(BY_SHARE, some | {Identity("b", 1): IntervalCalls(19, 0)}, now=10.0)) == ""
    assert names(Ejections().sweep(BY_SHARE, some | {Identity("c", 1): IntervalCalls(0, 19)}, now=10.0)) == ""
    assert names(Ejections().sweep(BY_SHARE, tallies(0.0, 1.0), now=10.0)) == ""


@pytest.mark.parametrize(
    ("most", "out"), [(0.0, "d"), (0.1, "d"), (0.25, "d"), (0.49, "d"), (0.5, "cd"), (0.75, "bcd"), (1.0, "abcd")]
)
def test_no_more_than_their_share_are_out_the_worst_first_but_one_always_may(most: float, out: str) -> None:
    rule = replace(BY_SHARE, max_ejected=most)

    assert names(Ejections().sweep(rule, tallies(0.9, 0.92, 0.94, 0.96), now=10.0)) == out


def test_who_is_out_already_counts_against_the_share() -> None:
    ejections = Ejections().sweep(BY_SHARE, tallies(0.0, 0.0, 0.0, 1.0), now=10.0)
    ejections = ejections.sweep(BY_SHARE, tallies(0.0, 1.0, 1.0, 0.0) | {Identity("d", 1): IntervalCalls()}, now=20.0)

    assert names(ejections) == "bd"


def outages(*shares: float, base: float = 10.0, longest: float = 25.0) -> list[float]:
    """For how long instance c was ejected at each sweep, with 10 s between two; 0: it was in."""
    rule = replace(BY_SHARE, base_ejection=base, max_ejection=longest)
    ejections, lengths = Ejections(), []
    for number, share in enumerate(shares):
        now = 10.0 * number
        before = ejections.known.get(Identity("c", 1))
        ejections = ejections.sweep(rule, tallies(0.0, 0.0, share), now)
        after = ejections.known.get(Identity("c", 1))
        fresh = after is not None and after.until is not None and (before is None or before.until is None)
        lengths.append(after.until - now if fresh and after and after.until else 0.0)
    return lengths


def test_each_ejection_in_a_row_is_longer_up_to_the_longest() -> None:
    assert outages(1, 0, 1, 0, 0, 1, 0, 0, 0, 1) == [10, 0, 20, 0, 0, 25, 0, 0, 0, 25]


def test_a_base_above_the_longest_is_the_longest() -> None:
    assert outages(1, base=40.0, longest=25.0) == [40]


def test_each_healthy_interval_takes_an_ejection_off_the_record() -> None:
    assert outages(1, 0, 1, 0, 0, 0, 0, 1) == [10, 0, 20, 0, 0, 0, 0, 10]


def test_an_instance_is_in_again_at_the_first_sweep_after_its_time() -> None:
    ejections = Ejections().sweep(BY_SHARE, tallies(0.0, 0.0, 1.0), now=10.0)

    assert names(ejections.sweep(BY_SHARE, tallies(0.0, 0.0, 0.0), now=39.9)) == "c"
    assert names(ejections.sweep(BY_SHARE, tallies(0.0, 0.0, 0.0), now=40.0)) == ""


def test_a_new_incarnation_begins_without_a_past_and_who_is_gone_is_forgotten() -> None:
    ejections = Ejections().sweep(BY_SHARE, tallies(0.0, 0.0, 1.0), now=10.0)
    restarted = tallies(0.0, 0.0) | {Identity("c", 2): IntervalCalls(100, 0)}

    assert ejections.sweep(BY_SHARE, restarted, now=20.0).known == {}


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=5, max_size=5), max_size=20),
    st.floats(0.0, 1.0),
)
def test_the_share_holds_after_any_history(history: list[list[tuple[int, int]]], most: float) -> None:
    rule, ejections = replace(RULE, max_ejected=most), Ejections()
    for number, interval in enumerate(history):
        counted = {Identity(str(one), 1): IntervalCalls(*counts) for one, counts in enumerate(interval)}
        ejections = ejections.sweep(rule, counted, now=10.0 * number)

        assert len(ejections.out) <= max(1, most * 5)


def test_without_instances_there_is_nothing_to_sweep() -> None:
    assert Ejections().sweep(RULE, {}, now=10.0).known == {}
