from forgemesh.routing.local_trip import FAILURES, JITTER, OUT, LocalTrips

INSTANCE = ("i-1", 1)


def failed(trips: LocalTrips, times: int, now: float = 0.0, draw: float = 0.0) -> list[float | None]:
    return [trips.failed(INSTANCE, now, draw) for _ in range(times)]


def test_an_instance_is_left_out_after_so_many_failures_in_a_row_and_only_for_a_moment() -> None:
    trips = LocalTrips()

    assert failed(trips, FAILURES, now=10.0) == [None] * (FAILURES - 1) + [10.0 + OUT]

    assert trips.out == {INSTANCE}
    assert trips.over(10.0 + OUT - 0.01) == []
    assert trips.over(10.0 + OUT) == [INSTANCE]
    assert not trips.out


def test_a_call_that_gets_through_begins_the_row_anew() -> None:
    trips = LocalTrips()
    failed(trips, FAILURES - 1)
    trips.answered(INSTANCE)

    assert failed(trips, FAILURES - 1) == [None] * (FAILURES - 1)

    assert not trips.out


def test_what_fails_while_the_instance_is_left_out_does_not_lengthen_its_time() -> None:
    trips = LocalTrips()
    failed(trips, FAILURES)

    assert failed(trips, 2 * FAILURES, now=OUT / 2) == [None] * 2 * FAILURES

    assert trips.over(OUT) == [INSTANCE]


def test_callers_come_back_at_different_moments() -> None:
    assert failed(LocalTrips(), FAILURES, draw=0.5)[-1] == OUT * (1 + JITTER / 2)


def test_another_registration_of_an_instance_is_another_matter() -> None:
    trips = LocalTrips()
    failed(trips, FAILURES - 1)

    assert trips.failed(("i-1", 2), 0.0, 0.0) is None

    trips.forget(INSTANCE)
    assert set(trips.streaks) == {("i-1", 2)}
