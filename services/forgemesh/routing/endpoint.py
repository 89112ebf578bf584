"""One instance of a plugin as a picker sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Health(Enum):
    """What health checks say."""

    UNCHECKED = "not checked yet"
    SERVING = "serving"
    NOT_SERVING = "not serving"
    UNREACHABLE = "unreachable"


class Admission(Enum):
    """Whether an instance may get new calls, health apart."""

    OPEN = "open"
    DRAINING = "draining"
    OUT = "out"
    CRASH_LOOP = "crash loop"


class CircuitState(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"
    FORCED_OPEN = "forced open"
    FORCED_CLOSED = "forced closed"
    METRICS_ONLY = "metrics only"


@dataclass(frozen=True, slots=True)
class CircuitView:
    """
    The breaker of one instance; `open_until` is on the clock of whoever holds the snapshot.

    `cause` says why it stands where it stands, for people; `traceparent` leads to the call whose failure opened it.
    """

    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    open_until: float = 0.0
    cause: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """
    One instance, at one incarnation.

    `max_in_flight` of zero means unbounded; `in_flight` counts the calls of all callers when the snapshot was made.
    `health_since` and `warming_since` (None: it has its full share) are on the clock of whoever holds the snapshot.
    The reasons are for people.
    """

    instance_id: str
    incarnation: int
    address: str
    plugin_version: str
    health: Health = Health.UNCHECKED
    health_reason: str = ""
    health_since: float = 0.0
    admission: Admission = Admission.OPEN
    admission_reason: str = ""
    circuit: CircuitView = CircuitView()
    ejected: bool = False
    warming_since: float | None = None
    weight: int = 1
    tier: int = 0
    max_in_flight: int = 0
    in_flight: int = 0
    session: bool = False
    zone: str = ""
    manifest_digest: str = ""
