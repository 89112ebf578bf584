"""`forgemesh circuit list|show|open|close|observe|reset`: which instances are called, and what operators decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from forgemesh.api.balancer.v1.snapshot_pb2 import CircuitState
from forgemesh.cli.balancer import Target, balancer_of, target_of
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.moment import length
from forgemesh.cli.table import Table, joined, word
from forgemesh.cli.terminal import Terminal, as_values
from forgemesh.client.balancer import CircuitOrder
from forgemesh.faults import Code

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2 import InstanceCircuit
    from forgemesh.api.balancer.v1.report_pb2 import CallFailure

_LABEL = 14
_SAID_BACK = {
    "open": "let it be called again with",
    "close": "let its record decide again with",
    "observe": "let its record decide again with",
}


async def list_(
    plugin: str = "",
    /,
    *,
    tripped: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    List the circuits of all instances, or of those of one plugin.

    Parameters
    ----------
    plugin
        The plugin's id.
    tripped
        Only those that are not closed.
    """
    async with balancer_of(line) as balancer:
        found = await balancer.circuits(plugin, tripped_only=tripped)
    if line.terminal.json:
        line.terminal.value(as_values({"circuits": found}))
    elif found:
        line.terminal.table(_table(found))
    elif tripped:
        line.terminal.talk("every circuit is closed")
    else:
        line.terminal.talk(f"no instance{f' of {plugin}' if plugin else ''} is registered; see forgemesh status")


async def show(target: str, /, *, line: Given) -> None:
    """
    Show what circuits saw, and why they stand where they stand.

    Parameters
    ----------
    target
        An instance, or a plugin for all of its instances.
    """
    async with balancer_of(line) as balancer:
        found = await balancer.circuits(*await target_of(balancer, target))
    if line.terminal.json:
        line.terminal.value(as_values({"circuits": found}))
        return
    for index, one in enumerate(found):
        if index:
            line.terminal.data("")
        _page(one, line.terminal)
    if not found:
        line.terminal.talk(f"{target} is not registered now; see forgemesh circuit list")


async def open_(target: str, /, *, reason: str = "", actor: str | None = None, line: Given) -> None:
    """
    Let no call pass until further notice, also after restarts of the instance and of the balancer.

    Parameters
    ----------
    target
        An instance, or a plugin for every instance that it has now.
    reason
        Why, for everybody who asks.
    actor
        Who wants it, if not you.
    """
    await _decide("open", target, reason, actor, line)


async def close(target: str, /, *, reason: str = "", actor: str | None = None, line: Given) -> None:
    """
    Let all calls pass until further notice, whatever becomes of them.

    Parameters
    ----------
    target
        An instance, or a plugin for every instance that it has now.
    reason
        Why, for everybody who asks.
    actor
        Who wants it, if not you.
    """
    await _decide("close", target, reason, actor, line)


async def observe(target: str, /, *, reason: str = "", actor: str | None = None, line: Given) -> None:
    """
    Let all calls pass until further notice, and say when the circuit would open.

    Parameters
    ----------
    target
        An instance, or a plugin for every instance that it has now.
    reason
        Why, for everybody who asks.
    actor
        Who wants it, if not you.
    """
    await _decide("observe", target, reason, actor, line)


async def reset(target: str, /, *, reason: str = "", actor: str | None = None, line: Given) -> None:
    """
    Close circuits, forget what is on record, and let that decide from now on.

    Parameters
    ----------
    target
        An instance, or a plugin for all of its instances; PLUGIN/INSTANCE for one that is not there now.
    reason
        Why, for everybody who asks.
    actor
        Who wants it, if not you.
    """
    await _decide("reset", target, reason, actor, line)


async def _decide(order: CircuitOrder, target: str, reason: str, actor: str | None, line: CommandLine) -> None:
    async with balancer_of(line) as balancer:
        meant: Target = await target_of(balancer, target)
        found = await balancer.set_circuit(order, *meant, reason=reason, by=actor)
    if line.terminal.json:
        line.terminal.value(as_values({"circuits": found}))
        return
    if found:
        line.terminal.table(_table(found))
    else:
        line.terminal.talk(f"{target} is not registered now; this counts once it is")
    if order in _SAID_BACK:
        line.terminal.talk(f"{_SAID_BACK[order]}: forgemesh circuit reset {target}")


def state_of(state: CircuitState.ValueType) -> str:
    """For people."""
    return word(CircuitState.Name(state), "CIRCUIT_STATE_")


def _table(found: Sequence[InstanceCircuit]) -> Table:
    table = Table(("PLUGIN", "INSTANCE", "STATE", "FAILED", "SINCE", "NEXT TRIAL", "IN FLIGHT", "CAUSE"))
    for one in found:
        table.add(
            one.plugin_id,
            one.instance_id,
            state_of(one.circuit.state),
            f"{one.failed}/{one.calls}",
            length(one.age_millis) if one.circuit.generation else "",
            _next_trial(one),
            one.in_flight or "",
            "; would be open: ".join(filter(None, (one.circuit.cause, one.would_open))),
        )
    return table


def _next_trial(one: InstanceCircuit) -> str:
    if one.circuit.state == CircuitState.CIRCUIT_STATE_OPEN:
        return f"in {length(one.circuit.open_for_millis)}" if one.circuit.open_for_millis else "after a health check"
    if one.circuit.state == CircuitState.CIRCUIT_STATE_HALF_OPEN:
        return f"{one.permits_out} granted" if one.permits_out else "the next call"
    return ""


def _page(one: InstanceCircuit, terminal: Terminal) -> None:
    circuit = one.circuit
    since = f"since {length(one.age_millis)}" if circuit.generation else ""
    generation = f"generation {circuit.generation}"
    lines = {
        "instance": f"{one.instance_id} of {one.plugin_id}, registration {one.incarnation}",
        "circuit": joined((state_of(circuit.state), since, generation)),
        "cause": circuit.cause,
        "caused by": _call_of(circuit.cause_traceparent),
        "next trial": _next_trial(one),
        "would open": one.would_open,
        "calls": f"{one.calls} of late: {one.failed} failed, {one.failures_in_a_row} in a row; {one.slow} slow",
        "last failure": _failure(one.last_failure) if one.HasField("last_failure") else "",
        "in flight": str(one.in_flight),
        "outlier": "ejected: it does much worse than its siblings" if one.ejected else "",
    }
    for label, text in lines.items():
        if text:
            terminal.data(f"{label:<{_LABEL}}{text}")


def _failure(failure: CallFailure) -> str:
    code = Code(failure.code).name if failure.code in set(Code) else f"code {failure.code}"
    return joined((code, failure.reason, failure.message, _call_of(failure.traceparent)))


def _call_of(traceparent: str) -> str:
    """Where to look at the call, by its W3C traceparent; empty if there is none."""
    trace_id = traceparent.partition("-")[2].partition("-")[0]
    return f"forgemesh trace show {trace_id}" if trace_id else ""
