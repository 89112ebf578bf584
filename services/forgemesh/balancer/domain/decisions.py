"""What outlives the balancer: what people decided, and where the circuits stood."""

from __future__ import annotations

from dataclasses import dataclass

from forgemesh.balancer.domain.events import Author
from forgemesh.balancer.domain.policies import PolicyRecord
from forgemesh.routing.endpoint import CircuitState, CircuitView


@dataclass(frozen=True, slots=True)
class Forced:
    """
    An operator decided where the circuit of an instance stands, whatever its incarnation.

    It counts for registrations of that `tenure`; for all where the instance had none.
    """

    plugin_id: str
    instance_id: str
    state: CircuitState
    author: Author
    tenure: str = ""


@dataclass(frozen=True, slots=True)
class LastCircuit:
    """The circuit of an instance as it stood; `circuit.open_until` is in seconds since 1970."""

    plugin_id: str
    instance_id: str
    incarnation: int
    circuit: CircuitView


@dataclass(frozen=True, slots=True)
class Decisions:
    """Everything that is known from before."""

    policies: tuple[PolicyRecord, ...] = ()
    forced: tuple[Forced, ...] = ()
    circuits: tuple[LastCircuit, ...] = ()
