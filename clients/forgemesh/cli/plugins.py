"""`forgemesh plugin list`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from forgemesh.api.balancer.v1.snapshot_pb2 import Health
from forgemesh.chassis.next_command import is_in_kubernetes, is_on_this_machine
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.plugin_state import OK, health_of, hosts_of, plugin_state, serving_state
from forgemesh.cli.refusals import as_values, refusals, show_refusals
from forgemesh.cli.service_address import addresses_of, why_unreachable
from forgemesh.cli.service_discovery import catalogue, hosts, snapshots
from forgemesh.cli.session_trouble import Troubles, by_instance, session_troubles
from forgemesh.cli.table import Table
from forgemesh.cli.terminal import as_value
from forgemesh.client import Client
from forgemesh.faults import Fault

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.snapshot_pb2 import PluginSnapshot
    from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
    from forgemesh.api.registry.v1.instance_pb2 import Instance
    from forgemesh.api.supervisor.v1.host_pb2 import Host


async def list_(*, everything: Annotated[bool, switch("-a", "--all")] = False, line: Given) -> None:
    """
    List the plugins that were ever published, with the instances that serve them now and how these stand.

    Processes of this machine that have not even said which plugin they are stand at the end, and after them those that
    the registry has refused lately, with the reason.

    Parameters
    ----------
    everything
        Also builds of `forgemesh up --reload`, like 1.0.0+dev.001, that nobody serves any more.
    """
    async with Client.connect(line.address) as mesh:
        addresses = await addresses_of(mesh, "registry", "balancer")
    (manifests, instances), refused, states, running, broken = await asyncio.gather(
        catalogue(addresses["registry"]),
        refusals(addresses["registry"]),
        snapshots(addresses["balancer"]),
        _hosts(addresses.get("supervisor"), line),
        session_troubles(addresses["balancer"]),
    )
    rows = [_row(manifest, instances, states, running, by_instance(broken)) for manifest in manifests]
    rows = [row for row in rows if everything or not _is_old_draft(row)]
    nameless = [host for host in running if not host.plugin_id]
    if line.terminal.json:
        named = [as_value(host) for host in nameless]
        line.terminal.value({"plugins": rows, "nameless_hosts": named, "refused": as_values(refused)})
        return
    if not rows and not nameless and not refused:
        line.terminal.talk(_how_to_get_one(mesh.address))
        return
    line.terminal.table(_table(rows, nameless))
    show_refusals(refused, line.terminal)
    for host in (host for host in running if plugin_state((), [host])[0] == "crash loop"):
        line.terminal.talk(f"{host.instance_id} crashed too often; mend it, then: forgemesh plugin reset {host.name}")


def _how_to_get_one(address: str) -> str:
    if is_in_kubernetes() or not is_on_this_machine(address):
        return "no plugins; publish one: forgemesh plugin publish       and look for its pods: kubectl get pods"
    return "no plugins; make a project with one: forgemesh init       and start it: forgemesh up"


def _is_old_draft(row: dict[str, Any]) -> bool:
    return "dev." in row["manifest"]["version"].partition("+")[2] and not row["instances"]


def _table(rows: Sequence[dict[str, Any]], nameless: Sequence[Host]) -> Table:
    table = Table(("PLUGIN", "VERSION", "SERVING", "STATE", "OPERATIONS", "PROVIDES", "DESCRIPTION"))
    for row in rows:
        manifest = row["manifest"]
        table.add(
            manifest["plugin_id"],
            manifest["version"],
            f"{sum(one['health'] == 'SERVING' for one in row['instances'])} of {len(row['instances'])}",
            row["state"],
            ", ".join(operation["name"] for operation in manifest.get("operations", ())),
            ", ".join(f"{one['name']}@{one['version']}" for one in manifest.get("provides", ())),
            row["reason"] or manifest.get("description", ""),
        )
    for host in nameless:
        state, reason = plugin_state((), [host])
        table.add(f"({host.name})", "", "0 of 1", state, "", "", reason or host.load)
    return table


async def _hosts(address: str | None, line: CommandLine) -> list[Host]:
    """The supervisor's processes; a mesh may have none, and may do without it."""
    if not address:
        return []
    if lost := await why_unreachable("supervisor", address):
        line.terminal.talk(f"warning: cannot ask the supervisor: {lost.cause}", *(f"  {one}" for one in lost.forward))
        return []
    try:
        return await hosts(address)
    except Fault as fault:
        line.terminal.talk(f"warning: {fault.message}")
        return []


def _row(
    manifest: Manifest,
    instances: Sequence[Instance],
    states: Sequence[PluginSnapshot],
    running: Sequence[Host],
    troubles: Troubles,
) -> dict[str, Any]:
    """A plugin version with its instances; an instance that the balancer has not seen yet is UNSPECIFIED."""
    endpoints = {endpoint.instance_id: endpoint for state in states for endpoint in state.endpoints}
    own = [
        instance
        for instance in instances
        if (instance.plugin_id, instance.plugin_version) == (manifest.plugin_id, manifest.version)
    ]
    serving = [
        {
            **as_value(instance),
            "health": Health.Name(health_of(instance, endpoints)).removeprefix("HEALTH_"),
        }
        for instance in own
    ]
    state, reason = plugin_state(own, hosts_of(manifest.plugin_id, manifest.version, running))
    if state == OK:
        state, reason = serving_state(own, endpoints)
    if state == OK and (broken := [said for one in own if (said := troubles.get((one.instance_id, one.incarnation)))]):
        state, reason = "no session", broken[0]
    return {"manifest": as_value(manifest), "instances": serving, "state": state, "reason": reason}
