"""KEDA's ExternalScaler over gRPC: check and translate, call, translate back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from forgemesh.api.keda.v1 import external_scaler_service_pb2 as pb
from forgemesh.api.keda.v1.external_scaler_service_pb2_grpc import ExternalScalerServicer
from forgemesh.balancer.application.requests.scaler import Scaler
from forgemesh.balancer.codec import triggers as codec

SERVICE = pb.DESCRIPTOR.services_by_name["ExternalScaler"].full_name


class ScalerServicer(ExternalScalerServicer):
    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler

    async def IsActive(self, request: pb.ScaledObjectRef, context: Any) -> pb.IsActiveResponse:
        return pb.IsActiveResponse(result=await self._scaler.active(codec.trigger(request)))

    async def StreamIsActive(self, request: pb.ScaledObjectRef, context: Any) -> AsyncIterator[pb.IsActiveResponse]:
        async with contextlib.aclosing(self._scaler.activity(codec.trigger(request))) as activity:
            async for active in activity:
                yield pb.IsActiveResponse(result=active)

    async def GetMetricSpec(self, request: pb.ScaledObjectRef, context: Any) -> pb.GetMetricSpecResponse:
        return codec.spec_to_message(await self._scaler.share(codec.trigger(request)))

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Any) -> pb.GetMetricsResponse:
        return codec.value_to_message(await self._scaler.count(codec.measured(request)))
