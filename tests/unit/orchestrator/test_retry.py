from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from forgemesh.faults import Code
from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.retry import FAILOVER, LONGEST_WISH, UNMADE, RetryRule

AWAY = Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True)
ALMOST_ONE = 1 - 2**-53


def test_the_wait_grows_up_to_its_cap() -> None:
    rule = RetryRule(initial=0.2, coefficient=2.0, max_interval=1.0, max_attempts=10)

    waits = [rule.delay(AWAY, counted, 0, ALMOST_ONE) for counted in range(1, 7)]

    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


@given(
    st.floats(0.001, 100),
    st.floats(1, 100),
    st.floats(0.001, 1000),
    st.integers(1, 99),
    st.floats(0, ALMOST_ONE),
)
def test_the_wait_is_drawn_from_zero_to_the_full_interval(
    initial: float, coefficient: float, cap: float, counted: int, draw: float
) -> None:
    rule = RetryRule(initial=initial, coefficient=coefficient, max_interval=cap, max_attempts=100)

    wait = rule.delay(AWAY, counted, 0, draw)

    assert wait is not None
    assert 0 <= wait <= cap
    assert rule.delay(AWAY, counted, 0, 0.0) == 0
    assert wait == pytest.approx(draw * min(cap, initial * coefficient ** min(counted - 1, 64)))


def test_there_are_as_many_tries_as_the_rule_says() -> None:
    rule = RetryRule(max_attempts=3)

    assert rule.delay(AWAY, 2, 0, 0.5) is not None
    assert rule.delay(AWAY, 3, 0, 0.5) is None
    assert RetryRule(max_attempts=1).delay(AWAY, 1, 0, 0.5) is None


def test_what_cannot_work_is_not_tried_again() -> None:
    rule = RetryRule(non_retryable=frozenset({"AWAY"}))

    assert rule.delay(AWAY, 1, 0, 0.5) is None
    assert RetryRule().delay(replace(AWAY, retryable=False), 1, 0, 0.5) is None


def test_the_failing_side_may_ask_for_a_longer_wait_within_reason() -> None:
    rule = RetryRule()

    assert rule.delay(replace(AWAY, retry_after=7.0), 1, 0, 0.5) == 7.0
    assert rule.delay(replace(AWAY, retry_after=0.001), 1, 0, 0.5) == 0.1
    assert rule.delay(replace(AWAY, retry_after=-5.0), 1, 0, 0.5) == 0.1
    assert rule.delay(replace(AWAY, retry_after=1e30), 1, 0, 0.5) == LONGEST_WISH


@pytest.mark.parametrize("reason", sorted(FAILOVER - UNMADE))
def test_a_try_that_was_lost_is_made_up_for_at_once_and_does_not_count_with_the_others(reason: str) -> None:
    lost = replace(AWAY, reason=reason)
    rule = RetryRule(max_attempts=3)

    assert rule.delay(lost, 0, 1, 0.5) == 0.0
    assert rule.delay(lost, 0, 2, 0.5) == 0.1
    assert rule.delay(AWAY, 2, 2, 0.5) == 0.2


@pytest.mark.parametrize("most", [2, 3, 7])
@pytest.mark.parametrize("reason", sorted(FAILOVER - UNMADE))
def test_there_are_as_many_tries_that_are_lost_as_the_rule_allows_tries(reason: str, most: int) -> None:
    lost = replace(AWAY, reason=reason)
    rule = RetryRule(max_attempts=most)

    assert [rule.delay(lost, 0, times, 0.5) is None for times in range(1, most + 1)] == [False] * (most - 1) + [True]


def test_where_poison_is_refused_a_call_is_made_once_more_to_hear_that() -> None:
    lost = failure_of(HostLost("i", accepted=True, begun=True, refuses_poison=True), retryable=True)
    rule = RetryRule(max_attempts=3)

    assert rule.delay(lost, 0, 3, 0.5) is not None
    assert rule.delay(lost, 0, 4, 0.5) is None


@pytest.mark.parametrize("reason", sorted(FAILOVER - UNMADE))
def test_the_first_try_that_is_lost_is_made_up_for_even_if_there_is_to_be_one(reason: str) -> None:
    lost = replace(AWAY, reason=reason)
    rule = RetryRule(max_attempts=1)

    assert rule.delay(lost, 0, 1, 0.5) == 0.0
    assert rule.delay(lost, 0, 2, 0.5) is None


@pytest.mark.parametrize("reason", sorted(UNMADE))
def test_a_call_that_was_put_off_is_made_up_for_as_long_as_it_takes_and_ever_more_slowly(reason: str) -> None:
    refused = replace(AWAY, reason=reason)
    rule = RetryRule(max_attempts=2, max_interval=5.0)

    waits = [rule.delay(refused, 0, lost, ALMOST_ONE) for lost in (1, 2, 3, 50)]

    assert waits == pytest.approx([0.0, 0.2, 0.4, 5.0])


def test_a_call_that_waited_where_its_instance_was_lost_is_made_as_long_as_it_takes() -> None:
    waited = failure_of(HostLost("i", accepted=False, begun=False), retryable=True)
    perhaps = failure_of(HostLost("i", accepted=False), retryable=True)
    rule = RetryRule(max_attempts=2)

    assert rule.delay(waited, 0, 50, ALMOST_ONE) == pytest.approx(10.0)
    assert rule.delay(perhaps, 0, 2, ALMOST_ONE) is None


def test_a_lost_try_of_a_call_that_must_not_be_repeated_is_not_made_up_for() -> None:
    lost = replace(AWAY, reason="HOST_LOST")

    assert RetryRule(non_retryable=frozenset({"HOST_LOST"})).delay(lost, 0, 1, 0.5) is None
