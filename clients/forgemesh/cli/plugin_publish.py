"""`forgemesh plugin publish`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from forgemesh.api.registry.v1.registry_service_pb2 import PublishManifestRequest
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.secret_file import NoSecret, make_secret, read_secret
from forgemesh.cli.arguments import seconds
from forgemesh.cli.command_line import CommandLine, Given
from forgemesh.cli.plugin_check import all_chosen, inspect_all, refuse_changed, refuse_invalid, refuse_twice
from forgemesh.cli.plugin_sections import CONFIG
from forgemesh.cli.problem import Problem, problem_of, usage
from forgemesh.cli.service_address import service_address
from forgemesh.cli.service_discovery import DEADLINE, published
from forgemesh.cli.terminal import Terminal
from forgemesh.client import Client
from forgemesh.client.peer import Peer
from forgemesh.faults import Code, Fault, code_of
from forgemesh.faults.registry import ManifestConflict

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.manifest_pb2 import Manifest

Answer = TypeVar("Answer")

_PAUSE = 1.0


async def publish(
    *plugins: str,
    owner_key_file: Path | None = None,
    path: tuple[Path, ...] = (),
    config: Path = Path(CONFIG),
    wait: str | None = None,
    line: Given,
) -> None:
    """
    Put plugins into the catalogue of the mesh without serving them. One that is there as it is stays as it is.

    Workflows can name a plugin from then on, and it can be scaled up from no instance at all. Nothing of the mesh but
    its registry is needed if FORGEMESH_REGISTRY says where that is. Exits with 2 if a plugin is not valid, with 4 if
    its version is published with another content, or if it has an owner whose key is not shown, and with 5 if the
    registry is away; one that is refused does not hold up the others.

    Parameters
    ----------
    plugins
        Each "module:Class", or the name of a section of the configuration; every section if none is given.
    owner_key_file
        A file with the key of the plugin's owner; one that is not there is made. A plugin without an owner belongs to
        that key from now on: only who shows it can serve the plugin or publish further versions.
    path
        Where to look for the module first; the working directory if not given. May be repeated.
    config
        The project's forgemesh.toml.
    wait
        How long to wait for a registry that is away, e.g. 30s or 5m; not at all if not given.
    """
    patience = Patience(seconds(wait, "--wait") or 0.0, line.terminal)
    found = await inspect_all(all_chosen(plugins, path, config))
    refuse_invalid(found)
    manifests = [one.manifest for one in found if one.manifest is not None]
    refuse_twice(manifests)
    async with Client.connect(line.address) as mesh:
        registry = await patience.spend(lambda: service_address(mesh, "registry"))
    key = _key(owner_key_file, line) if owner_key_file is not None else ""
    rows: list[dict[str, Any]] = []
    refused: list[Problem] = []
    for manifest in manifests:
        try:
            rows.append(await _published(registry, manifest, key, patience))
        except Problem as problem:
            refused.append(problem)
            if _is_away(problem):
                break
    _tell(rows, owned=bool(key), line=line)
    if refused:
        raise _together(refused, len(manifests))


@dataclass(slots=True)
class Patience:
    """Seconds that a command waits, all its calls together, for a service that is away."""

    seconds: float
    terminal: Terminal
    began: float = field(default_factory=time.monotonic)
    told: bool = False

    async def spend(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer; raises the Fault or Problem with which the service was away at the end, or refused."""
        while True:
            try:
                return await ask()
            except (Fault, Problem) as error:
                left = self.began + self.seconds - time.monotonic()
                if not _is_away(error) or left <= 0:
                    raise
                if not self.told:
                    self.told = True
                    self.terminal.talk(f"waiting up to {self.seconds:g} s: {_message(error)}")
            await asyncio.sleep(min(_PAUSE, left))


def _is_away(error: Fault | Problem) -> bool:
    """Whether the same call may go well later, without anybody doing anything about it."""
    return (error.code if isinstance(error, Problem) else code_of(error).name) == Code.UNAVAILABLE.name


def _message(error: Fault | Problem) -> str:
    return (error if isinstance(error, Problem) else problem_of(error)).message


def _tell(rows: Sequence[dict[str, Any]], *, owned: bool, line: CommandLine) -> None:
    if line.terminal.json:
        line.terminal.value({"plugins": rows})
        return
    for row in rows:
        done = "is published" if row["created"] else "was published before, as it is"
        belongs = "; it belongs to the owner of the key" if owned else ""
        line.terminal.data(f"{row['plugin_id']} {row['version']} {done}{belongs}")


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


async def _published(registry: str, manifest: Manifest, key: str, patience: Patience) -> dict[str, Any]:
    """Raises Problem for whatever kept the registry from taking it."""
    peer = Peer("registry", registry)
    try:
        async with peer.channel() as channel:
            request = PublishManifestRequest(manifest=manifest, owner_key=key)
            ask = RegistryServiceStub(channel).PublishManifest
            answer = await patience.spend(lambda: peer.call(ask, request, deadline=DEADLINE))
    except ManifestConflict as fault:
        refuse_changed(manifest, await published(registry, manifest.plugin_id))
        raise problem_of(fault) from fault
    except Fault as fault:
        raise problem_of(fault) from fault
    return {"plugin_id": manifest.plugin_id, "version": manifest.version, "created": answer.created}


def _together(refused: Sequence[Problem], count: int) -> Problem:
    """All of them as one, which ends as the first does."""
    first = refused[0]
    if len(refused) == 1:
        return first
    details = [
        text for one in refused for text in (one.message, *(f"  {further}" for further in (*one.details, one.hint)))
    ]
    return Problem(
        first.exit_code,
        f"{len(refused)} of {count} plugins were not published",
        reason=first.reason,
        code=first.code,
        details=details,
    )
