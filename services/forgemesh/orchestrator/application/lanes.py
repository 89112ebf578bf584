"""The lane of each target, and what the lanes share."""

from __future__ import annotations

from forgemesh.orchestrator.application.call_account import CallAccount
from forgemesh.orchestrator.application.order import Order
from forgemesh.orchestrator.application.pool import Pool
from forgemesh.orchestrator.application.providers import Providers
from forgemesh.orchestrator.application.route import InterfaceRoute, PluginRoute, Route
from forgemesh.orchestrator.application.waiting_room import Lane
from forgemesh.orchestrator.domain.definition import Target
from forgemesh.orchestrator.domain.fair_queue import FairQueue, Shares
from forgemesh.orchestrator.ports import Hosts

MAX_LANES = 4096
"""Above this, lanes in which nobody waits are made anew when they are needed again."""


class Lanes:
    """
    One lane for all orders that any same instance could serve for the same reasons; made when first asked for.

    Retries have lanes of their own: while they are held back, others go on.
    """

    def __init__(self, hosts: Hosts, account: CallAccount, providers: Providers) -> None:
        self._hosts = hosts
        self._account = account
        self._providers = providers
        self._pools: dict[str, Pool] = {}
        self._lanes: dict[tuple[object, ...], Lane] = {}
        self._shares: dict[str, Shares] = {}

    def of(self, order: Order) -> Lane:
        """Where the order waits if it has to."""
        key = _key(order.target)
        if order.retry:
            key = ("retry", *key)
        if order.doubts:  # it may go to fewer instances than others
            key = ("doubt", order.doubts, *key)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = self._new(order.target)
        return lane

    def changed(self, plugin_id: str) -> None:
        """Something is new about the plugin's instances."""
        pool = self._pools.get(plugin_id)
        if pool is not None:
            pool.stale = True

    def _new(self, target: Target) -> Lane:
        if len(self._lanes) >= MAX_LANES:
            self._lanes = {key: lane for key, lane in self._lanes.items() if lane.queue}
        shares = self._shares.setdefault(target.name, Shares())
        return Lane(self._route(target), FairQueue(shares))

    def _route(self, target: Target) -> Route:
        if target.plugin_id:
            return PluginRoute(self._pool(target.plugin_id), target.version_range, self._providers.manifests)
        return InterfaceRoute(target, self._providers, self._pool)

    def _pool(self, plugin_id: str) -> Pool:
        pool = self._pools.get(plugin_id)
        if pool is None:
            pool = self._pools[plugin_id] = Pool(self._hosts, self._account, plugin_id)
        return pool


def _key(target: Target) -> tuple[object, ...]:
    if target.plugin_id:
        return target.plugin_id, target.version_range
    terms = frozenset(target.must.items()), frozenset(target.prefer.items())
    return target.interface, target.version_range, target.operation, *terms
