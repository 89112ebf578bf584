"""A plugin that reports a load which is no number, in a real host with a real supervisor."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from tests.mesh.supervised import plugin_source, running_registry, section, supervised

pytestmark = pytest.mark.mesh

HEAD = """
from forgemesh.plugin_host.host.process import load

honest = load.LoadMeter.report

def lying(meter):
    report = honest(meter)
    report.application_utilization = float("{said}")
    return report

load.LoadMeter.report = lying
"""


@pytest.mark.parametrize("said", ["nan", "inf"])
async def test_a_load_that_is_no_number_is_named_and_harms_nobody(tmp_path: Path, said: str) -> None:
    (tmp_path / "liar.py").write_text(HEAD.format(said=said) + plugin_source("test.liar"))
    (tmp_path / "idler.py").write_text(plugin_source("test.idler"))
    sections = section("liar", tmp_path, "max_instances = 3") + section(
        "idler", tmp_path, "lazy = true", 'idle_stop = "1s"'
    )
    async with (
        running_registry(tmp_path) as registry,
        supervised(tmp_path, registry.address, sections) as mesh,
    ):
        before = (await mesh.in_state(liar_1="READY"))["liar-1"]
        await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["idler"]))
        found = await mesh.in_state(liar_1="READY", idler_1="STOPPED")

        assert found["liar-1"].pid == before.pid
        assert "nothing was asked of it" in found["idler-1"].reason
        said_of_it = mesh.service.log.read_text()

    assert said_of_it.count(f"liar-1 says that it is busy to {said}") == 1
    assert "Traceback" not in said_of_it
