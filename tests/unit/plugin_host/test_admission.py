from hypothesis import given, strategies as st

from forgemesh.plugin_host.domain.admission import Admission, Verdict


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

    assert admission.leave()
    assert (admission.running, admission.waiting) == (1, 0)
    assert not admission.leave()
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
            admission.leave()
        elif step == "abandon" and admission.waiting:
            admission.abandon()

        assert 0 <= admission.running <= concurrency
        assert admission.waiting >= 0
        assert admission.running == concurrency or not admission.waiting
        assert admission.idle == (admission.running == 0)
