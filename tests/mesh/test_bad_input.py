"""Bad data given to the example: one clear sentence, a reason, the documented exit code, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mesh.weather_mesh import WeatherMesh

pytestmark = pytest.mark.mesh


def missing(folder: Path) -> Path:
    return folder / "nowhere.csv"


def empty(folder: Path) -> Path:
    file = folder / "empty.csv"
    file.write_text("")
    return file


def binary(folder: Path) -> Path:
    file = folder / "binary.csv"
    file.write_bytes(bytes(range(256)) * 8)
    return file


def columnless(folder: Path) -> Path:
    file = folder / "columns.csv"
    file.write_text("date,wind\n2012-01-01,3.4\n")
    return file


def run(mesh: WeatherMesh, csv: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "forgemesh.cli.main", "--address", mesh.orchestrator, *options, "run"]
    workflow = str(mesh.example / "workflow.yaml")
    given = ["-i", f"path={csv}", "-i", f"directory={mesh.directory / 'reports'}"]
    return subprocess.run([*command, workflow, *given], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("make", "reason", "says"),
    [
        (missing, "CSV_MISSING", "nowhere.csv"),
        (empty, "CSV_EMPTY", "empty.csv"),
        (binary, "CSV_BINARY", "binary.csv"),
        (columnless, "CSV_COLUMNS", "precipitation"),
    ],
)
def test_a_bad_csv_ends_in_one_sentence_and_its_reason(
    weather_mesh: WeatherMesh, tmp_path: Path, make: Callable[[Path], Path], reason: str, says: str
) -> None:
    finished = run(weather_mesh, make(tmp_path), "-o", "json")

    assert finished.returncode == 1
    assert finished.stdout == ""
    error = json.loads(finished.stderr.splitlines()[-1])["error"]
    assert error["reason"] == reason
    assert says in error["message"]
    assert "Traceback" not in finished.stderr


def test_for_people_the_sentence_stands_at_the_end_with_what_to_do(weather_mesh: WeatherMesh, tmp_path: Path) -> None:
    finished = run(weather_mesh, missing(tmp_path))

    assert finished.returncode == 1
    assert "error: " in finished.stderr
    assert "nowhere.csv" in finished.stderr
    assert "Traceback" not in finished.stderr
