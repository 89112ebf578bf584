"""What people rule for the calls of plugins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from forgemesh.balancer.application.events.events import Events
from forgemesh.balancer.domain.events import Author, PolicyChange
from forgemesh.balancer.domain.policies import PolicyRecord
from forgemesh.balancer.ports import DecisionStore
from forgemesh.faults.routing import PolicyChanged
from forgemesh.routing.policy import DEFAULT, PluginPolicy

_log = logging.getLogger(__name__)


class Policies:
    """
    The policies of all plugins; a change counts once it is stored, and then `on_change` is told of it.

    `stored` are those that were set before.
    """

    def __init__(self, store: DecisionStore, events: Events, stored: Iterable[PolicyRecord]) -> None:
        self._store = store
        self._events = events
        self._records = {record.plugin_id: record for record in stored}
        self._changing = asyncio.Lock()
        self.on_change: Callable[[str, PluginPolicy], None] = lambda plugin_id, policy: None

    def of(self, plugin_id: str) -> PluginPolicy:
        """What counts for the plugin."""
        return self.record(plugin_id).policy

    def record(self, plugin_id: str) -> PolicyRecord:
        """What counts for the plugin, and where it comes from; for one that nobody has spoken of, the default."""
        return self._records.get(plugin_id) or PolicyRecord(plugin_id, DEFAULT)

    def changed(self) -> Sequence[PolicyRecord]:
        """Those that differ from the default, ordered by plugin."""
        return [self._records[key] for key in sorted(self._records) if self._records[key].policy != DEFAULT]

    async def set(
        self, plugin_id: str, policy: PluginPolicy, expected_version: int | None, author: Author
    ) -> PolicyRecord:
        """
        From now on this counts. One that counts already changes nothing, so a request may be repeated.

        Raises PolicyChanged if another version than the expected one counts, StoreUnavailable if it cannot be kept.
        """
        async with self._changing:
            present = self.record(plugin_id)
            if policy == present.policy:
                return present
            if expected_version not in (None, present.version):
                raise PolicyChanged(plugin_id, expected_version or 0, present.version)
            record = PolicyRecord(plugin_id, policy, present.version + 1, author)
            await self._store.save_policy(record)
            self._records[plugin_id] = record
        _log.info("policy of %s, version %d, set by %s: %s", plugin_id, record.version, author.actor, author.reason)
        self.on_change(plugin_id, policy)
        self._events.publish(PolicyChange(record.version), plugin_id=plugin_id, author=author)
        return record
