from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from forgemesh.api.plugin.v1 import load_pb2
from forgemesh.balancer.adapters.load_reports import METHOD, LoadReports
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.routing.load_weight import LoadReport
from tests.component.balancer.meshes import ANYWHERE, DEADLINE
from tests.component.plugin_host.hosts import host_at, invocation, session
from tests.unit.balancer.members import member


class Heard:
    """What a balancer hears, and waiting for it."""

    def __init__(self) -> None:
        self.all: list[tuple[str, int, LoadReport]] = []
        self._more = asyncio.Event()

    def __call__(self, instance_id: str, incarnation: int, facts: LoadReport) -> None:
        self.all.append((instance_id, incarnation, facts))
        self._more.set()

    async def until(self, reached: Callable[[tuple[str, int, LoadReport]], bool]) -> tuple[str, int, LoadReport]:
        async with asyncio.timeout(DEADLINE):
            while not (found := [one for one in self.all if reached(one)]):
                self._more.clear()
                await self._more.wait()
        return found[0]


class Instance(grpc.GenericRpcHandler):
    """A foreign instance: counts who asks, and says what it is told to, or does not know the service."""

    def __init__(self, *said: load_pb2.LoadReport) -> None:
        self._said = said
        self._loop = asyncio.get_running_loop()
        self.asked = 0
        self.updates = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        assert handler_call_details.method == METHOD
        self.asked += 1
        self._loop.call_soon_threadsafe(self.updates.set)
        if not self._said:
            return None
        return grpc.unary_stream_rpc_method_handler(lambda request, context: iter(self._said), None, _encoded)

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while self.asked < times:
                self.updates.clear()
                await self.updates.wait()


def _encoded(report: load_pb2.LoadReport) -> bytes:
    return report.SerializeToString()


@contextlib.asynccontextmanager
async def at(instance: Instance) -> AsyncIterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[instance])
    address = f"127.0.0.1:{server.add_insecure_port(ANYWHERE)}"
    server.start()
    try:
        yield address
    finally:
        await asyncio.to_thread(server.stop(0).wait)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[LoadReports]:
    async with waking_clock() as clock, LoadReports(1.0, clock) as reports:
        yield reports


async def test_a_real_host_tells_its_utilization_by_calls_and_by_processor_time() -> None:
    heard = Heard()
    async with host_at() as host, session(host) as caller, listening() as reports:
        held = await caller.send(invocation("hold"))
        await caller.until(lambda frame: held[-1] in frame.accepted)
        reports.follow([member("a", 7, health_address=host.host.server.health_address)], heard)

        instance_id, incarnation, facts = await heard.until(lambda one: one[2].cpu_utilization > 0)

    assert (instance_id, incarnation, facts.application_utilization) == ("a", 7, 0.5)


async def test_an_instance_that_serves_no_reports_is_asked_once_in_each_of_its_incarnations() -> None:
    silent, talking = Instance(), Instance(load_pb2.LoadReport(rps_fractional=3.0))
    heard = Heard()
    async with at(silent) as address, at(talking) as other, listening() as reports:
        one, sibling = member("a", 1, health_address=address), member("b", 1, health_address=other)
        reports.follow([one, sibling], heard)
        await silent.until_asked(1)
        await talking.until_asked(3)  # its stream ends each time, and is opened again
        reports.follow([one, sibling], heard)
        await talking.until_asked(5)
        before = silent.asked
        reports.follow([member("a", 2, health_address=address), sibling], heard)
        await silent.until_asked(2)

    assert before == 1
    assert {instance_id for instance_id, _, _ in heard.all} == {"b"}


async def test_what_is_said_is_passed_on_as_it_is() -> None:
    said = load_pb2.LoadReport(
        rps_fractional=12.0, eps=-1.0, application_utilization=float("nan"), cpu_utilization=1e300
    )
    heard = Heard()
    async with at(Instance(said)) as address, listening() as reports:
        reports.follow([member("a", health_address=address)], heard)
        _, _, facts = await heard.until(lambda one: True)

    assert (facts.calls_per_second, facts.failures_per_second, facts.cpu_utilization) == (12.0, -1.0, 1e300)
    assert facts.application_utilization != facts.application_utilization


async def test_who_is_followed_no_more_is_heard_no_more() -> None:
    talking = Instance(load_pb2.LoadReport())
    heard = Heard()
    async with at(talking) as address, listening() as reports:
        reports.follow([member("a", 1, health_address=address)], heard)
        await heard.until(lambda one: one[1] == 1)
        reports.follow([member("a", 2, health_address=address)], heard)
        await heard.until(lambda one: one[1] == 2)
        begun = len(heard.all)
        await talking.until_asked(talking.asked + 3)

    assert {incarnation for _, incarnation, _ in heard.all[begun:]} <= {2}
