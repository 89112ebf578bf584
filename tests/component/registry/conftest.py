"""A real registry on a free port, with a real database and a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.component.registry.registries import registry_at
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
async def registry(database: Path, clock: ManualClock) -> AsyncIterator[RegistryServiceAsyncStub]:
    async with registry_at(database, clock) as stub:
        yield stub
