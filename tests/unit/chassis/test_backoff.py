import pytest

from forgemesh.chassis.backoff import longest_pause


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.1), (1, 0.2), (4, 1.6), (5, 2.0), (100_000, 2.0)])
def test_a_pause_doubles_up_to_the_longest_however_often_it_fails(failures: int, seconds: float) -> None:
    assert longest_pause(failures, first=0.1, most=2.0) == seconds
