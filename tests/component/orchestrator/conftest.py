"""A real database in the test's folder, and what stands on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, database_at, orchestrator_over, store_over


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with database_at(tmp_path / "orchestrator.db") as opened:
        yield opened


@pytest.fixture
async def store(database: Database) -> SqliteStore:
    return await store_over(database)


@pytest.fixture
async def hosts() -> ScriptedHosts:
    """The plugin `p` has two instances."""
    scripted = ScriptedHosts()
    scripted.show("p", endpoint("i-1"), endpoint("i-2"))
    return scripted


@pytest.fixture
async def orchestrator(store: SqliteStore, hosts: ScriptedHosts) -> Orchestrator:
    return orchestrator_over(store, hosts)
