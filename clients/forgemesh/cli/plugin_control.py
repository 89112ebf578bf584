"""`forgemesh plugin load|unload|reload|scale|reset|configure`: what an operator does to the plugins of a machine."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.cli.arguments import input_of, seconds
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.problem import usage
from forgemesh.cli.supervisor import PATIENCE, supervisor_of
from forgemesh.cli.table import Table


async def load(*names: str, timeout: str | None = None, line: Given) -> None:
    """
    Start plugins and everything that they need, each after what it needs, and wait until they serve.

    If one does not start, what this command has started is stopped again.

    Parameters
    ----------
    names
        Sections of forgemesh.toml; all if none is named.
    timeout
        How long to wait, 2m if not given; the supervisor goes on.
    """
    wait = seconds(timeout, "--timeout") or PATIENCE
    async with supervisor_of(line) as supervisor:
        wanted = [await supervisor.section(name) for name in names]
        answer = await supervisor.call(supervisor.stub.LoadPlugins, pb.LoadPluginsRequest(names=wanted), wait)
    if line.terminal.json:
        line.terminal.message(answer)
        return
    table = Table(("LEVEL", "NAME", "PLUGIN", "VERSION", "STARTED", "MISSING"))
    for one in answer.plugins:
        started = "now" if one.started else "before"
        table.add(one.level, one.name, one.plugin_id, one.version, started, ", ".join(one.missing))
    line.terminal.table(table)


async def unload(
    name: str, /, *, cascade: Annotated[bool, switch()] = False, timeout: str | None = None, line: Given
) -> None:
    """
    Stop a plugin, and keep it stopped until it is loaded again.

    Exits with 4 if running plugins need it, and names them.

    Parameters
    ----------
    name
        Its section in forgemesh.toml.
    cascade
        Stop what needs it first.
    timeout
        How long to wait, 2m if not given; the supervisor goes on.
    """
    wait = seconds(timeout, "--timeout") or PATIENCE
    async with supervisor_of(line) as supervisor:
        request = pb.UnloadPluginRequest(name=await supervisor.section(name), cascade=cascade)
        answer = await supervisor.call(supervisor.stub.UnloadPlugin, request, wait)
    if line.terminal.json:
        line.terminal.message(answer)
        return
    for stopped in answer.stopped:
        line.terminal.data(f"stopped {stopped}")
    again = " ".join(reversed(answer.stopped)) or request.name
    line.terminal.talk(f"start again with: forgemesh plugin load {again}")


async def reload(
    name: str, /, *, force: Annotated[bool, switch()] = False, timeout: str | None = None, line: Given
) -> None:
    """
    Replace the processes of a plugin by new ones, without a gap: each serves before its old one drains.

    Exits with 4 if a new one does not come up, or an old one cannot save its state; the old ones go on then.

    Parameters
    ----------
    name
        Its section in forgemesh.toml.
    force
        Go on without the state of a process that cannot save it.
    timeout
        How long to wait, 2m if not given; the supervisor goes on.
    """
    wait = seconds(timeout, "--timeout") or PATIENCE
    async with supervisor_of(line) as supervisor:
        request = pb.ReloadPluginRequest(name=await supervisor.section(name), force=force)
        answer = await supervisor.call(supervisor.stub.ReloadPlugin, request, wait)
    if line.terminal.json:
        line.terminal.message(answer)
        return
    change = answer.to_version
    if answer.from_version != answer.to_version:
        change = f"{answer.from_version} -> {answer.to_version}"
    line.terminal.data(f"reloaded {request.name} {change}: {', '.join(answer.instance_ids)}")


async def scale(name: str, instances: int, /, *, line: Given) -> None:
    """
    Say how many processes are to serve a plugin, within the bounds of its section.

    Parameters
    ----------
    name
        Its section in forgemesh.toml.
    instances
        How many.
    """
    if not 0 <= instances <= 1000:
        raise usage(f"{instances} is no number of instances", hint="say one from 0 to 1000")
    async with supervisor_of(line) as supervisor:
        request = pb.ScalePluginRequest(name=await supervisor.section(name), instances=instances)
        answer = await supervisor.call(supervisor.stub.ScalePlugin, request)
    if line.terminal.json:
        line.terminal.value({"name": request.name, "before": answer.before, "instances": instances})
        return
    line.terminal.data(f"{request.name}: {instances} instances wanted, before {answer.before}")
    line.terminal.talk("see them come and go with: forgemesh plugin hosts")


async def reset(target: str, /, *, line: Given) -> None:
    """
    Forget the crashes of hosts, and start them again.

    Parameters
    ----------
    target
        An instance, or a section of forgemesh.toml for all of its instances.
    """
    async with supervisor_of(line) as supervisor:
        request = pb.ResetHostRequest(**await supervisor.target(target))
        answer = await supervisor.call(supervisor.stub.ResetHost, request)
    if line.terminal.json:
        line.terminal.message(answer)
        return
    line.terminal.data(f"reset {', '.join(answer.instance_ids) or 'nothing'}")
    line.terminal.talk("whether they stay: forgemesh plugin hosts")


async def configure(
    name: str,
    /,
    *pairs: str,
    file: Annotated[str | None, Parameter(name="--input")] = None,
    dry_run: Annotated[bool, switch()] = False,
    force: Annotated[bool, switch()] = False,
    timeout: str | None = None,
    line: Given,
) -> None:
    """
    Give a plugin another configuration while it runs, on all of its hosts or on none.

    What is given is the whole configuration. It counts until the supervisor ends; write it into forgemesh.toml to
    keep it. Exits with 2 if it does not fit the plugin's schema, with 4 if the plugin refuses it: the one before it
    counts then.

    Parameters
    ----------
    name
        Its section in forgemesh.toml.
    pairs
        key=value of the configuration; the value is JSON if it reads as JSON, text otherwise.
    file
        The configuration: JSON itself, a JSON or TOML file, or - for stdin.
    dry_run
        Only check it against the schema.
    force
        If its processes are replaced for it, go on without the state of one that cannot save it.
    timeout
        How long to wait, 2m if not given; the supervisor goes on.
    """
    config = _configuration(pairs, file)
    wait = seconds(timeout, "--timeout") or PATIENCE
    async with supervisor_of(line) as supervisor:
        request = pb.ConfigurePluginRequest(
            name=await supervisor.section(name), config=config, dry_run=dry_run, force=force
        )
        answer = await supervisor.call(supervisor.stub.ConfigurePlugin, request, wait)
    if line.terminal.json:
        line.terminal.message(answer)
    elif dry_run:
        line.terminal.data(f"the configuration fits {request.name}")
    else:
        how = "; its processes were replaced for it" if answer.reloaded else ""
        line.terminal.data(f"configured {request.name}, revision {answer.revision}{how}")


def _configuration(pairs: tuple[str, ...], file: str | None) -> str:
    if file is not None and file.endswith(".toml"):
        try:
            value = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise usage(f"cannot read --input {file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise usage(f"--input {file} is not valid TOML: {error}") from error
        try:
            file = json.dumps(value)
        except TypeError as error:
            raise usage(f"--input {file} holds what JSON cannot say: {error}", hint="write dates as texts") from error
    given = input_of(pairs, file, "")
    if given is None:
        raise usage("there is no configuration", hint="give key=value, or --input FILE; an empty one is --input '{}'")
    return msgspec.json.encode(given).decode()
