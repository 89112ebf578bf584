"""`forgemesh plugin hosts`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from forgemesh.api.supervisor.v1.host_pb2 import HostPhase, HostState
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.mesh.process import ended
from forgemesh.cli.moment import moment
from forgemesh.cli.supervisor import NoSupervisor, supervisor_of
from forgemesh.cli.table import Table, word
from forgemesh.cli.terminal import as_values

if TYPE_CHECKING:
    from forgemesh.api.supervisor.v1.host_pb2 import Host, HostTransition


async def hosts(*names: str, history: Annotated[bool, switch()] = False, line: Given) -> None:
    """
    List the plugin processes of this machine: where each stands, why, and what it misses.

    Parameters
    ----------
    names
        Only these sections of forgemesh.toml, or these instances.
    history
        Also what became of each, the newest last.
    """
    try:
        async with supervisor_of(line) as supervisor:
            targets = [await supervisor.target(name) for name in names]
            found = [host for host in await supervisor.hosts() if not targets or _is_meant(host, targets)]
    except NoSupervisor as none:
        if names:
            raise
        line.terminal.talk(none.message, *none.hint.splitlines()[:1], "those that serve: forgemesh status")
        found = []
    if line.terminal.json:
        line.terminal.value(as_values({"hosts": found}))
        return
    table = Table(("NAME", "INSTANCE", "PLUGIN", "VERSION", "STATE", "PID", "RESTARTS", "MISSING", "REASON"))
    for host in found:
        state, restarts = state_word(host), host.restarts or ""
        missing = ", ".join(host.missing)
        table.add(
            host.name,
            host.instance_id,
            host.plugin_id,
            host.plugin_version,
            state,
            host.pid or "",
            restarts,
            missing,
            host.reason,
        )
    line.terminal.table(table)
    for host in found if history else ():
        line.terminal.data("", host.instance_id)
        line.terminal.table(_history(host))
    for advice in _advice(found):
        line.terminal.talk(advice)


def state_word(host: Host) -> str:
    """Where it stands, in one or two words."""
    return word(HostState.Name(host.state), "HOST_STATE_")


def _is_meant(host: Host, targets: Sequence[dict[str, str]]) -> bool:
    return any(host.instance_id == one.get("instance_id") or host.name == one.get("name") for one in targets)


def _history(host: Host) -> Table:
    table = Table(("AT", "STATE", "PID", "ENDED", "PHASE", "REASON"))
    for one in host.history:
        phase = word(HostPhase.Name(one.phase), "HOST_PHASE_") if one.phase else ""
        state = word(HostState.Name(one.state), "HOST_STATE_")
        table.add(moment(one.at), state, one.pid or "", _end(one), phase, one.reason)
    return table


def _end(one: HostTransition) -> str:
    if one.signal:
        return ended(-one.signal)
    return ended(one.exit_code) if one.exit_code else ""


def _advice(found: Sequence[Host]) -> Iterator[str]:
    for host in found:
        if host.state == HostState.HOST_STATE_CRASH_LOOP:
            yield (
                f"{host.instance_id} crashed too often and is not started again; mend {host.load}, then:"
                f" forgemesh plugin reset {host.instance_id}"
            )
        elif host.state == HostState.HOST_STATE_HANDSHAKING and host.missing:
            yield f"{host.instance_id} waits for {', '.join(host.missing)}; serve it, or load it with: {_load(host)}"


def _load(host: Host) -> str:
    return f"forgemesh plugin load {host.name}"
