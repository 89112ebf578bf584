"""One mesh with the plugin of every language, and a client of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.languages.conformance_mesh import ConformanceMesh, running_mesh
from tests.languages.languages import TABLE, Language, built
from tests.mesh.weather_mesh import WeatherMesh, running_weather_mesh

if "FORGEMESH_LANGUAGES" not in os.environ:  # make test-languages builds them
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def languages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Language]:
    """Those whose toolchain is there."""
    found, skipped = built(tmp_path_factory.mktemp("built"))
    for name, why in skipped.items():
        print(f"skipped: {name}, {why}")
    return found


@pytest.fixture(scope="session")
def mesh(languages: dict[str, Language], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConformanceMesh]:
    """With all of their plugins."""
    with running_mesh(tmp_path_factory.mktemp("mesh"), languages) as running:
        yield running


@pytest.fixture(scope="session")
def weather_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeatherMesh]:
    """The weather example, for a client that needs nothing but that."""
    with running_weather_mesh(tmp_path_factory.mktemp("weather")) as running:
        yield running


@pytest.fixture(params=TABLE)
def plugin(request: pytest.FixtureRequest, languages: dict[str, Language]) -> str:
    """The language of the plugin."""
    return _known(request.param, languages)


@pytest.fixture(params=TABLE)
def client(request: pytest.FixtureRequest, languages: dict[str, Language]) -> str:
    """The language of the client."""
    return _known(request.param, languages)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A file in which a plugin notes what happens to it."""
    return tmp_path / "ledger"


def _known(name: str, languages: dict[str, Language]) -> str:
    if name not in languages:
        pytest.skip(f"the toolchain of {name} is not there")
    return name
