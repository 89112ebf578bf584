"""What a caller does with schedules: `mesh.schedules`."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from forgemesh.api.orchestrator.v1 import schedule_pb2, schedule_service_pb2 as pb
from forgemesh.client.control import caller
from forgemesh.client.peer import Peer
from forgemesh.client.schedule import (
    Overlap,
    Schedule,
    ScheduleMoment,
    SchedulePlan,
    ScheduleRun,
    overlap_number,
    stamp,
)
from forgemesh.client.tracing import current_traceparent

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import ScheduleServiceAsyncStub


class Schedules:
    """
    The schedules of a mesh. Once a method returns, what it did is durable.

    Every method raises the Fault (forgemesh.faults) with which the mesh refused, or ServiceUnreachable.
    """

    def __init__(self, stub: ScheduleServiceAsyncStub, peer: Peer) -> None:
        self._stub = stub
        self._peer = peer

    async def create(
        self,
        schedule_id: str,
        plan: SchedulePlan,
        *,
        paused: str | None = None,
        by: str | None = None,
        namespace: str = "default",
    ) -> Schedule:
        """
        Create a schedule; the same one again is the same one. With `paused`, a reason, it is so from the start.

        Raises ScheduleInvalid with everything that is wrong with the plan.
        """
        pause = schedule_pb2.SchedulePause(by=caller(by), reason=paused) if paused is not None else None
        request = pb.CreateScheduleRequest(
            namespace=namespace, schedule_id=schedule_id, plan=plan.message(), pause=pause
        )
        return Schedule.of((await self._peer.call(self._stub.CreateSchedule, request)).schedule)

    async def update(
        self, schedule_id: str, plan: SchedulePlan, *, revision: int = 0, namespace: str = "default"
    ) -> Schedule:
        """
        Replace a schedule's plan, e.g. by `dataclasses.replace(schedule.plan, overlap="allow_all")`.

        Raises ScheduleChanged if `revision` is given and somebody has changed the schedule since.
        """
        request = pb.UpdateScheduleRequest(
            namespace=namespace, schedule_id=schedule_id, plan=plan.message(), revision=revision
        )
        return Schedule.of((await self._peer.call(self._stub.UpdateSchedule, request)).schedule)

    async def delete(self, schedule_id: str, *, namespace: str = "default") -> bool:
        """Forget a schedule and what waits in it, and whether it was there. What it started goes on."""
        request = pb.DeleteScheduleRequest(namespace=namespace, schedule_id=schedule_id)
        return (await self._peer.call(self._stub.DeleteSchedule, request)).deleted

    async def get(self, schedule_id: str, *, namespace: str = "default") -> Schedule:
        """One schedule, with what waits, what is open and what was decided last."""
        request = pb.GetScheduleRequest(namespace=namespace, schedule_id=schedule_id)
        return Schedule.of((await self._peer.call(self._stub.GetSchedule, request)).schedule)

    async def list(
        self, *, workflow: str = "", paused_only: bool = False, namespace: str = "default"
    ) -> tuple[Schedule, ...]:
        """All schedules by id, or those of one workflow."""
        found: tuple[Schedule, ...] = ()
        request = pb.ListSchedulesRequest(
            namespace=namespace, workflow=workflow, paused_only=paused_only, page_size=500
        )
        while True:
            page = await self._peer.call(self._stub.ListSchedules, request)
            found += tuple(Schedule.of(one) for one in page.schedules)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def damaged(self, *, namespace: str = "default") -> tuple[str, ...]:
        """What is to be said of each schedule that cannot be read: nothing of it happens, and it can be deleted."""
        request = pb.ListSchedulesRequest(namespace=namespace, page_size=1)
        return tuple((await self._peer.call(self._stub.ListSchedules, request)).damaged)

    async def pause(
        self, schedule_id: str, reason: str = "", *, by: str | None = None, namespace: str = "default"
    ) -> Schedule:
        """Skip the moments that come, and hold what waits, until it is resumed."""
        request = pb.PauseScheduleRequest(namespace=namespace, schedule_id=schedule_id, by=caller(by), reason=reason)
        return Schedule.of((await self._peer.call(self._stub.PauseSchedule, request)).schedule)

    async def resume(self, schedule_id: str, *, namespace: str = "default") -> Schedule:
        """Let a paused schedule go on."""
        request = pb.ResumeScheduleRequest(namespace=namespace, schedule_id=schedule_id)
        return Schedule.of((await self._peer.call(self._stub.ResumeSchedule, request)).schedule)

    async def trigger(
        self,
        schedule_id: str,
        *,
        overlap: Overlap | None = None,
        request_id: str | None = None,
        namespace: str = "default",
    ) -> ScheduleRun:
        """
        Start the schedule's workflow once, now, by the schedule's overlap policy or another one.

        A repetition with the same `request_id` starts nothing. The execution's trace links to the current span.
        """
        request = pb.TriggerScheduleRequest(
            namespace=namespace,
            schedule_id=schedule_id,
            overlap_policy=overlap_number(overlap),
            request_id=request_id or secrets.token_hex(16),
        )
        parent = current_traceparent()
        metadata = (("traceparent", parent),) if parent else ()
        return ScheduleRun.of((await self._peer.call(self._stub.TriggerSchedule, request, metadata=metadata)).run)

    async def backfill(
        self,
        schedule_id: str,
        start_at: datetime,
        end_at: datetime,
        *,
        overlap: Overlap = "buffer_all",
        request_id: str | None = None,
        namespace: str = "default",
    ) -> tuple[ScheduleRun, ...]:
        """
        Start the schedule's workflow for each of its moments in a range of the past, both ends included; usually one
        after the other.

        Moments for which it was started before are started again; a repetition with the same `request_id` is not.
        """
        request = pb.BackfillScheduleRequest(
            namespace=namespace,
            schedule_id=schedule_id,
            start_at=stamp(start_at),
            end_at=stamp(end_at),
            overlap_policy=overlap_number(overlap),
            request_id=request_id or secrets.token_hex(16),
        )
        answer = await self._peer.call(self._stub.BackfillSchedule, request)
        return tuple(ScheduleRun.of(one) for one in answer.runs)

    async def preview(
        self,
        schedule_id: str = "",
        *,
        plan: SchedulePlan | None = None,
        after: datetime | None = None,
        count: int = 10,
        namespace: str = "default",
    ) -> tuple[ScheduleMoment, ...]:
        """The next moments of a schedule, or of a plan, which is checked as `create` does; starts nothing."""
        request = pb.PreviewScheduleRequest(
            namespace=namespace,
            schedule_id=schedule_id,
            plan=plan.message() if plan is not None else None,
            after=stamp(after),
            count=count,
        )
        answer = await self._peer.call(self._stub.PreviewSchedule, request)
        return tuple(ScheduleMoment.of(one) for one in answer.moments)
