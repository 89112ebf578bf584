"""Stock clients of several languages, and Envoy, call plugins at xds:/// without any code of ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from forgemesh.routing.policy import PluginPolicy, Policy
from tests.component.balancer.meshes import DEADLINE, PLUGIN
from tests.languages.xds.clients import CLIENTS, Client, MissingToolError, envoy, stock_protos
from tests.mesh.processes import eventually
from tests.stock_mesh import PYTHON, StockClient, StockMesh, stock_mesh
from tests.stock_scenarios import (
    LONG,
    both,
    comes_back_after_nobody_was_there,
    heeds_weights,
    leads_an_execution_to_one_instance,
    leaves_who_does_not_serve,
    meets_all,
    opens_the_circuit_of_who_fails,
    outlives_the_balancer,
)

pytestmark = pytest.mark.mesh
Log = pytest.LogCaptureFixture

TYPES = "type.googleapis.com/envoy.extensions"

SCENARIOS: dict[str, tuple[Callable[[StockMesh, StockClient], Any], PluginPolicy]] = {
    "meets all": (meets_all, PluginPolicy()),
    "leaves who does not serve": (leaves_who_does_not_serve, LONG),
    "opens the circuit of who fails": (opens_the_circuit_of_who_fails, LONG),
    "comes back after nobody was there": (comes_back_after_nobody_was_there, PluginPolicy()),
    "leads an execution to one instance": (
        leads_an_execution_to_one_instance,
        PluginPolicy(pick=Policy.CONSISTENT_HASH),
    ),
    "heeds weights": (heeds_weights, PluginPolicy(pick=Policy.WEIGHTED_ROUND_ROBIN)),
}


def built(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except MissingToolError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=list(CLIENTS))
def stock(request: pytest.FixtureRequest) -> Client:
    """A client of each language whose toolchain is there."""
    client: Client = built(CLIENTS[request.param])
    return client


async def used(mesh: StockMesh, client: StockClient) -> None:
    """Wait until it has said that it knows the set of instances."""
    async with asyncio.timeout(DEADLINE):
        while not mesh.used(client.name):
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def of_two(tmp_path: Path, log: Log, policy: PluginPolicy) -> AsyncIterator[StockMesh]:
    """A mesh with two instances, of which the first has three times the weight of the second."""
    async with stock_mesh(tmp_path, log, policy=policy) as mesh:
        await mesh.start("a", weight=3)
        await mesh.start("b", weight=1)
        yield mesh


@pytest.mark.parametrize("scenario", list(SCENARIOS))
async def test_every_client(tmp_path: Path, caplog: Log, stock: Client, scenario: str) -> None:
    run, policy = SCENARIOS[scenario]
    async with (
        of_two(tmp_path, caplog, policy) as mesh,
        mesh.client(stock.command, environment=stock.environment) as client,
    ):
        await run(mesh, client)

    assert "cannot use" not in caplog.text


@pytest.mark.parametrize("pick", [Policy.LEAST_CONNECTIONS, Policy.RESOURCE_BASED, Policy.RANDOM])
async def test_every_client_takes_every_policy(tmp_path: Path, caplog: Log, stock: Client, pick: Policy) -> None:
    async with (
        of_two(tmp_path, caplog, PluginPolicy(pick=pick)) as mesh,
        mesh.client(stock.command, environment=stock.environment) as client,
    ):
        assert both(await client.until(both))

    assert "cannot use" not in caplog.text


async def test_an_unknown_plugin_fails_at_once_for_every_client(tmp_path: Path, caplog: Log, stock: Client) -> None:
    async with (
        stock_mesh(tmp_path, caplog) as mesh,
        mesh.client(stock.command, plugin_id="nobody", environment=stock.environment) as client,
    ):
        answers = await client.ask(3)

        await used(mesh, client)  # it was told, and did not find out by its own patience
    assert answers == {"UNAVAILABLE": 3}


async def test_every_client_outlives_the_balancer(tmp_path: Path, caplog: Log, stock: Client) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b") as mesh:
        await outlives_the_balancer(
            mesh, lambda address: mesh.client(stock.command, server=address, environment=stock.environment)
        )


def envoy_bootstrap(folder: Path, balancer: str, name: str) -> Path:
    """A proxy on a free port for one plugin; everything else it asks of the balancer."""
    host, _, port = balancer.rpartition(":")

    def at(host: str, port: int) -> dict[str, Any]:
        return {"socket_address": {"address": host, "port_value": port}}

    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    ads = {"envoy_grpc": {"cluster_name": "balancer"}}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": PLUGIN, "timeout": "0s"}}]
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plugins",
        "codec_type": "HTTP2",
        "route_config": {
            "validate_clusters": False,
            "virtual_hosts": [{"name": "plugins", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(host, int(port))}}]}]
    configuration = {
        "node": {"id": name, "cluster": "mesh"},
        "admin": {"address": at("127.0.0.1", 0)},
        "dynamic_resources": {
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [ads]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "cluster_manager": {
            "load_stats_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [ads]}
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "balancer",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": http2,
                    "load_assignment": {"cluster_name": "balancer", "endpoints": endpoints},
                }
            ],
            "listeners": [
                {
                    "name": "plugins",
                    "address": at("127.0.0.1", 0),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
        },
    }
    file = folder / f"{name}.envoy.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def program() -> str:
    """Envoy."""
    return str(built(envoy))


@contextlib.asynccontextmanager
async def through_envoy(mesh: StockMesh, program: str, balancer: str = "") -> AsyncIterator[StockClient]:
    """A client that knows Envoy's address only; its answers are those of the plugin behind."""
    name = f"envoy-{next(mesh.numbers)}"
    file = envoy_bootstrap(mesh.folder, balancer or mesh.balancer.server.address, name)
    admin, log = mesh.folder / f"{name}.admin", mesh.folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(program, "--config-path", str(file), "--admin-address-path", str(admin)),
            *("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
            stdout=output,
            stderr=output,
        )
    try:
        address = await eventually(lambda: _listening(process, admin, log))
        async with mesh.client(PYTHON, target=address) as client:
            yield StockClient(name, client.process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _listening(process: asyncio.subprocess.Process, admin: Path, log: Path) -> str:
    """Where Envoy takes calls; empty as long as it does not."""
    assert process.returncode is None, log.read_text(encoding="utf-8")
    if not admin.exists() or not admin.read_text(encoding="utf-8"):
        return ""
    try:
        answer = await asyncio.to_thread(_got, f"http://{admin.read_text(encoding='utf-8')}/listeners?format=json")
    except OSError:
        return ""
    listeners = json.loads(answer).get("listener_statuses", [])
    if not listeners:
        return ""
    place = listeners[0]["local_address"]["socket_address"]
    return f"{place['address']}:{place['port_value']}"


def _got(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        found: bytes = answer.read()
    return found


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if not one.startswith("leads")])
async def test_envoy(tmp_path: Path, caplog: Log, program: str, scenario: str) -> None:
    run, policy = SCENARIOS[scenario]
    async with of_two(tmp_path, caplog, policy) as mesh, through_envoy(mesh, program) as client:
        await run(mesh, client)

    assert "cannot use" not in caplog.text


