import pytest

from forgemesh.orchestrator.values.moment import moment


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:01+01:00", 1_000_000_000),
        ("2026-01-31T12:00:00.123456Z", 1_769_860_800_123_456_000),
        ("2261-12-31T23:59:59Z", 9_214_646_399_000_000_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000_000),
    ],
)
def test_a_moment_is_read_in_its_zone(text: str, nanoseconds: int) -> None:
    assert moment(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-31T12:00:00", "2026-02-30T00:00:00Z", "2262-01-01T00:00:00Z", "1" * 5000, 5, None, []],
)
def test_what_is_no_moment_is_none(text: object) -> None:
    assert moment(text) is None
