"""`forgemesh policy show|set`: how calls are spread over instances, and when an instance is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from forgemesh.api.balancer.v1 import policy_pb2 as pb
from forgemesh.cli.balancer import balancer_of
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.policy_options import UNCHANGED, PolicyOptions, in_options
from forgemesh.cli.problem import usage
from forgemesh.cli.table import Table, word
from forgemesh.cli.terminal import as_values
from forgemesh.faults.service import InvalidRequest

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from forgemesh.api.balancer.v1.balancer_service_pb2 import PolicyRecord

_SECONDS = "_seconds"


async def show(plugin: str = "", /, *, line: Given) -> None:
    """
    Show the policy that counts for a plugin, or which plugins have another one than the default.

    Parameters
    ----------
    plugin
        The plugin's id.
    """
    async with balancer_of(line) as balancer:
        found = [await balancer.policy(plugin)] if plugin else await balancer.policies()
    if line.terminal.json:
        line.terminal.message(found[0]) if plugin else line.terminal.value(as_values({"policies": found}))
    elif plugin:
        _page(line, found[0])
    elif found:
        table = Table(("PLUGIN", "VERSION", "PICK", "BY", "WHY"))
        for one in found:
            policy = one.policy
            table.add(policy.plugin_id, one.version, _pick(policy.pick), one.author.actor, one.author.reason)
        line.terminal.table(table)
    else:
        line.terminal.talk("every plugin has the default policy; see it with forgemesh policy show PLUGIN")


async def set_(
    plugin: str,
    /,
    *,
    options: PolicyOptions = UNCHANGED,
    operation: str = "",
    reset: Annotated[bool, switch()] = False,
    reason: str = "",
    actor: str | None = None,
    line: Given,
) -> None:
    """
    Change the policy of a plugin; it counts at once, and after restarts.

    Examples:

        forgemesh policy set weather.stats --pick least-connections --open 10s --permits 2

        forgemesh policy set weather.stats --operation render --pick consistent-hash --slow 5s

        forgemesh policy set weather.stats --reset

    Parameters
    ----------
    plugin
        The plugin's id.
    operation
        Change only what is different for calls of this operation.
    reset
        Begin with the default; with --operation: with what counts for the plugin.
    reason
        Why, for everybody who asks.
    actor
        Who wants it, if not you.
    """
    if not options.said() and not reset:
        raise usage("nothing to change", hint="say what, e.g. --pick least-connections, or --reset")
    async with balancer_of(line) as balancer:
        present = await balancer.policy(plugin)
        policy = _changed(present.policy, options, operation, reset)
        try:
            record = await balancer.set_policy(policy, version=present.version, reason=reason, by=actor)
        except InvalidRequest as fault:
            wrong = [f"{in_options(one.field)}: {one.message}" for one in fault.violations]
            raise usage("the policy would not be valid", *wrong, reason=fault.reason) from fault
    if line.terminal.json:
        line.terminal.message(record)
        return
    unchanged = record.version == present.version
    how = "was so already" if unchanged else f"is at version {record.version}"
    line.terminal.talk(f"the policy of {plugin} {how}; see it with: forgemesh policy show {plugin}")


def _changed(present: pb.PluginPolicy, options: PolicyOptions, operation: str, reset: bool) -> pb.PluginPolicy:
    policy = pb.PluginPolicy(plugin_id=present.plugin_id)
    if operation or not reset:
        policy.CopyFrom(present)
    if not operation:
        options.change(policy)
        return policy
    if reset:
        policy.operations.pop(operation, None)
    if options.said():
        options.change_operation(policy.operations[operation])
    return policy


def _page(line: CommandLine, record: PolicyRecord) -> None:
    table = Table(("SETTING", "VALUE"))
    for name, value in _settings(record.policy, ""):
        table.add(name, value)
    line.terminal.table(table)
    author = record.author
    why = f": {author.reason}" if author.reason else ""
    by = f"version {record.version}, by {author.actor}{why}" if record.version else "the default"
    line.terminal.talk(f"{by}; change it with: forgemesh policy set {record.policy.plugin_id} --help")


def _settings(message: Message, inside: str) -> Iterator[tuple[str, str]]:
    """Every number by name, those of messages in it behind a dot."""
    for field, value in sorted(message.ListFields(), key=lambda found: bool(found[0].message_type)):
        name = f"{inside}{field.name}"
        if field.name == "operations":
            for operation in sorted(value):
                yield from _settings(value[operation], f"{name}.{operation}.")
        elif field.message_type is not None:
            yield from _settings(value, f"{name}.")
        elif field.enum_type is not None:
            yield name, _pick(value)
        elif field.name != "plugin_id":
            yield name.removesuffix(_SECONDS), f"{value:g}s" if name.endswith(_SECONDS) else f"{value:g}"


def _pick(number: Any) -> str:
    return word(pb.Policy.Name(number), "POLICY_")
