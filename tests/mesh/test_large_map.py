"""A map over ten thousand items, in the orchestrator's real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgemesh.client import Client
from tests.mesh.saga_mesh import running_saga_mesh

pytestmark = pytest.mark.mesh

ITEMS = 10_000
MAP = """
name: wide
version: 1.0.0
input: {items: array}
steps:
  - id: all
    map:
      over: "${input.items}"
      max_concurrency: 50
      steps:
        - {id: one, call: {plugin: test.saga, operation: do}, input: {value: "${item}"}}
output: "${steps.all.output}"
"""
MEBIBYTE = 1024


def resident(pid: int) -> int:
    """KiB of memory that a process holds now."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def peak(pid: int) -> int:
    """KiB of memory that it held at most."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


@pytest.mark.timeout(1200)
async def test_a_map_of_ten_thousand_items_gives_results_in_order_and_takes_little_memory(tmp_path: Path) -> None:
    async with running_saga_mesh(tmp_path) as mesh, mesh.orchestrator() as process:
        async with Client.connect(mesh.address) as client:
            await client.register(MAP)
            await (await client.start("wide", {"items": [0]}, wait=30)).result(30)
            before = resident(process.pid)
            execution = await client.start("wide", {"items": list(range(ITEMS))}, wait=200)
            result = await execution.result(200)
            grown = (peak(process.pid) - before) / MEBIBYTE
            pages = [event.sequence async for event in execution.watch()]

        print(f"the orchestrator grew by {grown:.0f} MiB at most, {len(pages)} events")
        assert [item["value"] for item in result] == list(range(ITEMS))
        assert grown < 100
        assert pages == list(range(1, len(pages) + 1))
        assert len(pages) >= 2 * ITEMS
