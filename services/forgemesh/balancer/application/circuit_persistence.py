"""What a balancer knows from the one before it, and leaves to the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.application.circuits.circuits import Guarded
from forgemesh.balancer.domain.decisions import Decisions, LastCircuit
from forgemesh.balancer.ports import DecisionStore
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState, CircuitView


def recall(balancer: Balancer, decisions: Decisions, *, wall: float, now: float) -> None:
    """
    Tell a balancer that has just been made what was decided before.

    `wall` (seconds since 1970) and `now` (the balancer's clock) are the same moment.
    """
    for record in decisions.policies:
        balancer.ruled(record.plugin_id, record.policy)
    for forced in decisions.forced:
        balancer.circuits.remember(forced)
    balancer.adopted(
        (
            (last.instance_id, last.incarnation),
            _in_time(last.circuit, balancer.fleet.policy(last.plugin_id).circuit, wall, now),
        )
        for last in decisions.circuits
    )


def keep_circuits(
    balancer: Balancer, store: DecisionStore, wall: Callable[[], float], clock: Callable[[], float]
) -> None:
    """From now on keep where each circuit stands whenever it moves, until its registration is over."""

    def keep(guarded: Guarded) -> None:
        view = guarded.circuit.view()
        if view.state is CircuitState.OPEN:
            view = replace(view, open_until=view.open_until - clock() + wall())
        store.note(LastCircuit(guarded.plugin_id, *guarded.instance_key, view))

    balancer.on_circuit = keep
    balancer.circuits.on_gone = store.forget_circuits


def _in_time(view: CircuitView, rule: CircuitRule, wall: float, now: float) -> CircuitView:
    """The same on the balancer's clock; no longer open than the rule lets it, should the wall clock have been set."""
    if view.state is not CircuitState.OPEN:
        return view
    return replace(view, open_until=now + min(view.open_until - wall, rule.longest))
