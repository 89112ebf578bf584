"""`forgemesh status`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forgemesh.api.balancer.v1.snapshot_pb2 import CircuitState, Endpoint, Health
from forgemesh.api.supervisor.v1.host_pb2 import Host, HostState
from forgemesh.chassis.channel import connect
from forgemesh.chassis.health_facts import REASON, told_in
from forgemesh.cli.command_line import Given
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.plugin_call import blocker
from forgemesh.cli.refusals import as_values, refusals, show_refusals
from forgemesh.cli.service_address import Unreachable, addresses_of, why_unreachable
from forgemesh.cli.service_discovery import hosts, snapshots
from forgemesh.cli.session_trouble import Troubles, by_instance, session_troubles, trouble_of
from forgemesh.cli.supervisor import WITHOUT
from forgemesh.cli.table import Table, joined, word
from forgemesh.client import Client
from forgemesh.client.mesh_file import MeshFacts, nearest_mesh
from forgemesh.faults import Fault

if TYPE_CHECKING:
    from forgemesh.cli.terminal import Terminal

Found = TypeVar("Found")

_ORDER = ("orchestrator", "balancer", "registry", "supervisor", "traces")
_CHECK_DEADLINE = 1.0


async def status(*, line: Given) -> int:
    """
    Show the services of the mesh and the plugin instances, as they are now, and whom the registry has refused lately.

    Exits with 1 if a service or an instance does not serve.
    """
    async with Client.connect(line.address) as mesh:
        facts = _facts_of(mesh.address)
        addresses = await _addresses(mesh, facts)
        engine = await _engine(mesh)
    checks = await asyncio.gather(*(why_unreachable(name, address) for name, address in addresses.items()))
    lost = {one.service: one for one in checks if one is not None}
    services = await asyncio.gather(*(_service(name, addresses[name], facts, lost) for name in _sorted(addresses)))
    near = {name: address for name, address in addresses.items() if name not in lost}
    instances = await _instances(near, line.terminal)
    refused = await _or_nothing(refusals, near.get("registry"), line.terminal)
    if line.terminal.json:
        line.terminal.value(
            {"services": services, "instances": instances, "orchestrator": engine, "refused": as_values(refused)}
        )
    else:
        _show(services, instances, engine, line.terminal)
        show_refusals(refused, line.terminal)
        line.terminal.talk(*_asides(addresses, lost, local=facts is not None))
    serves = all(row["health"] == "SERVING" for row in (*services, *instances))
    return ExitCode.OK if serves else ExitCode.FAILED


def _facts_of(orchestrator: str) -> MeshFacts | None:
    """What the nearest local mesh says about itself, if it is the one that is asked."""
    facts = nearest_mesh(Path.cwd())
    known = facts.services.get("orchestrator") if facts else None
    return facts if known and known.address == orchestrator else None


async def _addresses(mesh: Client, facts: MeshFacts | None) -> dict[str, str]:
    """
    From the orchestrator; while that is away from the local mesh's own file, if there is one.

    The orchestrator itself is where it was asked: what it is called in the mesh's own network may mean nothing here.
    """
    try:
        return await addresses_of(mesh) | {"orchestrator": mesh.address}
    except Fault:
        if facts is None:
            raise
        return {name: service.address for name, service in facts.services.items()}


async def _engine(mesh: Client) -> dict[str, Any]:
    """How the orchestrator does; nothing while it is away."""
    try:
        found = await mesh.orchestrator()
    except Fault:
        return {}
    return {
        "orchestrator_id": found.orchestrator_id,
        "epoch": found.epoch,
        "running": found.running,
        "suspended": found.suspended,
        "saved_by_sweep": found.saved_by_sweep,
        "leaked_slots": found.leaked_slots,
        "store_trouble": found.store_trouble,
        "damaged": list(found.damaged),
    }


def orchestrator_note(engine: dict[str, Any]) -> str:
    """What there is to say about the orchestrator beside its health."""
    if not engine:
        return ""
    return joined(
        (
            f"{engine['running']} running",
            f"{engine['suspended']} suspended",
            f"{engine['saved_by_sweep']} saved by sweep",
            f"{engine['leaked_slots']} leaked slots" if engine["leaked_slots"] else "",
            f"store: {engine['store_trouble']}" if engine["store_trouble"] else "",
            f"damaged: {_first(engine['damaged'])}" if engine.get("damaged") else "",
        )
    )


def _first(damaged: list[str]) -> str:
    more = f" (and {len(damaged) - 1} more, see -o json)" if len(damaged) > 1 else ""
    return f"{damaged[0]}{more}"


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


async def _service(name: str, address: str, facts: MeshFacts | None, lost: Mapping[str, Unreachable]) -> dict[str, Any]:
    known = facts.services.get(name) if facts else None
    health, reason = ("UNREACHABLE", lost[name].cause) if name in lost else await _health(address)
    if health != "SERVING" and known is not None:
        reason = reason or known.trouble
    pid = known.pid if known is not None else None
    return {"service": name, "address": address, "health": health, "pid": pid, "reason": reason}


async def _health(address: str) -> tuple[str, str]:
    """How the service is, and why, as far as it says so."""
    async with connect(address) as channel:
        call = HealthStub(channel).Check(HealthCheckRequest(), timeout=_CHECK_DEADLINE)
        try:
            answer = await call
        except grpc.aio.AioRpcError:
            return "UNREACHABLE", ""
        reason = told_in(await call.initial_metadata()).get(REASON, "")
        return str(HealthCheckResponse.ServingStatus.Name(answer.status)), reason


async def _instances(addresses: dict[str, str], terminal: Terminal) -> list[dict[str, Any]]:
    """What the balancer and the supervisor say about each instance; one of them may be away."""
    states, running, broken = await asyncio.gather(
        _or_nothing(snapshots, addresses.get("balancer"), terminal),
        _or_nothing(hosts, addresses.get("supervisor"), terminal),
        _or_nothing(session_troubles, addresses.get("balancer"), terminal),
    )
    troubles = by_instance(broken)
    plugins = {one.instance_id: state.plugin_id for state in states for one in state.endpoints}
    seen = {one.instance_id: one for state in states for one in state.endpoints}
    held = {host.instance_id: host for host in running}
    names = seen.keys() | held.keys()
    rows = [_instance(name, plugins.get(name, ""), seen.get(name), held.get(name), troubles) for name in names]
    return sorted(rows, key=lambda row: (row["plugin"], row["instance"]))


def _instance(
    name: str, plugin: str, endpoint: Endpoint | None, host: Host | None, troubles: Troubles
) -> dict[str, Any]:
    """One row; what nobody knows is empty."""
    health = Health.Name(endpoint.health).removeprefix("HEALTH_") if endpoint else "UNREACHABLE"
    return {
        "plugin": plugin or (host.name if host else ""),
        "instance": name,
        "address": endpoint.address if endpoint else "",
        "health": "NOT_CHECKED" if health == "UNSPECIFIED" else health,
        "host": HostState.Name(host.state).removeprefix("HOST_STATE_") if host else "",
        "pid": host.pid if host else None,
        "restarts": host.restarts if host else None,
        "circuit": CircuitState.Name(endpoint.circuit.state).removeprefix("CIRCUIT_STATE_") if endpoint else "",
        "reason": (host.reason if host else "") or (_trouble(endpoint, troubles) if endpoint else ""),
    }


def _trouble(endpoint: Endpoint, troubles: Troubles) -> str:
    """Why calls do not reach the instance, as far as its health does not say so in a word."""
    if endpoint.health != Health.HEALTH_SERVING:
        return endpoint.health_reason
    return blocker(endpoint) or trouble_of(endpoint, troubles)


async def _or_nothing(
    ask: Callable[[str], Awaitable[list[Found]]], address: str | None, terminal: Terminal
) -> list[Found]:
    """What the service at `address` answers; a mesh may have none, e.g. no supervisor when it has no plugins."""
    if not address:
        return []
    try:
        return await ask(address)
    except Fault as fault:
        terminal.talk(f"warning: {fault.message}")
        return []


def _asides(addresses: Mapping[str, str], lost: Mapping[str, Unreachable], *, local: bool) -> Iterator[str]:
    """What is not shown and why, and how to see it."""
    if "balancer" in lost:
        yield "plugin instances are not shown: the balancer knows them, and cannot be asked from here"
    for one in lost.values():
        yield from one.forward
    if not local and not addresses.get("supervisor"):
        yield WITHOUT


def _show(
    services: list[dict[str, Any]], instances: list[dict[str, Any]], engine: dict[str, Any], terminal: Terminal
) -> None:
    table = Table(("SERVICE", "ADDRESS", "HEALTH", "PID", "EXECUTIONS"))
    for row in services:
        note = orchestrator_note(engine) if row["service"] == "orchestrator" else ""
        table.add(row["service"], row["address"], word(row["health"], ""), row["pid"] or "", note)
    terminal.table(table)
    for row in services:
        if row["reason"]:
            terminal.data(f"{row['service']}: {row['reason']}")
    if not instances:
        return
    terminal.data("")
    table = Table(("PLUGIN", "INSTANCE", "ADDRESS", "HEALTH", "HOST", "PID", "RESTARTS", "REASON"))
    for row in instances:
        health, host, pid = word(row["health"], ""), word(row["host"], ""), row["pid"] or ""
        restarts = "" if row["restarts"] is None else row["restarts"]
        table.add(row["plugin"], row["instance"], row["address"], health, host, pid, restarts, row["reason"])
    terminal.table(table)
