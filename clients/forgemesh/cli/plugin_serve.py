"""`forgemesh plugin serve`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
from forgemesh.chassis.process import PARENT_FD, READY_FD
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.log_line import readable
from forgemesh.cli.mesh.process import ended
from forgemesh.cli.plugin_check import chosen, refuse_changed, refuse_invalid
from forgemesh.cli.plugin_inspection import inspect_plugin
from forgemesh.cli.plugin_sections import CONFIG, PluginSection
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.service_address import address_for_spans, service_address
from forgemesh.cli.service_discovery import published
from forgemesh.client import Client
from forgemesh.plugin.search_path import search_path

_LONGEST_LINE = 1 << 20
_DEBUGGING = {"FORGEMESH_HOST_STALL": "86400", "FORGEMESH_HOST_LEASE_TTL": "600"}
"""Nobody minds for a day that the loop does not turn, and for ten minutes that the lease is not renewed."""


async def serve(
    plugin: str,
    /,
    *,
    path: tuple[Path, ...] = (),
    config: Path = Path(CONFIG),
    plugin_config: Path | None = None,
    instance_id: str | None = None,
    owner_key_file: Path | None = None,
    debug: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Serve a plugin from here, in the foreground, for a mesh that runs; Ctrl-C lets it finish what it has.

    The supervisor of the mesh knows nothing of it: nobody restarts it. Exits with 2 if the plugin is not valid, and
    with 4 if its version is published with another content.

    Parameters
    ----------
    plugin
        "module:Class", or the name of a section of the configuration.
    path
        Where to look for the module first; the working directory if not given. May be repeated.
    config
        The project's forgemesh.toml.
    plugin_config
        A JSON or TOML file with the plugin's configuration.
    instance_id
        What the mesh calls it; the plugin's id with the process's number if not given.
    owner_key_file
        A file with the key of the plugin's owner, if it was published with one.
    debug
        For a debugger or breakpoint(): the plugin gets this terminal, and is not taken for dead while it stands still,
        for up to ten minutes.
    """
    (section,) = chosen(plugin, path, config)
    if not section.load:
        raise usage(
            f"{section} is a program, which is not served from here",
            hint=f"start it with its mesh: forgemesh plugin load {section.name}",
        )
    async with Client.connect(line.address) as mesh:
        registry = await service_address(mesh, "registry")
        traces = await address_for_spans(mesh)
    inspected = await inspect_plugin(section)
    refuse_invalid([inspected])
    assert inspected.manifest is not None
    refuse_changed(inspected.manifest, await published(registry, inspected.manifest.plugin_id))
    settings = {
        "FORGEMESH_HOST_REGISTRY": registry,
        "FORGEMESH_HOST_TRACES": traces,
        "FORGEMESH_HOST_CONFIG": str(plugin_config or ""),
        "FORGEMESH_HOST_INSTANCE_ID": instance_id or "",
        "FORGEMESH_HOST_OWNER_KEY_FILE": str(owner_key_file or ""),
    } | (_DEBUGGING if debug else {})
    await _host(section, inspected.manifest, settings, line, debug=debug)


async def _host(
    section: PluginSection, manifest: Manifest, settings: Mapping[str, str], line: CommandLine, *, debug: bool
) -> None:
    ready, told = os.pipe()
    alive, held = os.pipe()
    try:
        try:
            process = await _spawn(section, settings, (told, alive), debug=debug)
        finally:
            os.close(told)
            os.close(alive)
        with _forwarding(process, line):
            async with asyncio.TaskGroup() as tasks:
                if process.stdout is not None:
                    tasks.create_task(_show(process.stdout, line))
                tasks.create_task(_announce(ready, manifest, line))
                code = await process.wait()
    finally:
        os.close(held)
    if code:
        raise Problem(
            ExitCode.FAILED,
            f"the plugin's process {ended(code)}",
            reason="HOST_ENDED",
            hint="what it wrote stands above",
        )
    line.terminal.talk("stopped")


async def _spawn(
    section: PluginSection, settings: Mapping[str, str], pipes: tuple[int, int], *, debug: bool
) -> asyncio.subprocess.Process:
    """Its output is shown as people read it; a debugger gets the terminal itself."""
    told, alive = pipes
    return await asyncio.create_subprocess_exec(
        section.python or sys.executable,
        "-m",
        "forgemesh.plugin_host.main",
        env={
            **os.environ,
            **settings,
            "FORGEMESH_HOST_LOAD": section.load,
            "FORGEMESH_HOST_PATH": search_path(section.folders),
            "FORGEMESH_HOST_NAME": section.name,
            "PYTHONUNBUFFERED": "1",
            READY_FD: str(told),
            PARENT_FD: str(alive),
        },
        pass_fds=pipes,
        stdin=None if debug else asyncio.subprocess.DEVNULL,
        stdout=None if debug else asyncio.subprocess.PIPE,
        stderr=None if debug else asyncio.subprocess.STDOUT,
        start_new_session=not debug,
        limit=_LONGEST_LINE,
    )


async def _announce(ready: int, manifest: Manifest, line: CommandLine) -> None:
    """Say that it serves, once it does; nothing if it never does."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ready, "rb", buffering=0)
    )
    with contextlib.closing(transport):
        said = await reader.readline()
    if not said:
        return
    facts = json.loads(said)
    if line.terminal.json:
        line.terminal.value({"plugin_id": manifest.plugin_id, "version": manifest.version, **facts})
        return
    line.terminal.talk(
        f"{manifest.plugin_id} {manifest.version} serves as {facts['instance_id']} at {facts['address']};"
        " Ctrl-C lets it finish what it has, and stops it"
    )
    operation = next(iter(manifest.operations)).name
    line.terminal.talk(f"call it with: forgemesh plugin call {manifest.plugin_id}/{operation} key=value")


async def _show(output: asyncio.StreamReader, line: CommandLine) -> None:
    while True:
        try:
            text = await output.readuntil(b"\n")
        except asyncio.IncompleteReadError as rest:
            text = rest.partial
        except asyncio.LimitOverrunError as overrun:
            text = await output.readexactly(overrun.consumed)
        if not text:
            return
        line.terminal.report(*readable(text.decode(errors="replace").rstrip("\n")))


@contextlib.contextmanager
def _forwarding(process: asyncio.subprocess.Process, line: CommandLine) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets it drain, the second one ends it at once."""
    loop, asked = asyncio.get_running_loop(), 0

    def forward() -> None:
        nonlocal asked
        asked += 1
        with contextlib.suppress(ProcessLookupError):
            if asked > 1:
                process.kill()
            else:
                line.terminal.talk("finishing what it has; once more ends it at once ...")
                process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, forward)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
