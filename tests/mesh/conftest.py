"""Meshes that several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh.weather_mesh import WeatherMesh, running_weather_mesh


@pytest.fixture(scope="session")
def weather_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeatherMesh]:
    """The weather example, undisturbed: for tests that break nothing."""
    with running_weather_mesh(tmp_path_factory.mktemp("weather")) as mesh:
        yield mesh


@pytest.fixture
def slow_weather_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeatherMesh]:
    """The weather example with slow branches, and of its own: for tests that kill."""
    with running_weather_mesh(tmp_path_factory.mktemp("slow-weather"), pause=1.0) as mesh:
        yield mesh
