"""`forgemesh plugin publish`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgemesh.api.registry.v1.registry_service_pb2 import PublishManifestRequest
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.secret_file import NoSecret, make_secret, read_secret
from forgemesh.cli.command_line import CommandLine, Given
from forgemesh.cli.neighbours import DEADLINE, address_of
from forgemesh.cli.plugin_check import chosen, refuse_invalid
from forgemesh.cli.plugin_inspection import inspect_plugin
from forgemesh.cli.plugin_sections import CONFIG
from forgemesh.cli.problem import usage
from forgemesh.client import Client
from forgemesh.client.peer import Peer

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.manifest_pb2 import Manifest


async def publish(
    plugin: str | None = None,
    /,
    *,
    owner_key_file: Path | None = None,
    path: tuple[Path, ...] = (),
    config: Path = Path(CONFIG),
    line: Given,
) -> None:
    """
    Put plugins into the catalogue of the mesh without serving them. One that is there as it is stays as it is.

    Exits with 2 if a plugin is not valid, and with 4 if its version is published with another content, or if it has an
    owner whose key is not shown.

    Parameters
    ----------
    plugin
        "module:Class", or the name of a section of the configuration; every section if not given.
    owner_key_file
        A file with the key of the plugin's owner; one that is not there is made. A plugin without an owner belongs to
        that key from now on: only who shows it can serve the plugin or publish further versions.
    path
        Where to look for the module first; the working directory if not given. May be repeated.
    config
        The project's forgemesh.toml.
    """
    found = await asyncio.gather(*map(inspect_plugin, chosen(plugin, path, config)))
    refuse_invalid(found)
    async with Client.connect(line.address) as mesh:
        registry = address_of("registry", await mesh.mesh())
    key = _key(owner_key_file, line) if owner_key_file is not None else ""
    rows = [await _published(registry, one.manifest, key) for one in found if one.manifest is not None]
    if line.terminal.json:
        line.terminal.value({"plugins": rows})
        return
    for row in rows:
        done = "is published" if row["created"] else "was published before, as it is"
        owned = "; it belongs to the owner of the key" if key else ""
        line.terminal.data(f"{row['plugin_id']} {row['version']} {done}{owned}")


def _key(file: Path, line: CommandLine) -> str:
    try:
        if file.exists():
            return read_secret(file)
        key = make_secret(file)
    except NoSecret as error:
        raise usage(str(error), reason="KEY_FILE_INVALID") from error
    line.terminal.talk(
        f"made {file}: keep it, nobody can serve or publish the plugin without it",
        f'  hosts get it by `owner_key_file = "{file}"` in the section of the plugin, or plugin serve --owner-key-file',
    )
    return key


async def _published(registry: str, manifest: Manifest, key: str) -> dict[str, Any]:
    """Raises the Fault with which the registry refused."""
    peer = Peer("registry", registry)
    async with peer.channel() as channel:
        request = PublishManifestRequest(manifest=manifest, owner_key=key)
        answer = await peer.call(RegistryServiceStub(channel).PublishManifest, request, deadline=DEADLINE)
    return {"plugin_id": manifest.plugin_id, "version": manifest.version, "created": answer.created}
