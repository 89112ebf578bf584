"""When a call whose answer is late is made a second time, and how often that may be."""

from __future__ import annotations

from collections.abc import Callable

from forgemesh.orchestrator.dispatch.call_request import CallRequest
from forgemesh.orchestrator.dispatch.doubt import line_of
from forgemesh.orchestrator.dispatch.manifests import Manifests, hedges
from forgemesh.orchestrator.dispatch.outcome_recorder import Departure
from forgemesh.orchestrator.dispatch.ports import Invocation
from forgemesh.orchestrator.dispatch.router import Route
from forgemesh.routing.latencies import Latencies
from forgemesh.routing.policy import PluginPolicy

KNOWN = 50
"""So many calls of an operation have to be known before their durations say when an answer is late."""
LEAST = 0.05
"""Seconds before which no answer is late, if the policy does not say otherwise."""
SHARE = 0.05
"""Most calls of these that are made twice."""
SAVED = 2.0
"""So many of them may come at once after a quiet time: those that are taken back say little about their instance."""


class Hedging:
    """
    Only for calls that are safe to repeat, as the manifests of both versions say it that are called, and that lead to
    no particular instance by affinity or permit. The second call goes to the same plugin, whose versions of one line
    know one another's keys; never to the instance that has the call, never beyond the plugin's retry budget, and for
    SHARE of all calls at most.
    """

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self._seen: dict[tuple[str, str], Latencies] = {}
        self._saved = 1.0

    def late_after(self, request: CallRequest, plugin_id: str, invocation: Invocation, policy: PluginPolicy) -> float:
        """
        Seconds after which the answer to a call that is safe to repeat is late; 0 is never. `request.said` is what the
        version says of the operation that has the call.
        """
        if invocation.permit is not None or request.affinity:
            return 0.0
        after = self._after(plugin_id, invocation.operation, policy)
        if 0 < after < invocation.remaining and hedges(request, request.said):
            return after
        return 0.0

    def saw(self, departure: Departure, operation: str, seconds: float) -> None:
        """A call that is safe to repeat was answered well, after so long."""
        self._saved = min(SAVED, self._saved + SHARE)
        key = (departure.counter.key.plugin_id, operation)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = Latencies()
        seen.saw(seconds)

    @property
    def has_saved(self) -> bool:
        """Whether one more call may be made twice."""
        return self._saved >= 1

    def spend(self) -> None:
        """One more is."""
        self._saved -= 1

    def suits(self, request: CallRequest, route: Route, plugin_id: str, first: str) -> Callable[[str], bool]:
        """The versions of the plugin that the second call may go to while the first one is with version `first`."""
        line = line_of(first)

        def suits(version: str) -> bool:
            if line_of(version) != line or not route.wants(plugin_id, version):
                return False
            return self._manifests.may_hedge(request, plugin_id, version)

        return suits

    def _after(self, plugin_id: str, operation: str, policy: PluginPolicy) -> float:
        ruled = policy.hedge_of(operation)
        if ruled is not None:
            return ruled
        seen = self._seen.get((plugin_id, operation))
        return max(LEAST, seen.percentile_95()) if seen is not None and seen.count >= KNOWN else 0.0