@pytest.mark.parametrize("pick", list(Policy))
async def test_envoy_takes_every_policy(tmp_path: Path, caplog: Log, program: str, pick: Policy) -> None:
    async with of_two(tmp_path, caplog, PluginPolicy(pick=pick)) as mesh, through_envoy(mesh, program) as client:
        answers = await client.until(both) if pick is not Policy.CONSISTENT_HASH else await client.ask(10)

    assert set(answers) <= {"a", "b"}
    assert "cannot use" not in caplog.text


async def test_envoy_outlives_the_balancer(tmp_path: Path, caplog: Log, program: str) -> None:
    async with stock_mesh(tmp_path, caplog, "a", "b") as mesh:
        await outlives_the_balancer(mesh, lambda address: through_envoy(mesh, program, address))


def test_our_messages_are_those_of_their_authors() -> None:
    """Each field that we name has their number and type; compared in a process that has not loaded ours."""
    from tests.languages.xds import messages  # noqa: PLC0415

    command = [sys.executable, messages.__file__, "theirs", *sorted(messages.ours())]
    environment = {**os.environ, "PYTHONPATH": str(built(stock_protos))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout), messages.ours()

    assert len(ours) > 40
    assert {name: {field: theirs[name].get(field) for field in fields} for name, fields in ours.items()} == ours
