"""`forgemesh circuit history`: what happened to circuits, and to what moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from forgemesh.api.balancer.v1.snapshot_pb2 import Health
from forgemesh.cli.balancer import Target, balancer_of, target_of
from forgemesh.cli.circuits import state_of
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.moment import moment
from forgemesh.cli.table import Table, word
from forgemesh.cli.terminal import as_values

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.event_pb2 import BalancerEvent

_HEADINGS = ("TIME", "PLUGIN", "INSTANCE", "WHAT", "WHY")


async def history(target: str = "", /, *, follow: Annotated[bool, switch()] = False, line: Given) -> None:
    """
    Tell what happened to circuits, health, load and policies since the balancer was started, the oldest first.

    Parameters
    ----------
    target
        Only of this instance, or of this plugin.
    follow
        Go on and tell what happens, until Ctrl-C.
    """
    terminal = line.terminal
    async with balancer_of(line) as balancer:
        meant = await target_of(balancer, target) if target else Target()
        if not follow:
            found = await balancer.history(*meant)
        else:
            watch = balancer.watch(*meant, on_break=lambda: terminal.talk("the balancer does not answer; trying again"))
            async for event in watch:
                if terminal.json:
                    terminal.message(event)
                else:
                    terminal.data("  ".join(cell for cell in _cells(event) if cell))
            return
    if terminal.json:
        terminal.value(as_values({"events": found}))
        return
    table = Table(_HEADINGS)
    for event in found:
        table.add(*_cells(event))
    if found:
        terminal.table(table)
    else:
        terminal.talk("nothing has happened since the balancer was started; see forgemesh circuit list")


def _cells(event: BalancerEvent) -> tuple[str, ...]:
    what, why = _told(event)
    by = f"by {event.author.actor}" if event.HasField("author") else ""
    reason = f"{by}: {event.author.reason}" if event.author.reason else by
    named = by and event.author.actor in why
    return moment(event.at), event.plugin_id, event.instance_id, what, why if named else " ".join((why, reason)).strip()


def _told(event: BalancerEvent) -> tuple[str, str]:
    """What happened, and why."""
    match event.WhichOneof("kind"):
        case "circuit":
            circuit = event.circuit
            return f"circuit {state_of(circuit.before)} -> {state_of(circuit.after.state)}", circuit.after.cause
        case "health":
            before, after = (_health(one) for one in (event.health.before, event.health.after))
            return f"health {before} -> {after}", event.health.reason
        case "load":
            load = event.load
            how = "nearly full" if load.overloaded else "no longer nearly full"
            return how, f"{load.in_flight} of {load.max_in_flight} calls"
        case "ejection":
            return "ejected as an outlier" if event.ejection.ejected else "no outlier any more", event.ejection.reason
        case "policy":
            return f"policy version {event.policy.version}", ""
        case _:
            return "something that this release does not know", ""


def _health(health: Health.ValueType) -> str:
    return "not checked yet" if health == Health.HEALTH_UNSPECIFIED else word(Health.Name(health), "HEALTH_")
