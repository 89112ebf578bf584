"""A reload under load: nobody who calls the plugin notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.faults.supervisor import ReloadFailed
from tests.mesh.called_mesh import called_mesh, write_echo

pytestmark = pytest.mark.mesh

RATE = 200


async def test_no_call_fails_while_a_plugin_is_reloaded_and_while_a_reload_fails(tmp_path: Path) -> None:
    async with called_mesh(tmp_path, "instances = 2", rate=RATE, attempts=1) as (mesh, callers):
        await callers.called(RATE)
        write_echo(tmp_path, version="1.10.0")
        reloaded = await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="echo"))
        await callers.called(RATE)
        after_reload = len(callers.answers)
        write_echo(tmp_path, version="1.100.0", broken=True)
        fault = await mesh.fails("ReloadPlugin", pb.ReloadPluginRequest(name="echo"))
        await callers.called(RATE)

    outputs = [one.output.data for one in callers.answers]
    print(f"{len(callers.answers)} calls, {len(callers.failed)} failed")
    assert callers.failed == []
    assert reloaded.to_version == "1.10.0"
    assert set(outputs) == {b'"1.0.0"', b'"1.10.0"'}
    assert set(outputs[after_reload:]) == {b'"1.10.0"'}
    assert isinstance(fault, ReloadFailed)
    assert fault.metadata["phase"] == "INIT"
