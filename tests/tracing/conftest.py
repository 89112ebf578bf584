"""A mesh beside the tools that other people look at traces and metrics with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tracing.backends import Collector, Jaeger, Prometheus, collecting, scraping, storing
from tests.tracing.shop import Shop, running_shop

if "FORGEMESH_TRACING" not in os.environ:  # make test-tracing builds them
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """Keeps traces in its memory."""
    program = os.environ.get("FORGEMESH_JAEGER")
    if program is None:
        pytest.skip("Jaeger is not there: see what make test-tracing says")
    with storing(program, tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture(scope="session")
def collector(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """Sends what it gets on to Jaeger, as tail sampling has it."""
    with collecting(jaeger, tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture(scope="session")
def shop(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A mesh that sends its spans to the collector too."""
    folder = tmp_path_factory.mktemp("shop")
    with running_shop(folder, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.address}") as running:
        yield running


@pytest.fixture
def lone_shop(tmp_path: Path) -> Iterator[Shop]:
    """A mesh that sends nothing anywhere."""
    with running_shop(tmp_path) as running:
        yield running


@pytest.fixture
def prometheus(lone_shop: Shop, tmp_path: Path) -> Iterator[Prometheus]:
    """Scrapes every service of the lone shop."""
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus on the PATH")
    with scraping(lone_shop.metrics_addresses(), tmp_path / "prometheus") as running:
        yield running
