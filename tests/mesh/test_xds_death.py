"""A stock client and its balancer, which is killed and started anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stock_mesh import stock_mesh
from tests.stock_scenarios import outlives_the_balancer

pytestmark = pytest.mark.mesh


async def test_all_calls_are_served_while_the_balancer_is_dead_and_the_next_one_is_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b") as mesh:
        await outlives_the_balancer(mesh, lambda address: mesh.client(server=address))
