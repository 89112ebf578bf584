"""`forgemesh workflow register|validate|list|show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forgemesh.cli.arguments import definition_file
from forgemesh.cli.command_line import Given
from forgemesh.cli.moment import moment
from forgemesh.cli.table import Table
from forgemesh.cli.terminal import as_values
from forgemesh.client import Client

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.definition_pb2 import Definition


async def register(file: str, /, *, line: Given) -> None:
    """
    Register a workflow; the same content again is the same definition.

    Parameters
    ----------
    file
        YAML or JSON, or - for stdin.
    """
    source = definition_file(file)
    async with Client.connect(line.address) as mesh:
        definition = await mesh.register(source, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.message(definition)
        return
    line.terminal.data(_title(definition))
    line.terminal.talk(f"registered; run it with: forgemesh run {definition.name}")


async def validate(file: str, /, *, line: Given) -> None:
    """
    Check a workflow as `register` does, also against the plugins that are published now, and keep nothing.

    Exits with 2 if it is not valid, and tells every mistake with its place.

    Parameters
    ----------
    file
        YAML or JSON, or - for stdin.
    """
    source = definition_file(file)
    async with Client.connect(line.address) as mesh:
        answer = await mesh.validate(source, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.message(answer)
        return
    line.terminal.data(f"{_title(answer.definition)} is valid")
    for warning in answer.warnings:
        line.terminal.talk(f"warning: {warning}")
    if answer.registered:
        line.terminal.talk("the same content is registered already")
    else:
        line.terminal.talk(f"register it with: forgemesh workflow register {file}")


async def list_(*, name: str = "", line: Given) -> None:
    """
    List registered workflows by name, the newest version first.

    Parameters
    ----------
    name
        Only the versions of this one.
    """
    async with Client.connect(line.address) as mesh:
        found = await mesh.list_definitions(name=name, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.value(as_values({"definitions": found}))
        return
    if not found:
        line.terminal.talk("no workflows; register one with: forgemesh workflow register FILE")
        return
    table = Table(("WORKFLOW", "VERSION", "REGISTERED", "DESCRIPTION"))
    for one in found:
        table.add(one.name, one.version, moment(one.created_at), one.description)
    line.terminal.table(table)


async def show(name: str, /, *, workflow_version: str | None = None, line: Given) -> None:
    """
    Print a workflow as it was registered.

    Parameters
    ----------
    name
        Its name.
    workflow_version
        The version to print; the highest one if not given.
    """
    async with Client.connect(line.address) as mesh:
        found = await mesh.definition(name, workflow_version, namespace=line.namespace)
    if line.terminal.json:
        line.terminal.message(found)
        return
    line.terminal.talk(f"{_title(found)}, registered {moment(found.created_at)}, content {found.content_hash[:12]}")
    lines = found.source.rstrip("\n").split("\n")
    line.terminal.data(*lines)
    if not all(map(str.isprintable, lines)):
        line.terminal.talk("what no terminal should get is left blank; exactly as it is: the same command with -o json")


def _title(definition: Definition) -> str:
    return f"{definition.name} {definition.version}"
