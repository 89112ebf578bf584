"""A client that nobody of ours wrote code for: stock Node.js packages and the protos, nothing else."""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.weather_mesh import WeatherMesh
from tests.once import made_once

pytestmark = pytest.mark.mesh

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).parent / "stock_client"
INSTALL_PATIENCE = 180.0
PATIENCE = 180.0


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The client's packages, installed once for each state of its lock file."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    lock = CLIENT / "package-lock.json"
    folder = ROOT / ".cache" / f"node-client-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    return made_once(folder, _install) / "node_modules"


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(CLIENT / name, folder / name)
    command = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm took more than {INSTALL_PATIENCE:g} s")
    if done.returncode:
        pytest.skip(f"npm could not install the client's packages: {done.stderr.strip()[-300:]}")


def told(mesh: WeatherMesh, node_modules: Path, **options: str) -> list[dict[str, Any]]:
    """What the client said, line by line."""
    given = {
        "address": mesh.orchestrator,
        "protos": str(ROOT / "protos"),
        "definition": str(mesh.example / "workflow.yaml"),
        "input": json.dumps(mesh.input()),
        **options,
    }
    command = ["node", str(CLIENT / "watch_example.js")]
    command += [f"--{name}={value}" for name, value in given.items()]
    environment = {**os.environ, "NODE_PATH": str(node_modules)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_a_stock_client_registers_runs_and_watches_a_workflow(weather_mesh: WeatherMesh, node_modules: Path) -> None:
    trace_id = secrets.token_hex(16)

    lines = told(weather_mesh, node_modules, traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-01")

    registered, started, *events, ended, _ = lines
    assert (registered["kind"], registered["name"], registered["version"]) == ("registered", "weather-report", "1.0.0")
    assert (started["kind"], started["trace_id"]) == ("started", trace_id)
    assert (ended["kind"], ended["status"]) == ("ended", "EXECUTION_STATUS_SUCCEEDED")
    assert Path(ended["output"]["path"]).is_file()
    assert {line["kind"] for line in events} == {"event"}


def test_it_sees_every_event_once_and_in_order(weather_mesh: WeatherMesh, node_modules: Path) -> None:
    events = [line["event"] for line in told(weather_mesh, node_modules) if line["kind"] == "event"]

    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert "execution_started" in events[0]
    assert "execution_succeeded" in events[-1]
    steps = {event["step_path"] for event in events if "attempt_succeeded" in event}
    assert {"validate", "analyse/wind/wind", "merge", "report"} <= steps


def test_asking_again_with_the_same_request_id_gets_the_same_execution(
    weather_mesh: WeatherMesh, node_modules: Path
) -> None:
    request_id = secrets.token_hex(8)

    first, second = (told(weather_mesh, node_modules, **{"request-id": request_id}) for _ in range(2))

    assert first[1]["execution_id"] == second[1]["execution_id"]
    assert second[0]["created"] is False


def test_it_can_read_why_it_was_refused(weather_mesh: WeatherMesh, node_modules: Path) -> None:
    refused = told(weather_mesh, node_modules)[-1]

    assert (refused["kind"], refused["code"]) == ("refused", "NOT_FOUND")
    assert (refused["reason"], refused["domain"]) == ("DEFINITION_NOT_FOUND", "forgemesh.dev")
    assert refused["metadata"]["name"] == "nobody-registered-this"
    assert refused["message"].startswith("no workflow 'nobody-registered-this' is registered")
