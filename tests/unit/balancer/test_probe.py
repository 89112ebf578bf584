from hypothesis import given, strategies as st

from forgemesh.balancer.domain.probe import Probe, Verdict
from forgemesh.routing.endpoint import Health

SERVING = Verdict(Health.SERVING)
NOT_SERVING = Verdict(Health.NOT_SERVING, "it says so")


def test_nothing_is_known_before_the_first_answer() -> None:
    assert Probe(patience=2).verdict is None
    assert Probe(patience=2).missed("late").verdict is None


def test_an_answer_counts_at_once() -> None:
    assert Probe(patience=2).answered(SERVING).verdict == SERVING
    assert Probe(patience=2).answered(SERVING).answered(NOT_SERVING).verdict == NOT_SERVING
    assert Probe(patience=2).answered(NOT_SERVING).answered(SERVING).verdict == SERVING


def test_one_miss_is_forgiven_and_two_in_a_row_are_not() -> None:
    once = Probe(patience=2).answered(SERVING).missed("late")

    assert once.verdict == SERVING
    assert once.missed("late").verdict == Verdict(Health.UNREACHABLE, "late")
    assert once.answered(SERVING).missed("late").verdict == SERVING
    assert once.heard().missed("late").verdict == SERVING


def test_a_refused_connection_counts_at_once() -> None:
    assert Probe(patience=2).answered(SERVING).refused("nobody there").verdict == Verdict(
        Health.UNREACHABLE, "nobody there"
    )


def test_a_single_answer_ends_any_silence() -> None:
    silent = Probe(patience=2).missed("late").missed("late").missed("late")

    assert silent.answered(SERVING).verdict == SERVING


def test_who_was_silent_has_to_answer_as_often_as_is_asked_for_and_who_said_no_only_once() -> None:
    silent = Probe(patience=1, passes=3).answered(SERVING).missed("late")

    once = silent.answered(SERVING)
    assert once.answered(SERVING).verdict == Verdict(Health.UNREACHABLE, "late")
    assert once.answered(SERVING).answered(SERVING).verdict == SERVING
    assert once.missed("late").answered(SERVING).answered(SERVING).verdict == Verdict(Health.UNREACHABLE, "late")
    assert once.answered(NOT_SERVING).answered(SERVING).verdict == SERVING


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=40))
def test_an_instance_is_out_exactly_when_its_last_answers_are_missing(patience: int, answers: list[bool]) -> None:
    probe = Probe(patience).answered(SERVING)
    silence = 0
    for answered in answers:
        probe = probe.answered(SERVING) if answered else probe.missed("late")
        silence = 0 if answered else silence + 1

        assert (probe.verdict == SERVING) == (silence < patience)
