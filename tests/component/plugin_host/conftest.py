"""A real host in the test's loop, on free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.component.plugin_host.hosts import Served, host_at


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with host_at() as served:
        yield served
