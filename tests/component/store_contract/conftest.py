"""Each test runs over each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.schedules.ports import ScheduleStore
from tests.component.store_contract.adapters import ADAPTERS, Adapter, Owned


@pytest.fixture(params=list(ADAPTERS))
async def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Adapter]:
    async with ADAPTERS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
async def owned(adapter: Adapter) -> Owned:
    return await adapter.own()


@pytest.fixture
def store(owned: Owned) -> Store:
    return owned.store


@pytest.fixture
def schedules(owned: Owned) -> ScheduleStore:
    return owned.schedules
