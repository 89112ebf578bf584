import pytest

from forgemesh.plugin.duration import seconds_of


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("200ms", 0.2), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("1.5 s", 1.5), (3, 3.0), (0.25, 0.25)],
)
def test_a_length_of_time_is_read_with_its_unit(written: str | float, seconds: float) -> None:
    assert seconds_of(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "5", "s", "5 parsecs", "-5s", "0s", 0, -1.0, float("inf"), float("nan")])
def test_what_is_no_positive_length_of_time_is_refused(written: str | float) -> None:
    with pytest.raises(ValueError, match="length of time"):
        seconds_of(written)
