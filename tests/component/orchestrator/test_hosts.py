from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, snapshot_pb2
from forgemesh.chassis.tasks import beside
from forgemesh.feed.snapshots import snapshot_from_message
from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts, open_hosts
from forgemesh.orchestrator.dispatch.feed.subscription import Feed
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.routing.endpoint import Admission, CircuitState, Health
from tests.component.orchestrator.balancers import ScriptedBalancer, endpoint, serving_balancer
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.plugins import ScriptedPlugin, serving_plugin


@pytest.fixture
async def balancer() -> ScriptedBalancer:
    return ScriptedBalancer()  # type: ignore[abstract]  # answers UNIMPLEMENTED to what nobody asks it


@pytest.fixture
async def hosts(balancer: ScriptedBalancer) -> AsyncIterator[FeedHosts]:
    recorder = OutcomeRecorder()
    async with (
        serving_balancer(balancer) as address,
        open_hosts("o-1", recorder.breached) as following,
        beside(Feed(address, "o-1", following, recorder).run()),
    ):
        yield following


class Changes:
    """Waits until what hosts say fulfils a condition."""

    def __init__(self, hosts: FeedHosts) -> None:
        self._changed = asyncio.Event()
        self.plugins: list[str] = []
        hosts.on_change(self._told)

    def _told(self, plugin_id: str) -> None:
        self.plugins.append(plugin_id)
        self._changed.set()

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


async def synced(hosts: FeedHosts) -> None:
    async with asyncio.timeout(PATIENCE):
        await hosts.synced.wait()


async def test_each_incarnation_in_a_snapshot_has_its_link(balancer: ScriptedBalancer, hosts: FeedHosts) -> None:
    plugin, changes = ScriptedPlugin(), Changes(hosts)
    async with serving_plugin(plugin) as address:
        assert hosts.snapshot("p") is None
        balancer.show("p", 1, endpoint("i-1", address), endpoint("i-2", address))
        await changes.until(lambda: hosts.snapshot("p") is not None)
        first = dict(hosts.links("p"))
        await plugin.session(2)
        balancer.show("p", 2, endpoint("i-1", address), endpoint("i-2", address, incarnation=2))
        await changes.until(lambda: hosts.links("p")["i-2"] is not first["i-2"])

        assert list(first) == ["i-1", "i-2"]
        assert hosts.links("p")["i-1"] is first["i-1"]
        await plugin.session(3)
        assert sorted(session.hello.incarnation for session in plugin.sessions) == [1, 1, 2]
        await changes.until(lambda: not first["i-2"].usable)
    assert balancer.hellos[0].boot_id == "o-1"


async def test_an_older_snapshot_changes_nothing(balancer: ScriptedBalancer, hosts: FeedHosts) -> None:
    balancer.show("p", 5, endpoint("i-1", "127.0.0.1:1"), epoch=2)
    balancer.show("p", 9, endpoint("i-2", "127.0.0.1:1"), epoch=1)
    balancer.show("p", 5, endpoint("i-3", "127.0.0.1:1"), epoch=2)
    balancer.beat()

    await synced(hosts)

    assert list(hosts.links("p")) == ["i-1"]


async def test_a_plugin_that_is_gone_has_no_instances(balancer: ScriptedBalancer, hosts: FeedHosts) -> None:
    changes = Changes(hosts)
    balancer.show("p", 1, endpoint("i-1", "127.0.0.1:1"))
    await changes.until(lambda: hosts.snapshot("p") is not None)

    revision = snapshot_pb2.FeedRevision(epoch=1, revision=2)
    balancer.feed.put_nowait(pb.SubscribeResponse(gone=pb.PluginGone(plugin_id="p", revision=revision)))

    await changes.until(lambda: not hosts.links("p"))


async def test_a_lost_feed_changes_nothing_and_a_new_one_tells_what_is_left(
    balancer: ScriptedBalancer, hosts: FeedHosts
) -> None:
    changes = Changes(hosts)
    async with contextlib.AsyncExitStack() as stack:
        alive = await stack.enter_async_context(serving_plugin(ScriptedPlugin()))
        async with serving_plugin(ScriptedPlugin()) as dying:
            balancer.show("kept", 1, endpoint("i-1", alive))
            balancer.show("left", 1, endpoint("i-2", dying), endpoint("i-3", alive))
            balancer.beat()
            await synced(hosts)
        await changes.until(lambda: not hosts.links("left")["i-2"].usable)
        balancer.feed.put_nowait(None)
        balancer.show("kept", 1, endpoint("i-1", alive), epoch=2)
        assert list(hosts.links("left")) == ["i-2", "i-3"]

        balancer.beat()
        await changes.until(lambda: list(hosts.links("left")) == ["i-3"])

        assert list(hosts.links("kept")) == ["i-1"]
        assert len(balancer.hellos) == 2


def test_what_a_newer_balancer_says_is_read_with_care() -> None:
    message = snapshot_pb2.PluginSnapshot(
        plugin_id="p",
        endpoints=[
            endpoint("known", "a:1", circuit=snapshot_pb2.Circuit(state=snapshot_pb2.CIRCUIT_STATE_CLOSED)),
            endpoint("health", "a:1", health=99),
            endpoint("admission", "a:1", admission=99),
            endpoint("circuit", "a:1", circuit=snapshot_pb2.Circuit(state=99)),  # type: ignore[arg-type]
        ],
    )

    found = {one.instance_id: one for one in snapshot_from_message(message, 0.0).endpoints}

    assert [one.instance_id for one in snapshot_from_message(message, 0.0).open] == ["known"]
    assert found["health"].health is Health.UNCHECKED
    assert found["admission"].admission is Admission.OUT
    assert found["circuit"].circuit.state is CircuitState.OPEN
