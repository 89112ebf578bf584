"""What requests of the orchestrator's API are read as, and refused for."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1.control_pb2 import ExecutionFilter
from forgemesh.faults.service import InvalidRequest
from forgemesh.orchestrator.api.requests import filter_of

LAST = Timestamp(seconds=253_402_300_799, nanos=999_999_999)
FIRST = Timestamp(seconds=-62_135_596_800)


@pytest.mark.parametrize(
    "stamp",
    [
        Timestamp(seconds=LAST.seconds + 1),
        Timestamp(seconds=FIRST.seconds - 1),
        Timestamp(seconds=2**63 - 1),
        Timestamp(seconds=-(2**63)),
        Timestamp(seconds=1, nanos=-1),
        Timestamp(seconds=1, nanos=1_000_000_000),
    ],
)
def test_moments_that_do_not_exist_are_refused_together_with_unknown_statuses(stamp: Timestamp) -> None:
    asked = ExecutionFilter(started_from=stamp, started_before=stamp)

    with pytest.raises(InvalidRequest) as refused:
        filter_of("default", asked, "", 99)

    assert [violation.field for violation in refused.value.violations] == ["statuses", "started_from", "started_before"]


def test_moments_beyond_what_a_store_can_count_are_before_and_after_every_execution() -> None:
    wanted = filter_of("default", ExecutionFilter(started_from=FIRST, started_before=LAST), "", 0)

    assert (wanted.started_from, wanted.started_before) == (-(2**63 - 1), 2**63 - 1)


def test_parents_and_schedules_are_told_from_others_of_their_id() -> None:
    run = "01jd8x3k5v2m7q9r4t6w8y0abc"
    short = ExecutionFilter(parent_execution_id=f"p@{run}", schedule_id=f"s@{run}")
    spelled = ExecutionFilter(parent_execution_id="p", parent_run_id=run, schedule_id="s", schedule_incarnation_id=run)

    wanted = [filter_of("default", asked, "", 0) for asked in (short, spelled)]
    assert wanted[0] == wanted[1]
    assert (wanted[0].parent_id, wanted[0].parent_run) == ("p", run)
    assert (wanted[0].schedule_id, wanted[0].schedule_incarnation) == ("s", run)
    with pytest.raises(InvalidRequest):
        filter_of("default", ExecutionFilter(parent_execution_id="p@nothing"), "", 0)
