"""What people see of circuits, and what they decide about them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.application.circuits.circuits import Guarded
from forgemesh.balancer.domain.caller import InstanceKey
from forgemesh.balancer.domain.decisions import Forced
from forgemesh.balancer.domain.events import Author
from forgemesh.balancer.ports import DecisionStore
from forgemesh.faults.routing import InstanceNotFound
from forgemesh.routing.circuit import Circuit
from forgemesh.routing.endpoint import CircuitState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inspected:
    """The circuit of an instance, calls under way on that, and whether it is ejected as an outlier."""

    plugin_id: str
    instance_key: InstanceKey
    circuit: Circuit
    in_flight: int
    ejected: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Circuits of a plugin and of an instance, empty is any; `tripped_only`: those that are not closed."""

    plugin_id: str = ""
    instance_id: str = ""
    tripped_only: bool = False

    def holds(self, guarded: Guarded) -> bool:
        """Whether the circuit is one of them."""
        return (
            self.plugin_id in ("", guarded.plugin_id)
            and self.instance_id in ("", guarded.instance_key[0])
            and not (self.tripped_only and guarded.circuit.state is CircuitState.CLOSED)
        )


class Operators:
    """
    Lists circuits and takes orders about them, which count for an instance whatever its incarnation in its tenure.

    `stored` is what was ordered before the balancer was started. Everything here raises BalancerWarming.
    """

    def __init__(self, balancer: Balancer, store: DecisionStore, stored: Iterable[Forced]) -> None:
        self._balancer = balancer
        self._store = store
        self._forced = {one.instance_id: one for one in stored}
        self._deciding = asyncio.Lock()

    def circuits(self, wanted: Selection, after: tuple[str, str] | None, size: int) -> tuple[Sequence[Inspected], bool]:
        """A page by plugin and instance, and whether there are more."""
        self._balancer.refuse_unless_warm()
        found = [one for one in self._balancer.circuits if wanted.holds(one) and (after is None or _key(one) > after)]
        found.sort(key=_key)
        return [self._inspected(one) for one in found[:size]], len(found) > size

    async def decide(
        self, plugin_id: str, instance_id: str, state: CircuitState | None, author: Author
    ) -> Sequence[Inspected]:
        """
        Force the circuit of an instance, or of every one that the plugin has now, into a state; None takes that back.

        Returns where those stand that are there. Raises InstanceNotFound, and StoreUnavailable if it cannot be kept.
        """
        self._balancer.refuse_unless_warm()
        async with self._deciding:
            meant = Selection(plugin_id, instance_id)
            found = {one.instance_key[0]: one for one in self._balancer.circuits if meant.holds(one)}
            ids = set(found)
            if state is None:
                ids |= {one.instance_id for one in self._forced.values() if _means(meant, one)}
            if not ids:
                raise InstanceNotFound(plugin_id, instance_id)
            if state is None:
                await self._store.forget_forced(ids)
                self._take_back(ids, author)
            else:
                decided = [Forced(plugin_id, one, state, author, found[one].tenure) for one in sorted(ids)]
                await self._store.save_forced(decided)
                self._force(decided)
        what = "reset" if state is None else state.value
        _log.info("circuits of %s of %s: %s by %s: %s", sorted(ids), plugin_id, what, author.actor, author.reason)
        return [self._inspected(one) for one in self._of(ids)]

    def _force(self, decided: Iterable[Forced]) -> None:
        circuits = self._balancer.circuits
        by_id = {one.instance_id: one for one in decided}
        self._forced |= by_id
        for one in by_id.values():
            circuits.remember(one)
        for guarded in self._of(by_id):
            circuits.force(guarded, by_id[guarded.instance_key[0]])

    def _take_back(self, ids: Collection[str], author: Author) -> None:
        circuits = self._balancer.circuits
        for instance_id in ids:
            self._forced.pop(instance_id, None)
            circuits.forget(instance_id)
        for guarded in self._of(ids):
            circuits.reset(guarded, author)

    def _of(self, ids: Collection[str]) -> list[Guarded]:
        """The circuits of these instances, by plugin and instance."""
        return sorted((one for one in self._balancer.circuits if one.instance_key[0] in ids), key=_key)

    def _inspected(self, guarded: Guarded) -> Inspected:
        standing = self._balancer.fleet.standing(*guarded.instance_key)
        in_flight = self._balancer.callers.in_flight(guarded.instance_key)
        ejected = standing is not None and standing.ejected
        return Inspected(guarded.plugin_id, guarded.instance_key, guarded.circuit, in_flight, ejected)


def _key(guarded: Guarded) -> tuple[str, str]:
    return guarded.plugin_id, guarded.instance_key[0]


def _means(meant: Selection, forced: Forced) -> bool:
    return meant.plugin_id == forced.plugin_id and meant.instance_id in ("", forced.instance_id)
