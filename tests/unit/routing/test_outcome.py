import pytest

from forgemesh.faults import Code
from forgemesh.routing.outcome import LATENCIES, CallCounter, CallCounts, CallFailure, Outcome, classify, latency_bound

REFUSED = CallFailure(code=Code.UNAVAILABLE, message="connection refused")


@pytest.mark.parametrize(
    ("code", "reason", "outcome"),
    [
        (Code.OK, "", Outcome.OK),
        *((code, "", Outcome.FAILURE) for code in (Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS)),
        (Code.UNKNOWN, "PLUGIN_EXCEPTION", Outcome.IGNORED),
        (Code.INTERNAL, "OUTPUT_INVALID", Outcome.IGNORED),
        (Code.UNKNOWN, "", Outcome.FAILURE),
        (Code.FAILED_PRECONDITION, "POISON", Outcome.IGNORED),
        (Code.UNAVAILABLE, "INSTANCE_RESERVED", Outcome.IGNORED),
        (Code.UNAVAILABLE, "HOST_LOST", Outcome.FAILURE),
        (Code.DEADLINE_EXCEEDED, "START_TO_CLOSE_TIMEOUT", Outcome.FAILURE),
        (Code.RESOURCE_EXHAUSTED, "", Outcome.OVERLOAD),
        (Code.RESOURCE_EXHAUSTED, "INSTANCE_FULL", Outcome.OVERLOAD),
        (Code.RESOURCE_EXHAUSTED, "QUEUE_TOO_LONG", Outcome.OVERLOAD),
        (Code.CANCELLED, "", Outcome.IGNORED),
        (Code.UNAVAILABLE, "INSTANCE_DRAINING", Outcome.IGNORED),
        (Code.FAILED_PRECONDITION, "WRONG_INCARNATION", Outcome.IGNORED),
        (Code.FAILED_PRECONDITION, "PERMIT_REFUSED", Outcome.IGNORED),
        (Code.UNIMPLEMENTED, "OPERATION_NOT_FOUND", Outcome.IGNORED),
        (Code.INVALID_ARGUMENT, "INPUT_INVALID", Outcome.IGNORED),
        (Code.UNAVAILABLE, "ORCHESTRATOR_LOST", Outcome.IGNORED),
        (Code.UNAVAILABLE, "CIRCUIT_OPEN", Outcome.IGNORED),
        (Code.UNAVAILABLE, "NONE_HEALTHY", Outcome.IGNORED),
        (Code.RESOURCE_EXHAUSTED, "ALL_FULL", Outcome.IGNORED),
        *(
            (code, "", Outcome.OK)
            for code in (
                *(Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.FAILED_PRECONDITION, Code.ABORTED),
                *(Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.OUT_OF_RANGE, Code.UNIMPLEMENTED),
            )
        ),
    ],
)
def test_only_what_the_instance_is_to_blame_for_counts_against_it(code: Code, reason: str, outcome: Outcome) -> None:
    assert classify(code, reason=reason, took=1.5, slow_call=1.0 if outcome is Outcome.FAILURE else 2.0) is outcome


@pytest.mark.parametrize(
    ("given", "took", "outcome"),
    [
        (1.0, 1.0, Outcome.FAILURE),
        (0.9, 0.9, Outcome.IGNORED),
        (0.1, 5.0, Outcome.IGNORED),
        (None, 1.0, Outcome.FAILURE),
        (None, 0.9, Outcome.IGNORED),
    ],
)
def test_a_call_that_was_given_less_time_than_a_slow_one_takes_is_no_failure(
    given: float | None, took: float, outcome: Outcome
) -> None:
    assert classify(Code.DEADLINE_EXCEEDED, given=given, took=took, slow_call=1.0) is outcome


def test_an_answer_is_slow_from_the_threshold_on_also_if_it_tells_of_a_mistake_of_the_caller() -> None:
    assert classify(Code.OK, took=0.99, slow_call=1.0) is Outcome.OK
    assert classify(Code.OK, took=1.0, slow_call=1.0) is Outcome.SLOW
    assert classify(Code.NOT_FOUND, took=1.0, slow_call=1.0) is Outcome.SLOW
    assert classify(Code.OK, took=99.0, slow_call=0.0) is Outcome.OK


