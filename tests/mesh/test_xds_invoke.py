"""The page about xDS, as somebody follows it: a bootstrap file, and an ordinary call of the weather example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.weather_mesh import WeatherMesh, running_weather_mesh

pytestmark = pytest.mark.mesh

PAGE = Path(__file__).parents[2] / "docs" / "xds.md"
PATIENCE = 180.0


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeatherMesh]:
    """`forgemesh up` with the weather plugins."""
    with running_weather_mesh(tmp_path_factory.mktemp("weather")) as running:
        yield running


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_call_of_the_page_gets_its_answer(mesh: WeatherMesh, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    command = [sys.executable, "-m", "forgemesh.cli.main", "xds", "bootstrap"]
    written = run(command, tmp_path, FORGEMESH_ADDRESS=mesh.orchestrator).strip()

    said = run([sys.executable, "-c", program], tmp_path, GRPC_XDS_BOOTSTRAP=str(tmp_path / written))

    assert json.loads(said)["mean"] == 4.5
