"""Everything a caller needs to pick an instance of one plugin, at one revision."""

from __future__ import annotations

from dataclasses import dataclass, field
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

    What it holds against its endpoints is worked out once: `open` are the others, in order, `ruled_out` says why,
    `tiered` whether those in `open` differ in tier.
    """

    plugin_id: str
    revision: Revision
    policy: PluginPolicy
    endpoints: tuple[Endpoint, ...]
    open: tuple[Endpoint, ...] = field(init=False, repr=False, compare=False)
    ruled_out: tuple[tuple[str, Exclusion], ...] = field(init=False, repr=False, compare=False)
    tiered: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        endpoints = tuple(sorted(self.endpoints, key=lambda endpoint: endpoint.instance_id))
        judged = [(endpoint, standing_exclusion(endpoint)) for endpoint in endpoints]
        object.__setattr__(self, "endpoints", endpoints)
        object.__setattr__(self, "open", tuple(endpoint for endpoint, reason in judged if reason is None))
        object.__setattr__(self, "ruled_out", tuple((e.instance_id, reason) for e, reason in judged if reason))
        object.__setattr__(self, "tiered", len({endpoint.tier for endpoint in self.open}) > 1)

    @classmethod
    def nothing(cls, plugin_id: str) -> Self:
        """What is known of a plugin that no balancer has spoken of: older than everything, and empty."""
        return cls(plugin_id, Revision(0, 0), DEFAULT, ())
