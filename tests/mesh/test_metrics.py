"""The metrics of a whole mesh, read from real processes."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from tests.mesh.processes import eventually
from tests.mesh.test_one_trace import STEPS, run_by_cli
from tests.mesh.weather_mesh import WeatherMesh

pytestmark = pytest.mark.mesh

PATIENCE = 60.0
ASKED = {"Accept": "application/openmetrics-text; version=1.0.0"}
SOUND = ("forgemesh_reconciler_saves", "forgemesh_slots_leaked", "forgemesh_executions_bugs")


def read(mesh: WeatherMesh, service: str) -> Mapping[str, Metric]:
    address = mesh.facts["services"][service]["metrics_address"]
    request = urllib.request.Request(f"http://{address}/metrics", headers=ASKED)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        families = text_string_to_metric_families(answer.read().decode())  # type: ignore[no-untyped-call]
        return {family.name: family for family in families}


def total(family: Metric, ending: str = "", **labels: str) -> float:
    return sum(sample.value for sample in matching(family, ending, labels))


def matching(family: Metric, ending: str, labels: Mapping[str, str]) -> list[Sample]:
    samples = [sample for sample in family.samples if sample.name == family.name + ending]
    return [sample for sample in samples if labels.items() <= sample.labels.items()]


async def test_every_process_tells_what_it_did_and_an_example_leads_to_the_trace(weather_mesh: WeatherMesh) -> None:
    before = await asyncio.to_thread(read, weather_mesh, "orchestrator")
    ran, calls = (
        total(before[name], "_count")
        for name in ("forgemesh_execution_duration_seconds", "forgemesh_call_duration_seconds")
    )
    run_by_cli(weather_mesh, "measured")

    after = await asyncio.to_thread(read, weather_mesh, "orchestrator")
    executions = after["forgemesh_execution_duration_seconds"]
    assert total(executions, "_count") == ran + 1
    assert total(after["forgemesh_call_duration_seconds"], "_count") == calls + STEPS
    assert {name: total(after[name]) + total(after[name], "_total") for name in SOUND} == dict.fromkeys(SOUND, 0.0)
    assert total(after["forgemesh_spans"], "_total", fate="lost") == 0
    trace_ids = {sample.exemplar.labels["trace_id"] for sample in executions.samples if sample.exemplar}
    async with weather_mesh.stub() as stub:
        told = await stub.GetExecution(pb.GetExecutionRequest(execution_id="measured"), timeout=PATIENCE)
    assert told.execution.status == execution_pb2.EXECUTION_STATUS_SUCCEEDED
    assert told.execution.trace_id in trace_ids


async def test_each_service_has_metrics_of_its_own(weather_mesh: WeatherMesh) -> None:
    run_by_cli(weather_mesh, "for-the-others")

    async def all_are_told() -> bool:
        registry, balancer, supervisor, traces = await asyncio.gather(
            *(asyncio.to_thread(read, weather_mesh, name) for name in ("registry", "balancer", "supervisor", "traces"))
        )
        hosts = total(supervisor["forgemesh_hosts"], state="ready")
        return (
            hosts > 0
            and total(registry["forgemesh_registrations"]) == hosts
            and total(balancer["forgemesh_instances"], health="serving") == hosts
            and total(balancer["forgemesh_circuits"], state="closed") == hosts
            and total(traces["forgemesh_traces_spans_stored"], "_total") >= 2 * STEPS
        )

    await eventually(all_are_told)
