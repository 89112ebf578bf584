"""The queue of each target, and what the queues share."""

from __future__ import annotations

from forgemesh.orchestrator.dispatch.call_request import CallRequest
from forgemesh.orchestrator.dispatch.fair_queue import FairQueue, Shares
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.pool import Pool
from forgemesh.orchestrator.dispatch.ports import Hosts
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.dispatch.router import InterfaceRoute, PluginRoute, Route
from forgemesh.orchestrator.dispatch.target_queue import TargetQueue
from forgemesh.orchestrator.workflow.definition import Target

MAX_TARGET_QUEUES = 4096
"""Above this, queues in which nobody waits are made anew when they are needed again."""


class TargetQueues:
    """
    One queue for all calls that any same instance could serve for the same reasons; made when first asked for.

    Retries have queues of their own: while they are held back, others go on.
    """

    def __init__(self, hosts: Hosts, recorder: OutcomeRecorder, providers: Providers) -> None:
        self._hosts = hosts
        self._recorder = recorder
        self._providers = providers
        self._pools: dict[str, Pool] = {}
        self._target_queues: dict[tuple[object, ...], TargetQueue[InFlightCall]] = {}
        self._shares: dict[str, Shares] = {}

    def of(self, request: CallRequest) -> TargetQueue[InFlightCall]:
        """Where the call waits if it has to."""
        key = _key(request.target)
        if request.retry:
            key = ("retry", *key)
        if request.doubts:  # it may go to fewer instances than others
            key = ("doubt", request.doubts, *key)
        target_queue = self._target_queues.get(key)
        if target_queue is None:
            target_queue = self._target_queues[key] = self._new(request.target)
        return target_queue

    def changed(self, plugin_id: str) -> None:
        """Something is new about the plugin's instances."""
        pool = self._pools.get(plugin_id)
        if pool is not None:
            pool.stale = True

    def _new(self, target: Target) -> TargetQueue[InFlightCall]:
        if len(self._target_queues) >= MAX_TARGET_QUEUES:
            self._target_queues = {
                key: target_queue for key, target_queue in self._target_queues.items() if target_queue.queue
            }
        shares = self._shares.setdefault(target.name, Shares())
        return TargetQueue(self._route(target), FairQueue(shares))

    def _route(self, target: Target) -> Route:
        if target.plugin_id:
            return PluginRoute(self._pool(target.plugin_id), target.version_range, self._providers.manifests)
        return InterfaceRoute(target, self._providers, self._pool)

    def _pool(self, plugin_id: str) -> Pool:
        pool = self._pools.get(plugin_id)
        if pool is None:
            pool = self._pools[plugin_id] = Pool(self._hosts, self._recorder, plugin_id)
        return pool


def _key(target: Target) -> tuple[object, ...]:
    if target.plugin_id:
        return target.plugin_id, target.version_range
    terms = frozenset(target.must.items()), frozenset(target.prefer.items())
    return target.interface, target.version_range, target.operation, *terms
