"""A real host in the test's loop, on free ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.cgroup import Cgroups
from forgemesh.plugin_host.supervisor.guardian import guarding
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.surroundings import Surroundings
from forgemesh.plugin_host.supervisor.survivors import Survivors
from forgemesh.plugin_host.supervisor.upkeep import ForeignUpkeep
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
