"""Circuits as the routing tests need them."""

from typing import Any

from forgemesh.faults import Code
from forgemesh.routing.circuit import Circuit
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.outcome import CallCounts, CallFailure

REFUSED = CallFailure(code=Code.UNAVAILABLE, message="connection refused", traceparent="00-aa-bb-01")
OK = CallCounts(succeeded=1)
BAD = CallCounts(failed=1, failures_in_a_row=1, last_failure=REFUSED)
SLOW = CallCounts(succeeded=1, slow=1)


def ruled(**facts: Any) -> CircuitRule:
    given: dict[str, Any] = {"jitter": 0.0}
    return CircuitRule(**(given | facts))


def seen(circuit: Circuit, *counts: CallCounts, at: float = 0.0) -> Circuit:
    """The circuit after calls of its own generation."""
    generation = circuit.generation
    for difference in counts:
        circuit = circuit.record(generation, difference, at, 0.5)
    return circuit


def opened(at: float = 0.0, **facts: Any) -> Circuit:
    return seen(Circuit(rule=ruled(consecutive_failures=1, **facts)), BAD, at=at)


def half_open(**facts: Any) -> Circuit:
    circuit = opened(**facts)
    return circuit.checked(True, circuit.open_until, 0.5)


def tried(circuit: Circuit, *outcomes: bool, at: float = 100.0) -> Circuit:
    """The circuit after trial calls, one by one."""
    for number, ok in enumerate(outcomes):
        permit_id = f"{circuit.generation}-{number}"
        circuit = circuit.grant(permit_id, at + 10.0)
        circuit = circuit.settle(permit_id, ok, None if ok else REFUSED, at, 0.5)
    return circuit
