"""
A process dies, and another plugin's process gets its address before its lease is over: as in a cluster, where the
addresses of pods are given out again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from forgemesh.api.balancer.v1 import snapshot_pb2
from tests.free_ports import free_addresses
from tests.mesh.feed_listener import FeedListener, listening
from tests.mesh.processes import Service, eventually, start_service
from tests.mesh.test_registry_process import BALANCER, REGISTRY, balancer_environment, registry_environment

pytestmark = pytest.mark.mesh

HOST = "forgemesh.plugin_host.main"
BEATS = 6
"""Heartbeats of the balancer, one a second, in which every check is made several times."""
SOURCE = """
import os
from forgemesh.plugin import operation, plugin

@plugin(os.environ["PLUGIN"], version="1.0.0")
class It:
    @operation(idempotent=True)
    async def say(self) -> str:
        return os.environ["PLUGIN"]
"""
TAKEN = {"both ports": ("main", "health"), "its main port": ("main", "other"), "its health port": ("other", "health")}


def host(folder: Path, registry: Service, plugin: str, instance_id: str, listen: str, health: str) -> dict[str, str]:
    (folder / "it_plugin.py").write_text(SOURCE)
    return {
        "PLUGIN": plugin,
        "FORGEMESH_HOST_LOAD": "it_plugin:It",
        "FORGEMESH_HOST_PATH": str(folder),
        "FORGEMESH_HOST_REGISTRY": registry.address,
        "FORGEMESH_HOST_INSTANCE_ID": instance_id,
        "FORGEMESH_HOST_LISTEN": listen,
        "FORGEMESH_HOST_HEALTH_LISTEN": health,
        "FORGEMESH_HOST_LEASE_TTL": "60",
    }


def healths(feed: FeedListener, instance_id: str) -> list[tuple[int, str]]:
    """Of every snapshot that told of it: its health, and why."""
    found = [one for _, snapshot in feed.heard for one in snapshot.endpoints if one.instance_id == instance_id]
    return [(one.health, one.health_reason) for one in found]


@pytest.mark.parametrize("taken", list(TAKEN))
async def test_whoever_gets_the_address_of_a_dead_instance_does_not_make_it_serve(tmp_path: Path, taken: str) -> None:
    main, health, *others = free_addresses(4)
    ports = {"main": main, "health": health, "other": others[0]}
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(start_service(REGISTRY, registry_environment(tmp_path), tmp_path))
        environment = balancer_environment(registry.address)
        balancer = await stack.enter_async_context(start_service(BALANCER, environment, tmp_path))
        first = host(tmp_path, registry, "words", "words-1", main, health)
        dying = await stack.enter_async_context(start_service(HOST, first, tmp_path))
        feed = await stack.enter_async_context(listening(balancer.address, "words"))
        others_feed = await stack.enter_async_context(listening(balancer.address, "numbers"))

        async def is_serving(feed: FeedListener, instance_id: str) -> bool:
            return bool(healths(feed, instance_id)) and healths(feed, instance_id)[-1][0] == snapshot_pb2.HEALTH_SERVING

        await eventually(lambda: is_serving(feed, "words-1"))
        served = len(feed.heard)
        await dying.kill()
        second = host(tmp_path, registry, "numbers", "numbers-1", *(ports[port] for port in TAKEN[taken]))
        await stack.enter_async_context(start_service(HOST, second, tmp_path))
        await eventually(lambda: is_serving(others_feed, "numbers-1"))
        await feed.until_beats(BEATS)

    after = healths(feed, "words-1")[served:]
    assert after
    assert snapshot_pb2.HEALTH_SERVING not in [health for health, _ in after]
    if "health" in TAKEN[taken]:
        assert "instance 'numbers-1' of plugin 'numbers'" in after[-1][1]
