import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin_host.host.calls.admission import Admission, Verdict


def test_calls_run_until_the_concurrency_is_reached_and_then_wait() -> None:
    admission = Admission(concurrency=2, queue=1)

    assert [admission.arrive(credited=False) for _ in range(4)] == [
        Verdict.RUN,
        Verdict.RUN,
        Verdict.WAIT,
        Verdict.REFUSE,
    ]


def test_a_call_with_a_credit_waits_even_in_a_full_queue() -> None:
    admission = Admission(concurrency=1, queue=0)
    admission.arrive(credited=True)

    assert admission.arrive(credited=False) is Verdict.REFUSE
    assert admission.arrive(credited=True) is Verdict.WAIT


def test_the_place_of_a_call_that_ends_goes_to_one_that_waits() -> None:
    admission = Admission(concurrency=1, queue=1)
    admission.arrive(credited=False)
    admission.arrive(credited=False)

    assert admission.leave(1.0)
    assert (admission.running, admission.waiting) == (1, 0)
    assert not admission.leave(1.0)
    assert admission.idle


def test_a_waiting_call_that_gives_up_makes_room() -> None:
    admission = Admission(concurrency=1, queue=1)
    admission.arrive(credited=False)
    admission.arrive(credited=False)
    admission.abandon()

    assert admission.arrive(credited=False) is Verdict.WAIT


@given(
    st.integers(1, 5),
    st.integers(0, 5),
    st.lists(st.sampled_from(["unary", "session", "leave", "abandon"]), max_size=100),
)
def test_no_more_than_the_concurrency_ever_run_and_nobody_waits_for_a_free_place(
    concurrency: int, queue: int, steps: list[str]
) -> None:
    admission = Admission(concurrency, queue)
    for step in steps:
        if step in ("unary", "session"):
            admission.arrive(credited=step == "session")
        elif step == "leave" and admission.running:
            admission.leave(1.0)
        elif step == "abandon" and admission.waiting:
            admission.abandon()

        assert 0 <= admission.running <= concurrency
        assert admission.waiting >= 0
        assert admission.running == concurrency or not admission.waiting
        assert admission.idle == (admission.running == 0)


def test_a_call_that_would_not_get_its_turn_in_time_is_refused_at_once() -> None:
    admission = Admission(concurrency=2, queue=10)
    for _ in range(20):
        admission.arrive(credited=False)
        admission.leave(4.0)
    for _ in range(3):
        admission.arrive(credited=False)

    assert admission.expected_wait == pytest.approx(3.0)
    assert admission.arrive(credited=False, seconds=2.9) is Verdict.TOO_LATE
    assert admission.arrive(credited=True, seconds=2.9) is Verdict.TOO_LATE
    assert admission.arrive(credited=False, seconds=3.1) is Verdict.WAIT


def test_a_call_that_needs_not_wait_is_never_too_late() -> None:
    admission = Admission(concurrency=1, queue=10)
    admission.arrive(credited=False)
    admission.leave(1000.0)

    assert admission.expected_wait == 0
    assert admission.arrive(credited=False, seconds=0.001) is Verdict.RUN


def test_before_any_call_has_ended_nobody_is_refused_for_being_late() -> None:
    admission = Admission(concurrency=1, queue=10)
    admission.arrive(credited=False)

    assert admission.arrive(credited=False, seconds=0.001) is Verdict.WAIT


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=50))
def test_the_mean_stays_between_the_shortest_and_the_longest_run(runs: list[float]) -> None:
    admission = Admission(concurrency=1, queue=0)
    for ran in runs:
        admission.arrive(credited=False)
        admission.leave(ran)

    assert min(runs) * 0.999 <= admission.mean_run <= max(runs) * 1.001


def test_the_newest_runs_count_most() -> None:
    admission = Admission(concurrency=1, queue=0)
    for ran in [100.0] * 50 + [1.0] * 50:
        admission.arrive(credited=False)
        admission.leave(ran)

    assert admission.mean_run < 2
