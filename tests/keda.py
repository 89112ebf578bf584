"""What KEDA does with a scaler: asks it over gRPC, and divides as the controller of Kubernetes does."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forgemesh.api.keda.v1 import external_scaler_service_pb2 as pb
from forgemesh.api.keda.v1.external_scaler_service_pb2_grpc import ExternalScalerStub
from forgemesh.chassis.channel import connect

if TYPE_CHECKING:
    from forgemesh.api.keda.v1.external_scaler_service_pb2_grpc import ExternalScalerAsyncStub

DEADLINE = 60.0
PARTS = 1000


@dataclass(frozen=True, slots=True)
class Keda:
    """One trigger of a ScaledObject."""

    stub: ExternalScalerAsyncStub
    ref: pb.ScaledObjectRef

    async def target(self) -> int:
        """What KEDA writes into a HorizontalPodAutoscaler, in thousandths."""
        response = await self.stub.GetMetricSpec(self.ref, timeout=DEADLINE)
        (spec,) = response.metricSpecs
        return int(spec.targetSizeFloat * PARTS)

    async def calls(self) -> float:
        """The metric, asked for by the name that the specification gives it."""
        spec = await self.stub.GetMetricSpec(self.ref, timeout=DEADLINE)
        request = pb.GetMetricsRequest(scaledObjectRef=self.ref, metricName=spec.metricSpecs[0].metricName)
        (value,) = (await self.stub.GetMetrics(request, timeout=DEADLINE)).metricValues
        assert value.metricValue == value.metricValueFloat
        return value.metricValueFloat

    async def pods(self, least: int, most: int) -> int:
        """How many a HorizontalPodAutoscaler wants, before its `behavior`."""
        usage, target = int(await self.calls() * PARTS), await self.target()
        return max(least, min(math.ceil(usage / target), most))

    async def is_active(self) -> bool:
        return (await self.stub.IsActive(self.ref, timeout=DEADLINE)).result

    async def until_calls(self, count: int) -> None:
        """Return once so many calls run and wait."""
        async with asyncio.timeout(DEADLINE):
            while await self.calls() != count:
                await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def pushes(self) -> AsyncIterator[AsyncIterator[bool]]:
        """What the stream says, as long as the block lasts."""
        call = self.stub.StreamIsActive(self.ref)

        async def results() -> AsyncGenerator[bool, None]:
            async for message in call:
                yield message.result

        async with contextlib.aclosing(results()) as stream:
            yield stream
        call.cancel()


async def pushed(stream: AsyncIterator[bool]) -> bool:
    """The next that the stream says."""
    async with asyncio.timeout(DEADLINE):
        return await anext(stream)


@contextlib.asynccontextmanager
async def keda(address: str, **metadata: str) -> AsyncIterator[Keda]:
    """One that has a ScaledObject with this metadata."""
    ref = pb.ScaledObjectRef(name="stats", namespace="mesh", scalerMetadata={"scalerAddress": address, **metadata})
    async with connect(address) as channel:
        yield Keda(ExternalScalerStub(channel), ref)
