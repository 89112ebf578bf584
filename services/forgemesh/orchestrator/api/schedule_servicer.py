"""ScheduleService over gRPC: translate, call, translate back. No decisions here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forgemesh.api.orchestrator.v1 import schedule_service_pb2 as pb
from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import ScheduleServiceServicer
from forgemesh.chassis.pages import MAX_BYTES, fitting, key_before, size_of, token_after
from forgemesh.orchestrator.api import schedule_requests as requests
from forgemesh.orchestrator.api.requests import caller_of, namespace_of, text_of
from forgemesh.orchestrator.schedules.schedule import Overlap
from forgemesh.orchestrator.schedules.schedules import Schedules
from forgemesh.orchestrator.store.schedules import (
    add_runs,
    moments_to_messages,
    run_to_message,
    schedule_to_message,
    shrink,
)

SCHEDULE_SERVICE = pb.DESCRIPTOR.services_by_name["ScheduleService"].full_name
NEXT_MOMENTS = 10


class ScheduleServicer(ScheduleServiceServicer):
    """`clock` says Unix nanoseconds."""

    def __init__(self, schedules: Schedules, clock: Callable[[], int]) -> None:
        self._schedules = schedules
        self._clock = clock

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: Any) -> pb.CreateScheduleResponse:
        plan, mistakes = requests.plan_of(request.plan)
        pause = requests.pause_of(request.pause, self._clock()) if request.HasField("pause") else None
        schedule, created = await self._schedules.create(
            namespace_of(request), request.schedule_id, plan, pause, mistakes
        )
        return pb.CreateScheduleResponse(schedule=schedule_to_message(schedule, NEXT_MOMENTS), created=created)

    async def UpdateSchedule(self, request: pb.UpdateScheduleRequest, context: Any) -> pb.UpdateScheduleResponse:
        plan, mistakes = requests.plan_of(request.plan)
        schedule = await self._schedules.update(
            namespace_of(request), request.schedule_id, plan, request.revision, mistakes
        )
        return pb.UpdateScheduleResponse(schedule=schedule_to_message(schedule, NEXT_MOMENTS))

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Any) -> pb.DeleteScheduleResponse:
        deleted = await self._schedules.delete(namespace_of(request), request.schedule_id)
        return pb.DeleteScheduleResponse(deleted=deleted)

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Any) -> pb.GetScheduleResponse:
        schedule, recent, open_ = await self._schedules.get(namespace_of(request), request.schedule_id)
        message = schedule_to_message(schedule, NEXT_MOMENTS)
        add_runs(message, schedule, recent, open_)
        shrink(message, MAX_BYTES)
        return pb.GetScheduleResponse(schedule=message)

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Any) -> pb.ListSchedulesResponse:
        after, size = key_before(request.page_token, 1), size_of(request.page_size)
        found = self._schedules.known(namespace_of(request), request.workflow, paused_only=request.paused_only)
        rest = [schedule for schedule in found if after is None or schedule.id > after[0]]
        page = fitting(schedule_to_message(schedule, 1) for schedule in rest[:size])
        return pb.ListSchedulesResponse(
            schedules=page,
            next_page_token=token_after(page[-1].schedule_id) if len(rest) > len(page) else "",
            damaged=self._schedules.damaged(namespace_of(request)) if after is None else [],
        )

    async def PauseSchedule(self, request: pb.PauseScheduleRequest, context: Any) -> pb.PauseScheduleResponse:
        by, reason = text_of(request.by), text_of(request.reason)
        schedule = await self._schedules.pause(namespace_of(request), request.schedule_id, by, reason)
        return pb.PauseScheduleResponse(schedule=schedule_to_message(schedule, NEXT_MOMENTS))

    async def ResumeSchedule(self, request: pb.ResumeScheduleRequest, context: Any) -> pb.ResumeScheduleResponse:
        schedule = await self._schedules.resume(namespace_of(request), request.schedule_id)
        return pb.ResumeScheduleResponse(schedule=schedule_to_message(schedule, NEXT_MOMENTS))

    async def TriggerSchedule(self, request: pb.TriggerScheduleRequest, context: Any) -> pb.TriggerScheduleResponse:
        overlap, link = requests.overlap_of(request.overlap_policy), requests.link_of(caller_of(context))
        schedule, run = await self._schedules.trigger(
            namespace_of(request), request.schedule_id, overlap, request.request_id, link
        )
        return pb.TriggerScheduleResponse(run=run_to_message(schedule, run))

    async def BackfillSchedule(self, request: pb.BackfillScheduleRequest, context: Any) -> pb.BackfillScheduleResponse:
        schedule, runs = await self._schedules.backfill(
            namespace_of(request),
            request.schedule_id,
            requests.moment_of(request.start_at, given=request.HasField("start_at")),
            requests.moment_of(request.end_at, given=request.HasField("end_at")),
            requests.overlap_of(request.overlap_policy) or Overlap.BUFFER_ALL,
            request.request_id,
        )
        return pb.BackfillScheduleResponse(runs=[run_to_message(schedule, run) for run in runs])

    async def PreviewSchedule(self, request: pb.PreviewScheduleRequest, context: Any) -> pb.PreviewScheduleResponse:
        plan, mistakes = requests.plan_of(request.plan) if request.HasField("plan") else (None, [])
        after = requests.moment_of(request.after, given=request.HasField("after"))
        moments = await self._schedules.preview(
            namespace_of(request), request.schedule_id, plan, after, request.count, mistakes
        )
        return pb.PreviewScheduleResponse(moments=moments_to_messages(moments))
