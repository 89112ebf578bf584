"""`forgemesh plugin describe`."""

from __future__ import annotations

import asyncio

from forgemesh.api.balancer.v1.snapshot_pb2 import Health
from forgemesh.cli.command_line import Given
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.manifest_page import manifest_page
from forgemesh.cli.plugin_call import blocker
from forgemesh.cli.problem import Problem
from forgemesh.cli.service_address import addresses_of
from forgemesh.cli.service_discovery import never_published, published, snapshots
from forgemesh.cli.table import Table, word
from forgemesh.cli.terminal import as_value
from forgemesh.client import Client


async def describe(plugin: str, /, *, line: Given) -> None:
    """
    Show what a plugin offers and needs, and who serves it.

    Parameters
    ----------
    plugin
        Its id, or id@version; the newest version if none is named.
    """
    plugin_id, _, version = plugin.partition("@")
    async with Client.connect(line.address) as mesh:
        addresses = await addresses_of(mesh, "registry", "balancer")
    known, states = await asyncio.gather(published(addresses["registry"]), snapshots(addresses["balancer"], plugin_id))
    manifests = [one for one in known if one.plugin_id == plugin_id]
    if not manifests:
        raise never_published(plugin_id, known)
    versions = [one.version for one in manifests]
    manifest = next((one for one in manifests if one.version == version), None) if version else manifests[-1]
    if manifest is None:
        raise Problem(
            ExitCode.NOT_FOUND,
            f"{plugin_id} was never published as {version}",
            reason="VERSION_NOT_FOUND",
            code="NOT_FOUND",
            hint=f"published: {', '.join(versions)}",
        )
    endpoints = [one for state in states if state.plugin_id == plugin_id for one in state.endpoints]
    if line.terminal.json:
        rows = [as_value(one) for one in endpoints]
        line.terminal.value({"manifest": as_value(manifest), "versions": versions, "instances": rows})
        return
    line.terminal.data(*manifest_page(manifest), "")
    if len(versions) > 1:
        line.terminal.data(f"versions: {', '.join(versions)}", "")
    if not endpoints:
        line.terminal.talk(f"no instance serves it; start one: forgemesh plugin serve module:Class ({plugin_id})")
        return
    table = Table(("INSTANCE", "VERSION", "HEALTH", "ADDRESS", "NOT CALLED BECAUSE"))
    for one in endpoints:
        health = word(Health.Name(one.health), "HEALTH_")
        table.add(one.instance_id, one.plugin_version, health, one.address, blocker(one))
    line.terminal.table(table)
