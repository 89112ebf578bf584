"""The contract itself: it is about the ports, and no test of it knows which database it runs over."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.schedules.ports import ScheduleStore

HERE = Path(__file__).parent
TESTS = sorted(path for path in HERE.glob("*.py") if path.name not in ("adapters.py", Path(__file__).name))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_no_test_names_a_database(path: Path) -> None:
    assert "sqlite" not in path.read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("port", [Store, ScheduleStore], ids=lambda port: port.__name__)
def test_everything_that_is_asked_of_a_store_is_in_it(port: type) -> None:
    asked = {name for base in port.__mro__ for name in vars(base) if not name.startswith("_")}
    said = "\n".join(path.read_text(encoding="utf-8") for path in TESTS)

    assert len(asked) > 5
    assert {name for name in asked if f".{name}" not in said} == set()
