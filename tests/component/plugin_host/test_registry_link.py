"""What a supervisor hears from a registry and tells it, over real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import event_pb2, instance_pb2, registry_service_pb2 as pb
from forgemesh.chassis.channel import connect
from forgemesh.chassis.tasks import beside
from forgemesh.plugin_host.supervisor.hosts.blame import Blame
from forgemesh.plugin_host.supervisor.hosts.context import Registrant, SupervisorContext
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import Kind, LifecycleEvent
from forgemesh.plugin_host.supervisor.hosts.process_run import ProcessRun
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.plan.restart import RestartRule
from forgemesh.plugin_host.supervisor.processes.ending import ending_of
from forgemesh.plugin_host.supervisor.processes.linux.cgroup import Cgroups
from forgemesh.plugin_host.supervisor.processes.linux.linux_runner import LinuxRunner
from forgemesh.plugin_host.supervisor.processes.linux.orphan_reaper import OrphanReaper
from forgemesh.plugin_host.supervisor.registry.registry_link import MOST_EVENTS, RegistryLink
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.state.reattach_store import ReattachStore
from tests.component.plugin_host.registry import DEADLINE, Registry, serving_registry


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with serving_registry() as registry:
        yield registry


class Heard:
    """What the link tells its supervisor."""

    def __init__(self) -> None:
        self.changes = 0
        self.wanted: list[tuple[str, str]] = []
        self._updates = asyncio.Event()

    def changed(self) -> None:
        self.changes += 1
        self._updates.set()

    def wants(self, plugin_id: str, interface_name: str) -> None:
        self.wanted.append((plugin_id, interface_name))
        self._updates.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while True:
                if condition():
                    return
                self._updates.clear()
                await self._updates.wait()


@contextlib.asynccontextmanager
async def linked(registry: Registry) -> AsyncIterator[tuple[RegistryLink, Heard]]:
    heard = Heard()
    async with connect(registry.address) as channel:
        link = RegistryLink(channel)
        link.on_change, link.on_wanted = heard.changed, heard.wants
        async with beside(link.run()):
            yield link, heard


def instance(instance_id: str, **fields: Any) -> instance_pb2.Instance:
    known = {"plugin_id": "shop.stock", "plugin_version": "2.0.0", "state": instance_pb2.INSTANCE_STATE_ACTIVE}
    return instance_pb2.Instance(instance_id=instance_id, **{**known, **fields})


def revision(number: int) -> instance_pb2.Revision:
    return instance_pb2.Revision(epoch=1, revision=number)


def ours(instance_id: str) -> bool:
    return instance_id.startswith("ours")


async def test_what_serves_elsewhere_is_known_with_its_interfaces(registry: Registry) -> None:
    async with linked(registry) as (link, heard):
        before = link.offers(ours)
        everything = pb.InstanceSet(
            instances=[
                instance("ours-1"),
                instance("theirs-1"),
                instance("theirs-2", state=instance_pb2.INSTANCE_STATE_DRAINING),
            ]
        )
        registry.to_watch.put_nowait(pb.WatchInstancesResponse(revision=revision(1), all=everything))
        await heard.until(lambda: heard.changes == 1)
        first = link.offers(ours)
        gone = pb.InstanceGone(instance_id="theirs-1")
        registry.to_watch.put_nowait(pb.WatchInstancesResponse(revision=revision(2), gone=gone))
        await heard.until(lambda: heard.changes == 2)

        assert before is None
        assert first is not None
        assert [(offer.plugin_id, offer.interfaces) for offer in first] == [
            ("shop.stock", (("shop.reservable", "1.2.0"),))
        ]
        assert link.offers(ours) == []


async def test_what_is_wanted_is_heard_and_the_watch_resumes_or_starts_anew(registry: Registry) -> None:
    async with linked(registry) as (_, heard):
        wanted = event_pb2.Event(kind=event_pb2.EVENT_KIND_WANTED, plugin_id="shop.stock")
        registry.events.put_nowait(pb.WatchEventsResponse(event=wanted, position=revision(7)))
        await heard.until(lambda: len(heard.wanted) == 1)
        registry.compacted = True
        registry.events.put_nowait(pb.WatchEventsResponse())
        other = event_pb2.Event(kind=event_pb2.EVENT_KIND_WANTED, facts={"interface": "shop.reservable"})
        registry.events.put_nowait(pb.WatchEventsResponse(event=other, position=revision(9)))
        await heard.until(lambda: len(heard.wanted) == 2)

    assert heard.wanted == [("shop.stock", ""), ("", "shop.reservable")]
    assert [watch.resume_after.revision for watch in registry.watches] == [0, 7, 0]


def happened(number: int) -> LifecycleEvent:
    return LifecycleEvent(kind=Kind.CRASHED, at=float(number + 1), message=str(number), facts={"phase": "SERVING"})


async def test_what_happened_while_the_registry_was_away_is_told_in_order_and_once(registry: Registry) -> None:
    registry.away = True
    async with linked(registry) as (link, _):
        for number in range(250):
            link.report(happened(number))
        registry.away = False
        await registry.until(lambda: sum(len(one.events) for one in registry.reported) == 250)

    assert [event.message for one in registry.reported for event in one.events] == [str(n) for n in range(250)]
    assert [one.first for one in registry.reported] == [1, 101, 201]
    assert len({one.reporter_id for one in registry.reported}) == 1
    assert registry.reported[0].events[0].source.startswith("supervisor ")


async def test_no_more_is_kept_for_a_registry_than_it_may_be(registry: Registry) -> None:
    registry.away = True
    async with linked(registry) as (link, _):
        for number in range(MOST_EVENTS + 20):
            link.report(happened(number))
        registry.away = False
        await registry.until(lambda: sum(len(one.events) for one in registry.reported) == MOST_EVENTS)

    assert registry.reported[0].first == 21
    assert registry.reported[0].events[0].message == "20"


async def test_a_plugin_that_does_not_run_is_published(registry: Registry) -> None:
    async with linked(registry) as (link, _):
        link.publish(manifest_pb2.Manifest(plugin_id="shop.lazy", version="1.0.0"))
        await registry.until(lambda: registry.published == ["shop.lazy"])


class NoRegistrar:
    async def run(self, registrant: Registrant, process_run: ProcessRun) -> None:
        raise AssertionError("no process runs in this test")


def runner_in(directory: Path) -> HostRunner:
    """One that never starts anything; its host is moved by hand."""
    context = SupervisorContext(
        settings=SupervisorSettings(log_directory=directory),
        key=b"key",
        slots=asyncio.Semaphore(1),
        registrar=NoRegistrar(),
        reattach_store=ReattachStore(directory / "state", directory / "address"),
        runner=LinuxRunner(pipe=0, cgroups=Cgroups(None), orphan_reaper=OrphanReaper()),
    )
    plan = PluginPlan(name="stock", load="stock:Stock", restart=RestartRule(crashes=1))
    return HostRunner(plan, "stock-1", context, Blame(3, 600.0), lambda runner, before: None)


async def test_an_instance_in_a_crash_loop_stays_registered_with_the_reason_until_it_is_reset(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    manifest = manifest_pb2.Manifest(plugin_id="shop.stock", version="2.0.0")
    runner = runner_in(tmp_path)
    runner.host = runner.host.started(7, now=1.0).failed("exit code 1", ending_of(1), now=2.0, jitter=0.5)
    async with linked(registry) as (link, _):
        link.address = "127.0.0.1:7404"
        link.stand_in(runner, manifest)
        async with asyncio.timeout(DEADLINE):
            while "registered as incarnation 7" not in caplog.text:
                await asyncio.sleep(0.01)
        runner.host = runner.host.reset("it was reset", now=3.0)
        link.stand_in(runner, manifest)
        await registry.until(lambda: len(registry.deregistered) == 1)
    runner.log.close()

    (said,) = registry.registered
    assert said.instance.state == instance_pb2.INSTANCE_STATE_CRASH_LOOP
    assert said.instance.state_reason == "1 crash: exit code 1"
    assert (said.instance.instance_id, said.instance.plugin_id) == ("stock-1", "shop.stock")
    assert said.owner_token == runner.owner_token
    assert registry.deregistered[0].incarnation == 7
