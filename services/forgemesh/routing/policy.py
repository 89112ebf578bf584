"""Everything that is ruled for the calls of one plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, Flag, auto

from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.outlier import OutlierRule
from forgemesh.routing.retry_budget import RetryBudget
from forgemesh.routing.slow_start import SlowStart


class Heed(Flag):
    """What a policy looks at besides whose turn it is."""

    NOTHING = 0
    WEIGHT = auto()
    """The weights that operators give; without weight there is no traffic to an endpoint."""
    LOAD = auto()
    """Calls of others, of which the balancer has to tell."""
    REPORTS = auto()
    """What instances report of their own load, which the balancer has to listen for."""
    KEY = auto()
    """The key of the call."""


class Policy(Enum):
    """
    How to choose among eligible endpoints, and what is heeded for that.

    A new one is a line here, a value of that name in policy.proto, a module with the choice, and a case in pick.py;
    all others go by what is said here.
    """

    __hash__ = object.__hash__  # that of Enum is a call of Python, several for every step

    ROUND_ROBIN = "round robin", Heed.NOTHING
    WEIGHTED_ROUND_ROBIN = "weighted round robin", Heed.WEIGHT
    LEAST_CONNECTIONS = "least connections", Heed.WEIGHT | Heed.LOAD
    RESOURCE_BASED = "resource based", Heed.LOAD | Heed.REPORTS
    CONSISTENT_HASH = "consistent hash", Heed.KEY
    RANDOM = "random", Heed.WEIGHT

    def __init__(self, words: str, heeds: Heed) -> None:
        self.words = words
        self.heeds_weight = Heed.WEIGHT in heeds
        self.heeds_load = Heed.LOAD in heeds
        self.heeds_reports = Heed.REPORTS in heeds
        self.heeds_key = Heed.KEY in heeds


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPolicy:
    """
    What is different for one operation; None is as for the plugin.

    `hedge_after` (seconds): an idempotent call that is not answered by then is made a second time; None is after the
    95th percentile of what was seen, 0 never.
    """

    pick: Policy | None = None
    slow_call: float | None = None
    hedge_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginPolicy:
    """
    How calls of one plugin are spread over its instances, and when an instance is cut off.

    `outliers` None: nobody is ejected. Below a share of `panic_threshold` eligible instances ejection is disregarded
    (0: never). Counts of other callers' calls are believed less and less, with the time constant `load_memory`
    (seconds). An instance with `hash_bound` times the mean load passes the keys of a consistent hash on (0: never).
    """

    pick: Policy = Policy.ROUND_ROBIN
    operations: Mapping[str, OperationPolicy] = field(default_factory=dict)
    circuit: CircuitRule = field(default_factory=CircuitRule)
    outliers: OutlierRule | None = None
    slow_start: SlowStart = field(default_factory=SlowStart)
    panic_threshold: float = 0.0
    retry_budget: RetryBudget = field(default_factory=RetryBudget)
    load_memory: float = 0.25
    hash_bound: float = 0.0

    @property
    def picks(self) -> frozenset[Policy]:
        """Every way to choose that may come up."""
        return frozenset({self.pick, *(own.pick for own in self.operations.values() if own.pick is not None)})

    def pick_of(self, operation: str) -> Policy:
        """How to choose for a call of the operation."""
        own = self.operations.get(operation)
        return self.pick if own is None or own.pick is None else own.pick

    def slow_call_of(self, operation: str) -> float:
        """From how many seconds a call of the operation is slow."""
        own = self.operations.get(operation)
        return self.circuit.slow_call if own is None or own.slow_call is None else own.slow_call

    def hedge_of(self, operation: str) -> float | None:
        """See OperationPolicy.hedge_after."""
        own = self.operations.get(operation)
        return None if own is None else own.hedge_after


DEFAULT = PluginPolicy()
