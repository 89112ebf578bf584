"""Calls that run and wait, of all callers, for whoever starts the instances."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from math import inf

from forgemesh.balancer.application.callers.callers import Callers
from forgemesh.balancer.domain.caller import InstanceKey
from forgemesh.balancer.domain.fleet import Fleet
from forgemesh.faults.routing import BalancerWarming
from forgemesh.faults.service import ShuttingDown
from forgemesh.notation.version_range import wanted_by
from forgemesh.routing.scaling import Demanded

SETTLING = 5.0
"""Seconds after which all who subscribe have come to a new balancer and told what waits: within three, and one more."""
RECENT = 30.0
"""Seconds for which a plugin that has had a call counts as one of which something is asked."""
IN_VAIN = 5.0
"""Seconds for which a call that came in vain counts as one that waits: its caller tries again, and says no number."""
MOST_IN_VAIN = 1000


class Demands:
    """
    What is told by callers is what counts, so it is forgotten with them; of one who is silent what was told last stays.
    A call that waits for what several versions could give counts with each of them.

    `fleet` says what instances there are. `clock` is monotonic.
    """

    def __init__(self, fleet: Callable[[], Fleet], callers: Callers, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._callers = callers
        self._clock = clock
        self._settled_at = inf
        self._ended = asyncio.Event()
        self._called_at: dict[InstanceKey, float] = {}
        self._in_vain: dict[Demanded, float] = {}
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        callers.on_demand = self.waits

    def begin(self) -> None:
        """The balancer is warm; those who subscribe are on their way."""
        self._settled_at = self._clock() + SETTLING

    def close(self) -> None:
        """End all that is watched."""
        self._ended.set()
        for plugin_id in list(self._watchers):
            self.waits(plugin_id)

    def waits(self, plugin_id: str) -> None:
        """Other calls wait for a plugin than before."""
        for watcher in self._watchers.get(plugin_id, ()):
            watcher.set()

    def moved(self, instance_key: InstanceKey) -> None:
        """The number of calls under way on an instance has changed."""
        standing = self._fleet().standing(*instance_key)
        if standing is not None and self._callers.in_flight(instance_key):
            self.called(instance_key, standing.member.plugin_id)

    def called(self, instance_key: InstanceKey, plugin_id: str) -> None:
        """An instance has been called."""
        self._called_at[instance_key] = self._clock()
        self.waits(plugin_id)

    def missed(self, demanded: Demanded) -> None:
        """A call has come in vain, and does not wait here."""
        self._in_vain.pop(demanded, None)
        while len(self._in_vain) >= MOST_IN_VAIN:
            del self._in_vain[next(iter(self._in_vain))]
        self._in_vain[demanded] = self._clock()
        self.waits(demanded.plugin_id)

    def keep(self, instance_keys: Iterable[InstanceKey]) -> None:
        """These are the instances that there are."""
        self._called_at = {
            instance_key: self._called_at[instance_key]
            for instance_key in instance_keys
            if instance_key in self._called_at
        }

    def count(self, plugin_id: str, version: str) -> int:
        """Calls that run or wait now; raises BalancerWarming as long as not all that wait are known."""
        if self._clock() < self._settled_at:
            raise BalancerWarming
        return self._count(plugin_id, version)

    def active(self, plugin_id: str, version: str) -> bool:
        """Whether there are such calls, or have been lately; raises BalancerWarming if that is not known."""
        if self._is_asked(plugin_id, version):
            return True
        if self._clock() < self._settled_at:
            raise BalancerWarming
        return False

    async def activity(self, plugin_id: str, version: str) -> AsyncGenerator[bool, None]:
        """The same as soon as it is known, and then each change, true at once; ends with ShuttingDown."""
        told: bool | None = None
        with self._watching(plugin_id) as something:
            while not self._ended.is_set():
                something.clear()
                asked, settling = self._is_asked(plugin_id, version), self._settled_at - self._clock()
                if asked is not told and (asked or settling <= 0):
                    told = asked
                    yield asked
                elif asked:
                    await _within(RECENT, self._ended)
                else:
                    await _within(settling if settling > 0 else None, something)
        raise ShuttingDown("balancer")

    @contextlib.contextmanager
    def _watching(self, plugin_id: str) -> Iterator[asyncio.Event]:
        something = asyncio.Event()
        self._watchers[plugin_id].add(something)
        try:
            yield something
        finally:
            self._watchers[plugin_id].discard(something)
            if not self._watchers[plugin_id]:
                del self._watchers[plugin_id]

    def _is_asked(self, plugin_id: str, version: str) -> bool:
        since = self._clock() - RECENT
        recently = any(
            self._called_at.get(instance_key, -inf) > since for instance_key in self._places(plugin_id, version)
        )
        return recently or self._count(plugin_id, version) > 0

    def _count(self, plugin_id: str, version: str) -> int:
        def wants(version_range: str) -> bool:
            return not version or wanted_by(version_range)(version)

        since = self._clock() - IN_VAIN
        in_vain = any(
            one.plugin_id == plugin_id and at > since and wants(one.version_range) for one, at in self._in_vain.items()
        )
        running = sum(map(self._callers.in_flight, self._places(plugin_id, version)))
        return running + (self._callers.waiting(plugin_id, wants) or in_vain)

    def _places(self, plugin_id: str, version: str) -> Iterator[InstanceKey]:
        for standing in self._fleet().standings.values():
            member = standing.member
            if member.plugin_id == plugin_id and version in ("", member.plugin_version):
                yield member.instance_id, member.incarnation


async def _within(seconds: float | None, something: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await something.wait()
