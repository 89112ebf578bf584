"""Hooks that need longer than they have, and states that cannot be saved: what is said is what is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from forgemesh.faults.supervisor import ConfigRejected, ReloadFailed
from tests.mesh.gates import close, gated
from tests.mesh.processes import alive
from tests.mesh.supervised import running_registry, state_of, supervised

pytestmark = pytest.mark.mesh

SAVING = 'await passed("save_state")'
CONFIGURING = 'await passed("configure")'
SHORT = 'change_timeout = "500ms"'


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def configure(width: int) -> pb.ConfigurePluginRequest:
    return pb.ConfigurePluginRequest(name="gated", config=json.dumps({"width": width}))


@pytest.mark.parametrize("keys", [(), ("exclusive = true",)])
@pytest.mark.parametrize(
    ("saving", "cause"),
    [
        ("raise RuntimeError('it is jammed')", "RuntimeError: it is jammed"),
        ("await asyncio.Event().wait()", "it took longer than"),
        ("time.sleep(1)", " s, more than"),
    ],
)
async def test_a_state_that_cannot_be_saved_in_time_refuses_the_reload_unless_it_is_forced(
    tmp_path: Path, registry: Serving, saving: str, cause: str, keys: tuple[str, ...]
) -> None:
    configuration = gated(tmp_path, SHORT, *keys, replacing=(SAVING, saving))
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        before = await mesh.in_state(gated_1="READY")
        await mesh.call("gated-1", "add")
        gated(tmp_path, version="2.0.0")
        fault = await mesh.fails("ReloadPlugin", pb.ReloadPluginRequest(name="gated"))
        after = await mesh.hosts()
        counted = await mesh.call("gated-1", "add")
        forced = await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="gated", force=True))
        counted_anew = await mesh.call(forced.instance_ids[0], "add")

    assert isinstance(fault, ReloadFailed)
    assert fault.metadata["cause"].startswith("gated-1 cannot save its state: ")
    assert cause in fault.metadata["cause"]
    assert "forgemesh plugin reload gated --force" in fault.message
    assert {name: host.pid for name, host in after.items()} == {name: host.pid for name, host in before.items()}
    assert (counted, forced.to_version, counted_anew) == (2, "2.0.0", 1)


LATE = """try:
            await passed("configure")
        except asyncio.CancelledError:
            pass
        if config.width == 7:
            time.sleep(1)"""


@pytest.mark.parametrize(
    ("configuring", "cause"),
    [
        ("await (asyncio.Event().wait() if config.width == 7 else asyncio.sleep(0))", "it took longer than"),
        ("time.sleep(1 if config.width == 7 else 0)", " s, more than"),
        (LATE, " s, more than"),
    ],
)
async def test_a_configuration_that_is_taken_on_too_late_is_refused_and_the_plugin_runs_the_one_before(
    tmp_path: Path, registry: Serving, configuring: str, cause: str
) -> None:
    configuration = gated(tmp_path, SHORT, "config = { width = 3 }", replacing=(CONFIGURING, configuring))
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        before = (await mesh.in_state(gated_1="READY"))["gated-1"]
        fault = await mesh.fails("ConfigurePlugin", configure(7))
        width = await mesh.call("gated-1", "shows")
        after = (await mesh.hosts())["gated-1"]

    assert isinstance(fault, ConfigRejected)
    assert cause in fault.metadata["cause"]
    assert width == 3
    assert (after.pid, after.config_revision) == (before.pid, before.config_revision)


@pytest.mark.parametrize(
    "configuring",
    [
        "self.width = config.width; raise RuntimeError('neither new nor old')",
        "self.width = config.width; [time.sleep(0.01) for _ in iter(lambda: closed('configure'), False)]",
    ],
)
async def test_a_process_that_takes_neither_the_new_configuration_nor_the_old_one_is_started_again(
    tmp_path: Path, registry: Serving, configuring: str
) -> None:
    close(tmp_path, "configure", "gated-1")
    keys = (SHORT, 'grace = "1s"', 'restart = "never"', "config = { width = 3 }")
    configuration = gated(tmp_path, *keys, replacing=(CONFIGURING, configuring))
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        before = (await mesh.in_state(gated_1="READY"))["gated-1"]
        fault = await mesh.fails("ConfigurePlugin", configure(7))
        await mesh.until(lambda hosts: state_of(hosts["gated-1"]) == "READY" and hosts["gated-1"].pid != before.pid)
        width = await mesh.call("gated-1", "shows")
        after = (await mesh.hosts())["gated-1"]

    assert isinstance(fault, ConfigRejected)
    assert width == 3
    assert after.config_revision == before.config_revision
    assert not alive(before.pid)
