import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.cli.moment import ago, ahead

NOW = 1_700_000_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 s"), (119, "119 s"), (120, "2 m"), (121, "3 m"), (7200, "2 h"), (172_800, "2 d"), (172_801, "3 d")],
)
def test_a_length_of_time_has_one_unit_and_is_never_too_short(seconds: int, text: str) -> None:
    assert ahead(Timestamp(seconds=NOW + seconds), NOW * 10**9) == f"in {text}"
    assert ago(Timestamp(seconds=NOW - seconds), NOW * 10**9) == f"{text} ago"


def test_a_part_of_a_second_is_a_second() -> None:
    assert ahead(Timestamp(seconds=NOW, nanos=1), NOW * 10**9) == "in 1 s"


def test_what_is_due_is_due_now() -> None:
    assert ahead(Timestamp(seconds=NOW - 5), NOW * 10**9) == "now"
