"""A real host in the test's loop, on free ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.hosts.context import SupervisorContext
from forgemesh.plugin_host.supervisor.processes.linux.linux_runner import linux_runner
from forgemesh.plugin_host.supervisor.registry.external_registrar import ExternalRegistrar
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.state.reattach_store import ReattachStore
from tests.component.plugin_host.hosts import Served, host_at


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with host_at() as served:
        yield served


@pytest.fixture
def context(tmp_path: Path) -> Iterator[SupervisorContext]:
    settings = SupervisorSettings(log_directory=tmp_path)
    with linux_runner(()) as runner:
        yield SupervisorContext(
            settings=settings,
            key=b"",
            slots=asyncio.Semaphore(1),
            registrar=ExternalRegistrar(""),
            reattach_store=ReattachStore(tmp_path / "state", tmp_path / "address"),
            runner=runner,
        )
