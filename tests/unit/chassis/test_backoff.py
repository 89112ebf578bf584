import pytest

from forgemesh.chassis.backoff import drawn_pause, longest_pause


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.1), (1, 0.2), (4, 1.6), (5, 2.0), (100_000, 2.0)])
def test_a_pause_doubles_up_to_the_longest_however_often_it_fails(failures: int, seconds: float) -> None:
    assert longest_pause(failures, first=0.1, most=2.0) == seconds


@pytest.mark.parametrize(("least", "failures"), [(0.0, 0), (0.5, 3), (0.5, 5_000)])
def test_those_who_fail_together_do_not_try_again_together(least: float, failures: int) -> None:
    longest = longest_pause(failures, first=0.1, most=2.0)

    drawn = {drawn_pause(failures, first=0.1, most=2.0, least=least) for _ in range(200)}

    assert len(drawn) > 100
    assert all(least * longest <= pause <= longest for pause in drawn)
