"""kill -9 of the supervisor in the middle of a change: the next one finishes it, or undoes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from forgemesh.faults import Fault
from tests.mesh.gates import at, close, gated
from tests.mesh.processes import alive, eventually
from tests.mesh.supervised import Supervised, running_registry, supervised

pytestmark = pytest.mark.mesh

RELOAD = pb.ReloadPluginRequest(name="gated")
LASTING = ("reattach = true",)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def configure(width: int) -> pb.ConfigurePluginRequest:
    return pb.ConfigurePluginRequest(name="gated", config=json.dumps({"width": width}))


async def killed(mesh: Supervised, call: asyncio.Task[Any]) -> None:
    await mesh.service.kill()
    with contextlib.suppress(Fault, grpc.aio.AioRpcError):
        await call


async def widths(mesh: Supervised) -> set[int]:
    return {await mesh.call(name, "shows") for name in await mesh.hosts()}


async def test_a_reload_whose_new_process_was_starting_is_undone(tmp_path: Path, registry: Serving) -> None:
    configuration = gated(tmp_path, *LASTING)
    async with supervised(tmp_path, registry.address, configuration) as first:
        before = (await first.in_state(gated_1="READY"))["gated-1"]
        gated(tmp_path, version="2.0.0")
        gate = close(tmp_path, "start", "gated-2")
        call = asyncio.create_task(first.ask("ReloadPlugin", RELOAD))
        await at(first, "start", "gated-2")
        new = (await first.hosts())["gated-2"]
        await killed(first, call)
    gate.unlink()
    async with supervised(tmp_path, registry.address, configuration) as second:
        after = await second.in_state(gated_1="READY")

        async def gone() -> bool:
            return not alive(new.pid)

        await eventually(gone)

    assert {name: host.pid for name, host in after.items()} == {"gated-1": before.pid}


async def test_a_reload_whose_old_process_was_ending_is_finished(tmp_path: Path, registry: Serving) -> None:
    configuration = gated(tmp_path, *LASTING)
    async with supervised(tmp_path, registry.address, configuration) as first:
        before = (await first.in_state(gated_1="READY"))["gated-1"]
        await first.call("gated-1", "add")
        gated(tmp_path, version="2.0.0")
        close(tmp_path, "stop", "gated-1")
        call = asyncio.create_task(first.ask("ReloadPlugin", RELOAD))
        await at(first, "stop", "gated-1")
        new = (await first.hosts())["gated-2"]
        await killed(first, call)
    async with supervised(tmp_path, registry.address, configuration) as second:
        after = await second.in_state(gated_2="READY")
        counted = await second.call("gated-2", "add")

    assert {name: host.pid for name, host in after.items()} == {"gated-2": new.pid}
    assert counted == 2
    assert not alive(before.pid)


@pytest.mark.parametrize("keys", [("exclusive = true",), ("exclusive = true", *LASTING)])
async def test_the_state_of_an_exclusive_plugin_outlives_its_supervisor(
    tmp_path: Path, registry: Serving, keys: tuple[str, ...]
) -> None:
    configuration = gated(tmp_path, *keys)
    async with supervised(tmp_path, registry.address, configuration) as first:
        await first.in_state(gated_1="READY")
        await first.call("gated-1", "add")
        gated(tmp_path, version="2.0.0")
        close(tmp_path, "stop", "gated-1")
        call = asyncio.create_task(first.ask("ReloadPlugin", RELOAD))
        await at(first, "stop", "gated-1")
        await killed(first, call)
    async with supervised(tmp_path, registry.address, configuration) as second:
        after = await second.in_state(gated_1="READY")
        counted = await second.call("gated-1", "add")

    assert after["gated-1"].plugin_version == "2.0.0"
    assert counted == 2


async def test_a_configuration_that_had_reached_one_of_two_hosts_is_undone(tmp_path: Path, registry: Serving) -> None:
    configuration = gated(tmp_path, *LASTING, "instances = 2", "config = { width = 3 }")
    async with supervised(tmp_path, registry.address, configuration) as first:
        before = await first.in_state(gated_1="READY", gated_2="READY")
        gate = close(tmp_path, "configure", "gated-2")
        call = asyncio.create_task(first.ask("ConfigurePlugin", configure(7)))
        await at(first, "configure", "gated-2")
        await killed(first, call)
    gate.unlink()
    async with supervised(tmp_path, registry.address, configuration) as second:
        await second.in_state(gated_1="READY", gated_2="READY")
        after = await second.until(lambda hosts: {host.config_revision for host in hosts.values()} == {1})
        shown = await widths(second)

    assert shown == {3}
    assert {name: host.pid for name, host in after.items()} == {name: host.pid for name, host in before.items()}


async def test_processes_that_live_on_keep_their_configuration_and_others_get_the_same(
    tmp_path: Path, registry: Serving
) -> None:
    configuration = gated(tmp_path, *LASTING, "config = { width = 3 }")
    async with supervised(tmp_path, registry.address, configuration) as first:
        await first.in_state(gated_1="READY")
        answer = await first.ask("ConfigurePlugin", configure(7))
        await first.service.kill()
    async with supervised(tmp_path, registry.address, configuration) as second:
        await second.in_state(gated_1="READY")
        await second.ask("ScalePlugin", pb.ScalePluginRequest(name="gated", instances=2))
        after = await second.in_state(gated_1="READY", gated_2="READY")
        shown = await widths(second)

    assert shown == {7}
    assert {host.config_revision for host in after.values()} == {answer.revision} == {2}
