"""Faults of schedules."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults.fault import Code, Fault, Violation


class ScheduleNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "SCHEDULE_NOT_FOUND"

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"no schedule {schedule_id!r}; see `forgemesh schedule list`", {"schedule_id": schedule_id})


class ScheduleExists(Fault):
    code = Code.ALREADY_EXISTS
    reason = "SCHEDULE_EXISTS"

    def __init__(self, schedule_id: str) -> None:
        super().__init__(
            f"schedule {schedule_id!r} exists already with another plan; take another id, or see it with"
            f" `forgemesh schedule show {schedule_id}`",
            {"schedule_id": schedule_id},
        )


class ScheduleInvalid(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "SCHEDULE_INVALID"

    def __init__(self, schedule_id: str, violations: Sequence[Violation]) -> None:
        listed = "; ".join(f"{v.field}: {v.message}" for v in violations)
        super().__init__(
            f"the schedule {schedule_id!r} is not valid: {listed}",
            {"schedule_id": schedule_id, "violations": listed},
            violations=violations,
        )


class ScheduleChanged(Fault):
    code = Code.ABORTED
    reason = "SCHEDULE_CHANGED"

    def __init__(self, schedule_id: str, expected: int, found: int) -> None:
        super().__init__(
            f"schedule {schedule_id!r} has revision {found} and not {expected}: somebody changed it meanwhile; look at"
            f" it with `forgemesh schedule show {schedule_id}` and change it again",
            {"schedule_id": schedule_id, "expected": str(expected), "found": str(found)},
        )


class ScheduleFull(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "SCHEDULE_FULL"

    def __init__(self, schedule_id: str, waiting: int, asked: int, limit: int) -> None:
        super().__init__(
            f"{waiting} starts wait in schedule {schedule_id!r}, {asked} more would be over its limit of {limit}; ask"
            " for fewer moments, or again once some have started",
            {"schedule_id": schedule_id, "waiting": str(waiting), "asked": str(asked), "limit": str(limit)},
        )
