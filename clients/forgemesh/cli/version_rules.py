"""`forgemesh plugin resolve|providers|quarantine|release|pin|unpin`: what the registry decides about plugins."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.api.registry.v1.provider_pb2 import Condition, Label, Preference
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.api.registry.v1.resolution_pb2 import RequiredBy, Requirement
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.service_address import service_address
from forgemesh.cli.service_discovery import DEADLINE
from forgemesh.cli.table import Table
from forgemesh.client import Client
from forgemesh.client.peer import Peer

_INTERFACE = "interface:"

Conditions = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]


async def resolve(wanted: str, /, *more: str, line: Given) -> None:
    """
    Say which versions of which plugins belong together, and start nothing.

    Exits with 4 or 5 if something is missing or does not fit, and names the way to it.

    Parameters
    ----------
    wanted
        What is wanted: weather.stats, weather.stats@^1.2 or interface:timeseries.summary@^1.
    """
    requirements = [_requirement(text) for text in (wanted, *more)]
    answer = await _ask(line, "ResolvePlugins", pb.ResolvePluginsRequest(requirements=requirements))
    if line.terminal.json:
        line.terminal.message(answer)
        return
    table = Table(("LEVEL", "PLUGIN", "VERSION", "NEEDED BY"))
    for one in answer.plugins:
        table.add(one.level, one.plugin_id, one.version, ", ".join(_by(wish) for wish in one.required_by))
    line.terminal.table(table)
    for dropped in answer.dropped:
        line.terminal.talk(f"left out: {dropped.target}, which {dropped.plugin_id} would like: {dropped.reason}")


async def providers(
    wanted: str,
    /,
    *,
    must: Conditions = (),
    prefer: Conditions = (),
    all_: Annotated[bool, switch("--all")] = False,
    line: Given,
) -> None:
    """
    List the instances that provide something, the best one first, and why.

    Parameters
    ----------
    wanted
        What is wanted: weather.stats, weather.stats@^1.2 or interface:timeseries.summary@^1.
    must
        A label as KEY=VALUE, operation=NAME or zone=NAME, without which an instance does not count.
    prefer
        The like, which makes an instance better.
    all_
        Also list what would not be called now.
    """
    request = pb.FindProvidersRequest(
        requirement=_requirement(wanted),
        must=[_condition(text) for text in must],
        prefer=[Preference(condition=_condition(text)) for text in prefer],
        include_unavailable=all_,
    )
    answer = await _ask(line, "FindProviders", request)
    if line.terminal.json:
        line.terminal.message(answer)
        return
    table = Table(("INSTANCE", "PLUGIN", "VERSION", "SCORE", "WHY"))
    for one in answer.providers:
        why = one.unavailable_reason or "; ".join(f"{part.name} {part.value:.2f} ({part.source})" for part in one.parts)
        table.add(
            one.instance.instance_id, one.instance.plugin_id, one.instance.plugin_version, f"{one.score:.2f}", why
        )
    line.terminal.table(table)


async def quarantine(plugin_id: str, version: str, /, *, reason: str, line: Given) -> None:
    """
    Take a version of a plugin out of use; its instances get no calls until it is released.

    Parameters
    ----------
    plugin_id
        The plugin.
    version
        Its version.
    reason
        Why, for everybody who asks.
    """
    request = pb.SetQuarantineRequest(plugin_id=plugin_id, version=version, quarantined=True, reason=reason)
    answer = await _ask(line, "SetQuarantine", request)
    _said(line, answer.changed, f"{plugin_id} {version} is in quarantine")


async def release(plugin_id: str, version: str, /, *, line: Given) -> None:
    """
    Let a version back into use that was in quarantine.

    Parameters
    ----------
    plugin_id
        The plugin.
    version
        Its version.
    """
    answer = await _ask(line, "SetQuarantine", pb.SetQuarantineRequest(plugin_id=plugin_id, version=version))
    _said(line, answer.changed, f"{plugin_id} {version} may be used")


async def pin(plugin_id: str, version_range: str, /, *, line: Given) -> None:
    """
    Hold a plugin to a range of versions wherever versions are chosen.

    Parameters
    ----------
    plugin_id
        The plugin.
    version_range
        For example =1.4.2 or ~1.4.
    """
    answer = await _ask(line, "PinVersion", pb.PinVersionRequest(plugin_id=plugin_id, version_range=version_range))
    _said(line, answer.changed, f"{plugin_id} is held to {version_range}")


async def unpin(plugin_id: str, /, *, line: Given) -> None:
    """
    Let a plugin go that was held to a range of versions.

    Parameters
    ----------
    plugin_id
        The plugin.
    """
    answer = await _ask(line, "PinVersion", pb.PinVersionRequest(plugin_id=plugin_id))
    _said(line, answer.changed, f"{plugin_id} is held to no range")


async def _ask(line: Given, method: str, request: Any) -> Any:
    async with Client.connect(line.address) as mesh:
        address = await service_address(mesh, "registry")
    peer = Peer("registry", address)
    async with peer.channel() as channel:
        return await peer.call(getattr(RegistryServiceStub(channel), method), request, deadline=DEADLINE)


def _said(line: Given, changed: bool, how: str) -> None:
    if line.terminal.json:
        line.terminal.value({"changed": changed})
    else:
        line.terminal.talk(how if changed else f"{how} already")


def _requirement(text: str) -> Requirement:
    name, _, version_range = text.partition("@")
    if name.startswith(_INTERFACE):
        return Requirement(interface_name=name.removeprefix(_INTERFACE), version_range=version_range)
    return Requirement(plugin_id=name, version_range=version_range)


def _condition(text: str) -> Condition:
    key, _, value = text.partition("=")
    if key == "operation":
        return Condition(operation=value)
    return Condition(zone=value) if key == "zone" else Condition(label=Label(key=key, value=value))


def _by(wish: RequiredBy) -> str:
    who = f"{wish.plugin_id} {wish.version}" if wish.plugin_id else "you"
    asked = f"{wish.interface_name} {wish.version_range}".strip() if wish.interface_name else wish.version_range
    optional = ", optional" if wish.optional else ""
    return f"{who} ({asked or 'any'}{optional})"
