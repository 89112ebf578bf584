"""Everything a caller needs to pick an instance of one plugin, at one revision."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Self

from forgemesh.routing.eligibility import Exclusion, standing_exclusion
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.policy import DEFAULT, PluginPolicy


@dataclass(frozen=True, slots=True, order=True)
class Revision:
    """A point in a balancer's history: epoch first, then revision."""

    epoch: int
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    Full state of one plugin; every registered instance is in it, healthy or not, ordered by instance id.

    What it holds against its endpoints is worked out once: `open` are those that anybody may call, in order,
    `half_open` those that only lack a permit, `ruled_out` says what is against all others than `open`. If the share of
    open ones is less than the policy's threshold, ejection is disregarded: it `panics`.

    `tiered` says whether those in `open` and `half_open` differ in tier. Of those in `open`, `weighted` says whether
    they differ in weight, `weightless` whether one has no weight, `least_cap` is the smallest limit of calls in flight
    (0: there is none), and from `warm_at` on (on the clock of `warming_since`) all have their full share.
    """

    plugin_id: str
    revision: Revision
    policy: PluginPolicy
    endpoints: tuple[Endpoint, ...]
    open: tuple[Endpoint, ...] = field(init=False, repr=False, compare=False)
    ruled_out: tuple[tuple[str, Exclusion], ...] = field(init=False, repr=False, compare=False)
    half_open: tuple[Endpoint, ...] = field(init=False, repr=False, compare=False)
    panics: bool = field(init=False, repr=False, compare=False)
    tiered: bool = field(init=False, repr=False, compare=False)
    weighted: bool = field(init=False, repr=False, compare=False)
    weightless: bool = field(init=False, repr=False, compare=False)
    least_cap: int = field(init=False, repr=False, compare=False)
    warm_at: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        endpoints = tuple(sorted(self.endpoints, key=lambda endpoint: endpoint.instance_id))
        judged = [(endpoint, standing_exclusion(endpoint)) for endpoint in endpoints]
        panics = (
            bool(judged) and [reason for _, reason in judged].count(None) / len(judged) < self.policy.panic_threshold
        )
        if panics:
            judged = [(endpoint, standing_exclusion(endpoint, panic=True)) for endpoint in endpoints]
        opened = tuple(endpoint for endpoint, reason in judged if reason is None)
        half_open = tuple(e for e, reason in judged if reason is Exclusion.TRIAL and (panics or not e.ejected))
        window = self.policy.slow_start.window
        warming = [e.warming_since + window for e in opened if e.warming_since is not None] if window > 0 else []
        worked_out = {
            "endpoints": endpoints,
            "open": opened,
            "ruled_out": tuple((e.instance_id, reason) for e, reason in judged if reason),
            "half_open": half_open,
            "panics": panics,
            "tiered": len({endpoint.tier for endpoint in (*opened, *half_open)}) > 1,
            "weighted": len({endpoint.weight for endpoint in opened}) > 1,
            "weightless": not all(endpoint.weight > 0 for endpoint in opened),
            "least_cap": min([e.max_in_flight for e in opened if e.max_in_flight], default=0),
            "warm_at": max(warming, default=-inf),
        }
        for name, value in worked_out.items():
            object.__setattr__(self, name, value)

    @classmethod
    def nothing(cls, plugin_id: str) -> Self:
        """What is known of a plugin that no balancer has spoken of: older than everything, and empty."""
        return cls(plugin_id, Revision(0, 0), DEFAULT, ())
