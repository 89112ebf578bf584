"""How many instances there are: in all, of each plugin, and by the host that registered them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from forgemesh.faults.registry import TooManyInstances
from forgemesh.registry.domain.instance import Instance, Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLimits:
    """How many instances may be registered: in all, by one host, of one plugin."""

    in_all: int
    per_peer: int
    per_plugin: int


class Census:
    """
    Counts the instances, and refuses one too many before anything is written.

    An instance belongs to the host from which it was last registered or renewed. Those of an earlier life of the
    registry are nobody's until they renew their lease.
    """

    def __init__(self, limits: InstanceLimits, registrations: Mapping[str, Registration]) -> None:
        self._limits = limits
        self._peer: dict[str, str] = {}
        self._plugin: dict[str, str] = {}
        self._of_peer: Counter[str] = Counter()
        self._of_plugin: Counter[str] = Counter()
        for registration in registrations.values():
            self.came(registration.instance, "")

    def admit(self, wanted: Instance, peer: str) -> None:
        """Raises TooManyInstances, unless it takes the place of one that is counted already."""
        limits, known = self._limits, wanted.instance_id in self._plugin
        if not known and len(self._plugin) >= limits.in_all:
            raise TooManyInstances("this registry", limits.in_all, "max_instances")
        if not known or self._peer.get(wanted.instance_id, "") not in (peer, ""):
            self._refuse_full(self._of_peer[peer], limits.per_peer, f"host {peer}", "max_instances_per_peer")
        if self._plugin.get(wanted.instance_id) != wanted.plugin_id:
            held, name = self._of_plugin[wanted.plugin_id], f"plugin {wanted.plugin_id!r}"
            self._refuse_full(held, limits.per_plugin, name, "max_instances_per_plugin")

    def came(self, instance: Instance, peer: str) -> None:
        """It is registered by `peer`; an empty one is nobody."""
        self.gone(instance.instance_id)
        self._plugin[instance.instance_id] = instance.plugin_id
        self._of_plugin[instance.plugin_id] += 1
        self.seen(instance.instance_id, peer)

    def seen(self, instance_id: str, peer: str) -> None:
        """It was renewed by `peer`."""
        before = self._peer.get(instance_id, "")
        if peer in (before, ""):
            return
        _less(self._of_peer, before)
        self._peer[instance_id] = peer
        self._of_peer[peer] += 1

    def gone(self, instance_id: str) -> None:
        """It is registered no more."""
        _less(self._of_plugin, self._plugin.pop(instance_id, ""))
        _less(self._of_peer, self._peer.pop(instance_id, ""))

    @staticmethod
    def _refuse_full(held: int, most: int, holder: str, setting: str) -> None:
        if held >= most:
            raise TooManyInstances(holder, most, setting)


def _less(counts: Counter[str], name: str) -> None:
    if name and counts[name] <= 1:
        del counts[name]
    elif name:
        counts[name] -= 1
