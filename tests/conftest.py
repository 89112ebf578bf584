"""What holds for all tests, whatever surrounds the one who runs them, in one process and in several."""

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.environment import leave_environment, use_memory_disk
from tests.workers import (
    begin_with_the_long_ones,
    is_worker,
    keep_together,
    number_of_workers,
    sendable,
    usable_cores,
)

# how long an example takes says something about the machine, and nothing about the code
settings.register_profile("everywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("everywhere")


pytest.register_assert_rewrite("tests.stock_scenarios")


def pytest_configure() -> None:
    leave_environment()
    use_memory_disk()


def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`, which is what `make test` says."""
    return number_of_workers(usable_cores(), os.environ)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_worker(config):
        keep_together(items)
        begin_with_the_long_ones(items)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A worker hands on what a test wrote, also what no UTF-8 can say."""
    return sendable((yield))