def test_what_was_never_sent_says_nothing() -> None:
    assert classify(Code.UNAVAILABLE, reason="HOST_LOST", took=9.0, slow_call=1.0, sent=False) is Outcome.IGNORED


def test_an_account_adds_up() -> None:
    counts = CallCounts(started=2).plus(Outcome.OK, 0.0005)
    for outcome in (Outcome.SLOW, Outcome.OVERLOAD, Outcome.IGNORED):
        counts = counts.plus(outcome, 0.003)

    assert counts == CallCounts(started=2, succeeded=2, slow=1, overloaded=1, ignored=1, latencies=(1, 0, 1))


def test_failures_in_a_row_end_with_a_success_and_with_nothing_else() -> None:
    failing = CallCounts().plus(Outcome.FAILURE, 0.1, REFUSED).plus(Outcome.OVERLOAD, 0.1).plus(Outcome.IGNORED, 0.1)
    failing = failing.plus(Outcome.FAILURE, 0.1, REFUSED)

    assert (failing.failures_in_a_row, failing.last_failure) == (2, REFUSED)
    assert failing.plus(Outcome.OK, 0.1).failures_in_a_row == 0


def test_a_tally_goes_on_from_what_was_counted_before() -> None:
    before = CallCounts(started=3, failed=2, failures_in_a_row=2, last_failure=REFUSED, latencies=(0, 1))
    tally = CallCounter(before)

    assert tally.counts() == before
    tally.ended(Outcome.OK, 0.002)

    assert tally.counts() == before.plus(Outcome.OK, 0.002)


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        (0.0, 0),
        (0.001, 0),
        (0.0011, 1),
        (0.002, 1),
        (0.003, 2),
        (0.004, 2),
        (0.005, 3),
        (1.0, 10),
        (1e9, LATENCIES - 1),
    ],
)
def test_latencies_are_counted_by_doubling_bounds(seconds: float, bound: int) -> None:
    assert latency_bound(seconds) == bound


def test_a_difference_is_what_was_added() -> None:
    earlier = CallCounts(started=5, succeeded=3, failed=2, failures_in_a_row=2, last_failure=REFUSED, latencies=(3,))
    later = CallCounts(
        started=9, succeeded=3, failed=5, failures_in_a_row=5, last_failure=REFUSED, ignored=1, latencies=(3, 0, 1)
    )

    assert later.since(earlier) == CallCounts(
        started=4, failed=3, failures_in_a_row=3, last_failure=REFUSED, ignored=1, latencies=(0, 0, 1)
    )


def test_a_success_within_a_difference_leaves_the_failures_after_it_in_a_row() -> None:
    earlier = CallCounts(failed=4, failures_in_a_row=4)
    later = CallCounts(succeeded=1, failed=9, failures_in_a_row=2)

    assert later.since(earlier).failures_in_a_row == 2


def test_an_account_that_shrinks_or_lies_adds_nothing_below_zero() -> None:
    much = CallCounts(started=9, succeeded=9, failed=9, slow=9, overloaded=9, ignored=9, latencies=(9, 9))

    assert CallCounts(failures_in_a_row=7, last_failure=REFUSED).since(much) == CallCounts(latencies=(0, 0))
    assert CallCounts(succeeded=1, slow=50).since(CallCounts()).slow == 1


def test_differences_of_several_callers_become_one() -> None:
    one = CallCounts(started=2, succeeded=1, failed=2, failures_in_a_row=2, last_failure=REFUSED, latencies=(1,))
    failing = CallCounts(started=3, failed=3, failures_in_a_row=3)
    fine = CallCounts(started=1, succeeded=1, latencies=(0, 1))

    assert one.then(failing).failures_in_a_row == 5
    assert one.then(failing).then(fine) == CallCounts(
        started=6, succeeded=2, failed=5, last_failure=REFUSED, latencies=(1, 1)
    )


@pytest.mark.parametrize(("code", "reason"), [(Code.UNKNOWN, "PLUGIN_EXCEPTION"), (Code.INTERNAL, "OUTPUT_INVALID")])
def test_what_the_authors_code_raised_is_a_failure_where_the_policy_says_so(code: Code, reason: str) -> None:
    assert classify(code, reason=reason, took=0.1, slow_call=1.0, count_exceptions=True) is Outcome.FAILURE
