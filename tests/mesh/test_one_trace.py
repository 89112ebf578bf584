"""One execution, one trace, from the caller through orchestrator and plugins and back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.chassis.attributes import STEP_ATTEMPT, STEP_PATH
from forgemesh.cli.trace_tree import summary
from tests.mesh.processes import eventually
from tests.mesh.weather_mesh import WeatherMesh

pytestmark = pytest.mark.mesh

STEPS = 7


def run_by_cli(mesh: WeatherMesh, execution_id: str) -> dict[str, object]:
    """The example through the command line, which is a caller with a span of its own."""
    given = [argument for pair in mesh.input().items() for argument in ("-i", f"{pair[0]}={pair[1]}")]
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "forgemesh.cli.main", "--address", mesh.orchestrator, "run"),
            *(str(mesh.example / "workflow.yaml"), *given, "--execution-id", execution_id),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return dict(json.loads(finished.stdout))


async def whole_trace(mesh: WeatherMesh, execution_id: str, attempts: int) -> list[Span]:
    """Its spans, once every attempt has both of its spans."""

    async def look() -> list[Span]:
        spans = list((await mesh.trace(execution_id)).spans)
        complete = len(attempt_spans(spans)) >= attempts and len(plugin_spans(spans)) >= attempts
        return spans if complete and not summary(spans).orphans else []

    return list(await eventually(look))


def attempt_spans(spans: list[Span]) -> list[Span]:
    return [s for s in spans if STEP_ATTEMPT in s.attributes and s.kind == "CLIENT"]


def plugin_spans(spans: list[Span]) -> list[Span]:
    return [s for s in spans if s.name.startswith("execute ")]


async def test_an_execution_is_one_trace_without_gaps(weather_mesh: WeatherMesh) -> None:
    run_by_cli(weather_mesh, "one-trace")

    spans = await whole_trace(weather_mesh, "one-trace", STEPS)

    facts = summary(spans)
    assert len(facts.trace_ids) == 1
    assert facts.orphans == ()
    assert facts.duplicates == ()
    assert {"forgemesh-client", "forgemesh-orchestrator", "weather.reader", "weather.stats"} <= set(facts.services)
    assert len([span for span in spans if not span.parent_span_id]) == 1


async def test_every_attempt_is_in_the_trace_once(weather_mesh: WeatherMesh) -> None:
    run_by_cli(weather_mesh, "every-attempt")

    spans = await whole_trace(weather_mesh, "every-attempt", STEPS)

    started = [entry for entry in weather_mesh.ledger("every-attempt") if entry.event == "start"]
    expected = sorted((entry.step_path, entry.attempt) for entry in started)
    traced = sorted((s.attributes[STEP_PATH], int(s.attributes[STEP_ATTEMPT])) for s in attempt_spans(spans))
    assert traced == expected
    assert len(expected) == STEPS


async def test_durations_agree_with_what_the_plugins_noted_themselves(weather_mesh: WeatherMesh) -> None:
    run_by_cli(weather_mesh, "durations")

    spans = await whole_trace(weather_mesh, "durations", STEPS)

    ledger = weather_mesh.ledger("durations")
    noted = {(entry.step_path, entry.event): entry.at for entry in ledger}
    for span in attempt_spans(spans):
        path = span.attributes[STEP_PATH]
        assert span.end_unix_nano - span.start_unix_nano >= noted[path, "end"] - noted[path, "start"], path
        assert span.start_unix_nano <= noted[path, "start"]
