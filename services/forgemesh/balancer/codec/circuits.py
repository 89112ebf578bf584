"""Circuits and orders about them between the API and the application."""

from __future__ import annotations

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb
from forgemesh.balancer.application.requests.operators import Inspected, Selection
from forgemesh.balancer.codec.events import LONGEST_NAME, author
from forgemesh.balancer.domain.events import Author
from forgemesh.chassis.violations import Violations
from forgemesh.feed.reports import failure_to_message
from forgemesh.feed.snapshots import circuit_to_message, millis
from forgemesh.routing.endpoint import CircuitState

_ORDERS = {
    pb.CIRCUIT_ORDER_FORCE_OPEN: CircuitState.FORCED_OPEN,
    pb.CIRCUIT_ORDER_FORCE_CLOSED: CircuitState.FORCED_CLOSED,
    pb.CIRCUIT_ORDER_METRICS_ONLY: CircuitState.METRICS_ONLY,
    pb.CIRCUIT_ORDER_RESET: None,
}


def selection(request: pb.ListCircuitsRequest) -> Selection:
    """Which circuits are asked for."""
    return Selection(request.plugin_id, request.instance_id, request.tripped_only)


def order(request: pb.SetCircuitRequest) -> tuple[str, str, CircuitState | None, Author]:
    """Plugin, instance, the state or None for a reset, and who wants it; raises InvalidRequest."""
    found = Violations()
    named = 0 < len(request.plugin_id) <= LONGEST_NAME
    found.unless(named, "plugin_id", f"must name the plugin in 1 to {LONGEST_NAME} characters")
    short = len(request.instance_id) <= LONGEST_NAME
    found.unless(short, "instance_id", f"must have at most {LONGEST_NAME} characters")
    found.unless(request.order in _ORDERS, "order", "must be FORCE_OPEN, FORCE_CLOSED, METRICS_ONLY or RESET")
    who = author(request.author, found)
    found.refuse()
    return request.plugin_id, request.instance_id, _ORDERS[request.order], who


def to_message(one: Inspected, now: float) -> pb.InstanceCircuit:
    """The circuit of an instance, as it stands now on its own clock."""
    circuit, window = one.circuit, one.circuit.window.at(now)
    message = pb.InstanceCircuit(
        plugin_id=one.plugin_id,
        instance_id=one.instance_key[0],
        incarnation=one.instance_key[1],
        circuit=circuit_to_message(circuit.view(), now),
        calls=window.calls,
        failed=window.failed,
        slow=window.slow,
        failures_in_a_row=circuit.failures_in_a_row,
        age_millis=millis(now - circuit.changed_at) if circuit.generation else 0,
        permits_out=len(circuit.trials.out),
        in_flight=one.in_flight,
        ejected=one.ejected,
        would_open=circuit.would_open,
    )
    if circuit.last_failure is not None:
        message.last_failure.CopyFrom(failure_to_message(circuit.last_failure))
    return message
