from forgemesh.routing.local_breaker import FAILURES, JITTER, OUT, LocalBreakers

INSTANCE = ("i-1", 1)


def failed(breakers: LocalBreakers, times: int, now: float = 0.0, draw: float = 0.0) -> list[float | None]:
    return [breakers.failed(INSTANCE, now, draw) for _ in range(times)]


def test_an_instance_is_left_out_after_so_many_failures_in_a_row_and_only_for_a_moment() -> None:
    breakers = LocalBreakers()

    assert failed(breakers, FAILURES, now=10.0) == [None] * (FAILURES - 1) + [10.0 + OUT]

    assert breakers.out == {INSTANCE}
    assert breakers.over(10.0 + OUT - 0.01) == []
    assert breakers.over(10.0 + OUT) == [INSTANCE]
    assert not breakers.out


def test_a_call_that_gets_through_begins_the_row_anew() -> None:
    breakers = LocalBreakers()
    failed(breakers, FAILURES - 1)
    breakers.answered(INSTANCE)

    assert failed(breakers, FAILURES - 1) == [None] * (FAILURES - 1)

    assert not breakers.out


def test_what_fails_while_the_instance_is_left_out_does_not_lengthen_its_time() -> None:
    breakers = LocalBreakers()
    failed(breakers, FAILURES)

    assert failed(breakers, 2 * FAILURES, now=OUT / 2) == [None] * 2 * FAILURES

    assert breakers.over(OUT) == [INSTANCE]


def test_callers_come_back_at_different_moments() -> None:
    assert failed(LocalBreakers(), FAILURES, draw=0.5)[-1] == OUT * (1 + JITTER / 2)


def test_another_registration_of_an_instance_is_another_matter() -> None:
    breakers = LocalBreakers()
    failed(breakers, FAILURES - 1)

    assert breakers.failed(("i-1", 2), 0.0, 0.0) is None

    breakers.forget(INSTANCE)
    assert set(breakers.streaks) == {("i-1", 2)}
