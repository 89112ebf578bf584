"""`forgemesh plugin list`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from forgemesh.api.balancer.v1.snapshot_pb2 import Health
from forgemesh.cli.command_line import Given
from forgemesh.cli.neighbours import address_of, catalogue, snapshots
from forgemesh.cli.table import Table
from forgemesh.cli.terminal import as_value
from forgemesh.client import Client

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.snapshot_pb2 import PluginSnapshot
    from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
    from forgemesh.api.registry.v1.instance_pb2 import Instance


async def list_(*, line: Given) -> None:
    """List the plugins that were ever published, with the instances that serve them now."""
    async with Client.connect(line.address) as mesh:
        addresses = await mesh.mesh()
    (manifests, instances), states = await asyncio.gather(
        catalogue(address_of("registry", addresses)), snapshots(address_of("balancer", addresses))
    )
    rows = [_row(manifest, instances, states) for manifest in manifests]
    if line.terminal.json:
        line.terminal.value({"plugins": rows})
        return
    if not rows:
        line.terminal.talk("no plugins; name them in forgemesh.toml under [plugins.<name>], then: forgemesh up")
        return
    table = Table(("PLUGIN", "VERSION", "SERVING", "OPERATIONS", "PROVIDES", "DESCRIPTION"))
    for row in rows:
        manifest = row["manifest"]
        table.add(
            manifest["plugin_id"],
            manifest["version"],
            f"{sum(one['health'] == 'SERVING' for one in row['instances'])} of {len(row['instances'])}",
            ", ".join(operation["name"] for operation in manifest.get("operations", ())),
            ", ".join(f"{one['name']}@{one['version']}" for one in manifest.get("provides", ())),
            manifest.get("description", ""),
        )
    line.terminal.table(table)


def _row(manifest: Manifest, instances: list[Instance], states: list[PluginSnapshot]) -> dict[str, Any]:
    """A plugin version with its instances; an instance that the balancer has not seen yet is UNSPECIFIED."""
    health = {endpoint.instance_id: endpoint.health for state in states for endpoint in state.endpoints}
    serving = [
        {
            **as_value(instance),
            "health": Health.Name(health.get(instance.instance_id, Health.HEALTH_UNSPECIFIED)).removeprefix("HEALTH_"),
        }
        for instance in instances
        if (instance.plugin_id, instance.plugin_version) == (manifest.plugin_id, manifest.version)
    ]
    return {"manifest": as_value(manifest), "instances": serving}
