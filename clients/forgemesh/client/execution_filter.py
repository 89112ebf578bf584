"""Which executions are meant, and in which order they come."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1 import control_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2 import ExecutionOrder
from forgemesh.client.status import Status

Order = Literal["started_descending", "started_ascending", "ended_descending", "ended_ascending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """
    Which executions are meant: everything that is set narrows the choice.

    `parent_execution_id` and `schedule_id` fit whatever has had that id; `parent_run_id` and `schedule_incarnation_id`
    say which one is meant. Moments need a time zone. `incidents_only` leaves those in which a step waits for a person.
    """

    workflows: Collection[str] = ()
    workflow_version: str = ""
    statuses: Collection[Status] = ()
    open_only: bool = False
    incidents_only: bool = False
    id_prefix: str = ""
    started_from: datetime | None = None
    started_before: datetime | None = None
    parent_execution_id: str = ""
    schedule_id: str = ""
    concurrency_key: str = ""
    parent_run_id: str = ""
    schedule_incarnation_id: str = ""

    def message(self) -> pb.ExecutionFilter:
        """As the API takes it."""
        return pb.ExecutionFilter(
            workflows=self.workflows,
            workflow_version=self.workflow_version,
            statuses=sorted(status.number for status in self.statuses),
            open_only=self.open_only,
            incidents_only=self.incidents_only,
            id_prefix=self.id_prefix,
            started_from=_stamp(self.started_from),
            started_before=_stamp(self.started_before),
            parent_execution_id=self.parent_execution_id,
            schedule_id=self.schedule_id,
            concurrency_key=self.concurrency_key,
            parent_run_id=self.parent_run_id,
            schedule_incarnation_id=self.schedule_incarnation_id,
        )


EVERYTHING = ExecutionFilter()


def order_number(order: Order) -> ExecutionOrder.ValueType:
    """The order's value in the API."""
    return ExecutionOrder.Value(f"EXECUTION_ORDER_{order.upper()}")


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; write e.g. datetime.now(UTC)")
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
