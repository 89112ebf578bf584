"""A stock grpcio client in a process of its own calls a plugin at xds:///, and the balancer decides whom it meets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from forgemesh.api.balancer.v1 import snapshot_pb2
from forgemesh.balancer.application.circuits import health_trials
from forgemesh.balancer.domain.decisions import Forced
from forgemesh.balancer.domain.discovery import Kind
from forgemesh.balancer.domain.events import Author
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState
from forgemesh.routing.policy import PluginPolicy, Policy
from tests.component.balancer.meshes import PLUGIN, subscribed
from tests.component.balancer.picking import circuit, in_flight
from tests.stock_mesh import NO_TRIAL, StockMesh, eventually, stock_mesh

LONG = PluginPolicy(circuit=CircuitRule(open=600.0, max_open=600.0))
BRIEF = PluginPolicy(circuit=CircuitRule(open=0.05, max_open=0.05, permit_lease=30.0))
Log = pytest.LogCaptureFixture


def state(mesh: StockMesh, name: str) -> CircuitState:
    return circuit(mesh.balancer, name).state  # type: ignore[no-any-return]


async def test_calls_take_turns_and_a_new_instance_takes_its_share(tmp_path: Path, caplog: Log) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b") as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b"})
        two = await client.ask(100)
        await mesh.start("c")
        await client.until(lambda answers: "c" in answers)
        three = await client.ask(99)

    assert two == {"a": 50, "b": 50}
    assert three == {"a": 33, "b": 33, "c": 33}


@pytest.mark.parametrize("how", ["is gone", "drains", "does not serve", "is forced open"])
async def test_an_instance_that_is_out_gets_no_call_once_that_is_acknowledged(
    tmp_path: Path, caplog: Log, how: str
) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b") as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b"})

        async with mesh.acknowledged(client):
            if how == "does not serve":
                await mesh.instances["b"].health.not_ready()
            elif how == "is forced open":
                guarded = next(one for one in mesh.balancer.balancer.circuits if one.instance_key[0] == "b")
                forced = Forced(PLUGIN, "b", CircuitState.FORCED_OPEN, Author("a test"))
                mesh.balancer.balancer.circuits.force(guarded, forced)
            else:
                await mesh.end("b", drain=how == "drains")
        calls = mesh.instances["b"].calls
        answers = await client.ask(100)

    assert answers == {"a": 100}
    assert mesh.instances["b"].calls == calls


async def test_calls_under_way_on_an_instance_that_leaves_come_to_their_end(tmp_path: Path, caplog: Log) -> None:
    async with stock_mesh(tmp_path, caplog, "a") as mesh, mesh.client() as client:
        await client.ask(1)
        leaving = mesh.instances["a"]
        leaving.waits.clear()
        under_way = asyncio.create_task(client.ask(4, concurrent=4))
        await eventually(lambda: leaving.arrived == 5)

        async with mesh.acknowledged(client):
            await mesh.end("a")
        leaving.waits.set()

        assert await under_way == {"a": 4}


async def test_a_dead_instance_of_which_the_balancer_does_not_know_costs_no_call(tmp_path: Path, caplog: Log) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b") as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b"})
        await mesh.instances["b"].server.stop(0)

        assert await client.ask(60) == {"a": 60}


async def test_without_an_instance_a_call_fails_at_once_and_with_the_next_one_it_is_served(
    tmp_path: Path, caplog: Log
) -> None:
    async with stock_mesh(tmp_path, caplog, "a") as mesh, mesh.client() as client:
        await client.ask(1)
        async with mesh.acknowledged(client):
            await mesh.end("a")
        without = await client.ask(3)
        async with mesh.acknowledged(client):
            await mesh.start("b")
        again = await client.until(lambda answers: "b" in answers)

    assert without == {"UNAVAILABLE": 3}
    assert set(again) == {"b"}


async def test_an_unknown_plugin_fails_at_once_and_who_waits_is_served_as_soon_as_it_is_there(
    tmp_path: Path, caplog: Log
) -> None:
    async with stock_mesh(tmp_path, caplog) as mesh, mesh.client(plugin_id="later") as client:
        unknown = await client.ask(3)
        used = [mesh.used(client.name, kind) for kind in Kind]
        waiting = asyncio.create_task(client.ask(1, wait=True))
        await mesh.start("x", plugin_id="later")
        served = await waiting

    assert unknown == {"UNAVAILABLE": 3}
    assert min(used) == 1, "it was told, and did not have to find out by itself"
    assert served == {"x": 1}


async def test_whoever_starts_instances_hears_of_a_plugin_that_is_followed_and_has_none(
    tmp_path: Path, caplog: Log
) -> None:
    async with stock_mesh(tmp_path, caplog) as mesh, mesh.client(plugin_id="asleep") as client:
        await client.ask(3)

        assert mesh.balancer.balancer.demands.active("asleep", "")


@pytest.mark.parametrize("pick", [Policy.WEIGHTED_ROUND_ROBIN, Policy.RANDOM])
async def test_weights_are_heeded(tmp_path: Path, caplog: Log, pick: Policy) -> None:
    async with stock_mesh(tmp_path, caplog, policy=PluginPolicy(pick=pick)) as mesh:
        await mesh.start("a", weight=3)
        await mesh.start("b", weight=1)
        async with mesh.client() as client:
            await client.until(lambda answers: set(answers) == {"a", "b"})
            answers = await client.ask(800)

    assert 520 < answers["a"] < 680, answers
    assert answers["a"] + answers["b"] == 800


async def test_a_consistent_hash_leads_to_the_same_instance_for_the_same_execution(tmp_path: Path, caplog: Log) -> None:
    policy = PluginPolicy(pick=Policy.CONSISTENT_HASH)
    async with stock_mesh(tmp_path, caplog, "a", "b", "c", policy=policy) as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b", "c"}, headers={"x-execution-id": "%i"})
        same = await client.ask(60, headers={"x-execution-id": "one"})
        different = await client.ask(300, headers={"x-execution-id": "%i"})

    assert list(same.values()) == [60]
    assert set(different) == {"a", "b", "c"}


async def test_a_client_without_least_connections_takes_the_next_policy(tmp_path: Path, caplog: Log) -> None:
    policy = PluginPolicy(pick=Policy.LEAST_CONNECTIONS)
    async with stock_mesh(tmp_path, caplog, "a", "b", policy=policy) as mesh, mesh.client() as client:
        answers = await client.until(lambda answers: set(answers) == {"a", "b"})

    assert set(answers) == {"a", "b"}
    assert "cannot use" not in caplog.text


async def test_shares_follow_from_the_load_that_instances_report(tmp_path: Path, caplog: Log) -> None:
    policy = PluginPolicy(pick=Policy.RESOURCE_BASED)
    async with stock_mesh(tmp_path, caplog, "a", "b", policy=policy) as mesh, mesh.client() as client:
        for name, utilization in (("a", 0.2), ("b", 0.8)):
            load = mesh.instances[name].load
            load.application_utilization, load.rps_fractional = utilization, 100.0
        answers = await client.until(lambda answers: answers == {"a": 80, "b": 20}, calls=100)

    assert sum(answers.values()) == 100


async def test_lower_tiers_are_for_when_there_is_nobody_else(tmp_path: Path, caplog: Log) -> None:
    async with stock_mesh(tmp_path, caplog) as mesh:
        await mesh.start("a", tier=3)
        await mesh.start("b", tier=7)
        async with mesh.client() as client:
            first = await client.until(lambda answers: "a" in answers)
            async with mesh.acknowledged(client):
                await mesh.end("a")
            then = await client.until(lambda answers: "b" in answers)

    assert (set(first), set(then)) == ({"a"}, {"b"})


async def test_what_a_stock_client_counts_opens_the_circuit_of_the_instance_that_fails(
    tmp_path: Path, caplog: Log
) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b", policy=LONG) as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b"})
        mesh.instances["b"].fails = grpc.StatusCode.INTERNAL
        async with mesh.acknowledged(client):
            await client.until(lambda answers: state(mesh, "b") is CircuitState.OPEN)
        calls = mesh.instances["b"].calls
        answers = await client.ask(100)

    assert answers == {"a": 100}
    assert mesh.instances["b"].calls == calls
    assert state(mesh, "a") is CircuitState.CLOSED


async def test_a_call_that_fails_everywhere_is_to_blame_itself(tmp_path: Path, caplog: Log) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b", policy=LONG) as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b"})
        for one in mesh.instances.values():
            one.fails = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await client.ask(80) == {"RESOURCE_EXHAUSTED": 80}
        await eventually(lambda: sum(errors(mesh)) >= 80)
        ignored, failed = errors(mesh)

    assert failed <= 80 // 4, "one at most of each report, which may end between two turns"
    assert ignored + failed == 80
    assert {one.circuit.state for one in mesh.balancer.balancer.circuits} == {CircuitState.CLOSED}


def errors(mesh: StockMesh) -> tuple[int, int]:
    """Calls that clients told of as errors: those that count for nothing, and those that the instances failed."""
    counts = [counts for one in mesh.balancer.balancer.callers.present for _, counts in one.counts.values()]
    return sum(one.ignored for one in counts), sum(one.failed for one in counts)


async def test_calls_of_a_stock_client_count_as_under_way(tmp_path: Path, caplog: Log) -> None:
    async with stock_mesh(tmp_path, caplog, "a") as mesh, mesh.client() as client:
        await client.ask(1)
        mesh.instances["a"].waits.clear()
        under_way = asyncio.create_task(client.ask(7, concurrent=7))

        await eventually(lambda: in_flight(mesh.balancer) == 7)
        mesh.instances["a"].waits.set()
        await under_way
        await eventually(lambda: in_flight(mesh.balancer) == 0)


async def test_an_instance_on_trial_is_not_there_for_a_stock_client(tmp_path: Path, caplog: Log) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b") as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b"})
        async with subscribed(mesh.balancer) as feed:
            feed.report(waiting=1)
            await mesh.instances["b"].health.not_ready()
            await feed.until_circuit(snapshot_pb2.CIRCUIT_STATE_CLOSED, "b")
            await eventually(lambda: mesh.balancer.balancer.fleet.standings["b"].verdict.health.value == "not serving")
            async with mesh.acknowledged(client):
                pass
            await mesh.instances["b"].health.ready()
            permit = await feed.permit()
            calls = mesh.instances["b"].calls
            answers = await client.ask(60)

    assert permit.instance_id == "b"
    assert answers == {"a": 60}
    assert mesh.instances["b"].calls == calls


async def test_a_health_check_stands_for_the_trial_call_where_only_stock_clients_call(
    tmp_path: Path, caplog: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_trials, "UNTRIED", NO_TRIAL)
    async with stock_mesh(tmp_path, caplog, "a", "b", policy=BRIEF) as mesh, mesh.client() as client:
        await client.until(lambda answers: set(answers) == {"a", "b"})
        async with mesh.acknowledged(client):
            await mesh.instances["b"].health.not_ready()
        out = await client.ask(20)
        await mesh.instances["b"].health.ready()
        back = await client.until(lambda answers: set(answers) == {"a", "b"})

    assert out == {"a": 20}
    assert set(back) == {"a", "b"}
    assert state(mesh, "b") is CircuitState.CLOSED


async def test_what_nobody_follows_waits_for_a_trial_call(
    tmp_path: Path, caplog: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_trials, "UNTRIED", 0.0)
    async with stock_mesh(tmp_path, caplog, "a") as mesh:
        await mesh.instances["a"].health.not_ready()
        await eventually(lambda: not mesh.balancer.balancer.feed.snapshot(PLUGIN).open)
        await mesh.instances["a"].health.ready()
        await eventually(lambda: state(mesh, "a") is CircuitState.HALF_OPEN)
        for _ in range(3):
            mesh.balancer.balancer.health_trials.look()

    assert state(mesh, "a") is CircuitState.HALF_OPEN


BOOTSTRAPS = {"empty": "", "no JSON": "{", "no server": '{"xds_servers": []}'}


@pytest.mark.parametrize("content", list(BOOTSTRAPS))
def test_a_wrong_bootstrap_fails_at_once_and_names_itself(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(BOOTSTRAPS[content], encoding="utf-8")

    said = _call_with(file)

    assert said.returncode != 0
    assert "UNAVAILABLE" in said.stderr
    assert "bootstrap" in said.stderr or "xds_servers" in said.stderr


def _call_with(file: Path) -> subprocess.CompletedProcess[str]:
    program = "import grpc; grpc.insecure_channel('xds:///weather.stats').unary_unary('/test.Who/Who')(b'', timeout=60)"
    environment = {**os.environ, "GRPC_XDS_BOOTSTRAP": str(file)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
