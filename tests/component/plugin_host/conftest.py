"""A real host in the test's loop, on free ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.hosts.context import Surroundings
from forgemesh.plugin_host.supervisor.processes.cgroup import Cgroups
from forgemesh.plugin_host.supervisor.processes.orphan_reaper import guarding
from forgemesh.plugin_host.supervisor.registry.external_registrar import ForeignUpkeep
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.state.reattach_store import Survivors
from tests.component.plugin_host.hosts import Served, host_at


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with host_at() as served:
        yield served


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    settings = SupervisorSettings(log_directory=tmp_path)
    with guarding() as guardian:
        yield Surroundings(
            settings=settings,
            key=b"",
            pipe=0,
            slots=asyncio.Semaphore(1),
            upkeep=ForeignUpkeep(""),
            survivors=Survivors(tmp_path / "state", tmp_path / "address"),
            cgroups=Cgroups(None),
            guardian=guardian,
        )
