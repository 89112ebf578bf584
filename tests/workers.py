"""How `make test` spreads the tests over worker processes; without workers nothing of this changes anything."""

import os
from collections.abc import Mapping
from typing import Any

import pytest

MOST_WORKERS = 8


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs what another one hands it."""
    return hasattr(config, "workerinput")


def number_of_workers(cores: int, environment: Mapping[str, str]) -> int:
    """Two for each core, since tests of the mesh wait for processes; PYTEST_XDIST_AUTO_NUM_WORKERS overrides it."""
    said = environment.get("PYTEST_XDIST_AUTO_NUM_WORKERS", "")
    return int(said) if said.isdecimal() else min(2 * cores, MOST_WORKERS)


def usable_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def group_of(item: pytest.Item) -> str | None:
    """What a test shares with others that is made once, so that they are for one worker; None if it is on its own."""
    requested = getattr(item, "_fixtureinfo", None)
    fixtures = [] if requested is None else [made[-1] for made in requested.name2fixturedefs.values()]
    shared = [fixture for fixture in fixtures if fixture.baseid.startswith("tests/")]
    for fixture in shared:
        if fixture.scope in ("session", "package"):
            return str(fixture.argname)
    return item.nodeid.partition("::")[0] if any(fixture.scope == "module" for fixture in shared) else None


def keep_together(items: list[pytest.Item]) -> None:
    """Mark the tests that share something made once."""
    for item in items:
        if (group := group_of(item)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def begin_with_the_long_ones(items: list[pytest.Item]) -> None:
    """So that no worker is left alone with one at the end: first what needs more time than others, then the mesh."""
    items.sort(key=lambda item: (item.get_closest_marker("timeout") is None, item.get_closest_marker("mesh") is None))


def sendable(value: Any) -> Any:
    """The same with each lone surrogate as its escape: what workers send is UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {sendable(key): sendable(one) for key, one in value.items()}
    return type(value)(map(sendable, value)) if type(value) in (list, tuple) else value
