import pytest

from forgemesh.balancer.domain.stock_counts import StockCalls, StockCounts, blamed
from forgemesh.routing.outcome import CountKey


def key(instance_id: str, generation: int = 0) -> CountKey:
    return CountKey("weather.stats", instance_id, 1, generation)


def calls(ok: int, failed: int, in_flight: int = 0) -> StockCalls:
    return StockCalls(ok + failed, ok, failed, in_flight)


@pytest.mark.parametrize(
    ("own", "others", "blame"),
    [
        ((0, 5), (0, 0), 5),  # alone, and nothing succeeds
        ((1, 9), (0, 0), 0),  # alone, and something does: nobody to compare with
        ((0, 10), (10, 0), 10),
        ((5, 5), (10, 0), 5),  # every second call
        ((0, 10), (0, 10), 0),  # the call fails everywhere
        ((0, 10), (5, 5), 5),
        ((9, 1), (1, 9), 0),
        ((10, 0), (0, 10), 0),
        ((0, 0), (10, 0), 0),
    ],
)
def test_the_call_is_blamed_before_the_instance(own: tuple[int, int], others: tuple[int, int], blame: int) -> None:
    assert blamed(calls(*own), calls(*own).plus(calls(*others))) == blame


def test_reports_add_up_to_an_account() -> None:
    counts = StockCounts(lambda key: True)
    counts.add([(key("a"), calls(3, 0, 2)), (key("b"), calls(4, 0))])

    told = {one.key.instance_id: one for one in counts.add([(key("a"), calls(0, 2, 1)), (key("b"), calls(5, 0))])}

    a = told["a"].counts
    assert (a.started, a.succeeded, a.failed, a.failures_in_a_row, a.ignored) == (5, 3, 2, 2, 0)
    assert told["a"].in_flight == 1
    assert told["b"].counts.succeeded == 9
    assert a.last_failure is not None


def test_failures_beside_successes_are_in_no_row() -> None:
    counts = StockCounts(lambda key: True)

    told = counts.add([(key("a"), calls(1, 4)), (key("b"), calls(5, 0))])

    assert [(one.counts.failed, one.counts.failures_in_a_row) for one in told] == [(4, 0), (0, 0)]


def test_what_is_told_twice_in_one_report_counts_together() -> None:
    (told,) = StockCounts(lambda key: True).add([(key("a"), calls(1, 0, 1)), (key("a"), calls(2, 0, 1))])

    assert (told.counts.succeeded, told.in_flight) == (3, 2)


def test_of_an_instance_that_is_gone_nothing_is_kept() -> None:
    there = {"a"}
    counts = StockCounts(lambda key: key.instance_id in there)
    counts.add([(key("a"), calls(3, 0))])
    there.clear()
    assert counts.add([(key("a"), calls(3, 0))]) == []
    there.add("a")

    (told,) = counts.add([(key("a"), calls(1, 0))])

    assert told.counts.succeeded == 1


def test_each_generation_of_a_circuit_has_its_own_account() -> None:
    counts = StockCounts(lambda key: True)
    counts.add([(key("a", 1), calls(0, 5))])

    (told,) = counts.add([(key("a", 2), calls(1, 0))])

    assert (told.key.generation, told.counts.failed) == (2, 0)
