"""What happens to instances and policies, as operators are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.routing.endpoint import CircuitState, CircuitView, Health


@dataclass(frozen=True, slots=True)
class Author:
    """Who did something, as they call themselves, and why."""

    actor: str
    reason: str = ""


NOBODY = Author("")


@dataclass(frozen=True, slots=True)
class CircuitChange:
    """A circuit went from one state to where it stands since then, with its cause."""

    before: CircuitState
    after: CircuitView


@dataclass(frozen=True, slots=True)
class HealthChange:
    """An instance began or ceased to serve."""

    before: Health
    after: Health
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LoadChange:
    """An instance is nearly full, or no longer."""

    overloaded: bool
    in_flight: int
    max_in_flight: int


@dataclass(frozen=True, slots=True)
class EjectionChange:
    """An instance was ejected as an outlier, or is back; in comparison with what, for people."""

    ejected: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The policy of this version counts."""

    version: int


Change: TypeAlias = CircuitChange | HealthChange | LoadChange | EjectionChange | PolicyChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of one instance, or of all of a plugin (empty id, incarnation 0); `author` if a person made it."""

    plugin_id: str
    instance_id: str = ""
    incarnation: int = 0
    author: Author | None = None
    change: Change
