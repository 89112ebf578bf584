import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from weather_ledger import entered


@dataclass(frozen=True)
class WindCall:
    execution_id: str = "01J9ZC5Y"
    step_path: str = "analyse/wind"
    attempt: int = 2
    idempotency_key: str = "01J9ZC5Y/analyse/wind"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEATHER_LEDGER", str(tmp_path / "ledger"))
    return tmp_path / "ledger" / f"weather.stats-{os.getpid()}.jsonl"


def entries(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def test_a_call_is_noted_when_it_starts_and_when_it_ends(ledger: Path) -> None:
    with entered("weather.stats", "wind", WindCall()):
        assert [entry["event"] for entry in entries(ledger)] == ["start"]

    start, end = entries(ledger)
    assert end["event"] == "end"
    assert start["at_ns"] <= end["at_ns"]
    assert start == {
        "event": "start",
        "operation": "wind",
        "execution_id": "01J9ZC5Y",
        "step_path": "analyse/wind",
        "attempt": 2,
        "idempotency_key": "01J9ZC5Y/analyse/wind",
        "at_ns": start["at_ns"],
        "pid": os.getpid(),
    }


def test_a_call_that_fails_still_ends(ledger: Path) -> None:
    with pytest.raises(LookupError), entered("weather.stats", "wind", WindCall()):
        raise LookupError

    assert [entry["event"] for entry in entries(ledger)] == ["start", "end"]


def test_threads_do_not_tear_each_others_lines(ledger: Path) -> None:
    def call(number: int) -> None:
        with entered("weather.stats", "wind", WindCall(attempt=number)):
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(200)))

    assert sorted(entry["attempt"] for entry in entries(ledger)) == sorted([*range(200)] * 2)


def test_without_the_variable_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEATHER_LEDGER", raising=False)
    monkeypatch.chdir(tmp_path)

    with entered("weather.stats", "wind", WindCall()):
        pass

    assert list(tmp_path.iterdir()) == []
