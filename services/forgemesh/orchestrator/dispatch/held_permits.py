"""The trial calls that this process may make, and what became of them."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from forgemesh.chassis.subscribers import Subscribers
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.outcome import CallFailure, Outcome, PermitOutcome, PermitUse

REMEMBERED = 1024
"""Ids of permits that are over and would be recognised if they came again."""


_USES = {
    Outcome.OK: PermitUse.SUCCEEDED,
    Outcome.SLOW: PermitUse.SUCCEEDED,
    Outcome.FAILURE: PermitUse.FAILED,
}


class _Told(NamedTuple):
    """What became of a permit, since which report that is told, and until when its call may run, if it does."""

    outcome: PermitOutcome
    first: int = 0
    until: float = 0.0


@dataclass(slots=True, eq=False)
class _Held:
    plugin_id: str
    instance_id: str
    permit: Permit
    granted_at: float
    use_by: float
    own: bool
    timer: TimerHandle | None = None


class HeldPermits:
    """
    Each is used once at most and before its `use_by`, or goes back in that moment.

    `clock` is monotonic seconds. `settled` is told what becomes of each as it happens, `on_news` that there is
    something that the balancer waits to hear.
    """

    def __init__(self, clock: Callable[[], float], on_news: Callable[[], None]) -> None:
        self._clock = clock
        self._on_news = on_news
        self.settled: Subscribers[[PermitOutcome]] = Subscribers("what became of a permit")
        self._held: dict[str, _Held] = {}
        self._shown: dict[str, dict[str, Permit]] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._over: dict[str, _Told] = {}

    def shown(self, plugin_id: str) -> Mapping[str, Permit]:
        """The next permit for each instance, by instance id; it is the same mapping each time, and changes."""
        return self._shown.setdefault(plugin_id, {})

    def grant(self, plugin_id: str, instance_id: str, permit: Permit, use_by: float, *, own: bool = False) -> None:
        """A right to one trial call; one that came before changes nothing. `own`: no balancer has granted it."""
        if permit.permit_id in self._known:
            return
        self._known[permit.permit_id] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        now = self._clock()
        if use_by <= now:
            self._tell(PermitOutcome(permit.permit_id, PermitUse.RETURNED))
            return
        held = self._held[permit.permit_id] = _Held(plugin_id, instance_id, permit, now, use_by, own)
        held.timer = asyncio.get_running_loop().call_later(use_by - now, self.give_back, permit.permit_id)
        self._show(plugin_id, instance_id)

    def usable(self, plugin_id: str, now: float) -> bool:
        """Whether there is one for the plugin; those whose time is over go back, should their timers be late."""
        late = [one.permit.permit_id for one in self._held.values() if one.use_by <= now]
        for permit_id in late:
            self.give_back(permit_id)
        return bool(self._shown.get(plugin_id))

    def ageing(self, plugin_id: str, now: float) -> bool:
        """Whether half of the time of one of the plugin's permits has gone by without a call that suits it."""
        return any(2 * now > one.granted_at + one.use_by for one in self._held.values() if one.plugin_id == plugin_id)

    def use(self, permit: Permit, seconds: float) -> None:
        """The call is made now and may take so long; `made` will tell what it says."""
        self._withdraw(self._held.pop(permit.permit_id))
        self._tell(PermitOutcome(permit.permit_id, PermitUse.STARTED), self._clock() + seconds)

    def made(self, permit: Permit, outcome: Outcome, failure: CallFailure | None) -> None:
        """The trial call has ended."""
        self._tell(PermitOutcome(permit.permit_id, _USES.get(outcome, PermitUse.RETURNED), failure))

    def give_back(self, permit_id: str) -> None:
        """It will not be used; without effect if it is used already."""
        held = self._held.pop(permit_id, None)
        if held is not None:
            self._withdraw(held)
            self._tell(PermitOutcome(permit_id, PermitUse.RETURNED))

    def give_all_back(self) -> None:
        """Whoever granted them cannot be heard any more."""
        for permit_id in [permit_id for permit_id, held in self._held.items() if not held.own]:
            self.give_back(permit_id)

    def current(self, plugin_id: str, current: Mapping[str, tuple[int, int]]) -> None:
        """Circuits stand at these (incarnation, generation) now: permits of earlier ones go back."""
        for held in [one for one in self._held.values() if one.plugin_id == plugin_id]:
            stands = current.get(held.instance_id)
            if stands is None or stands > (held.permit.incarnation, held.permit.generation):
                self.give_back(held.permit.permit_id)

    def outcomes(self, sequence: int) -> list[PermitOutcome]:
        """Everything that the report of this number has to tell: again and again until it is acknowledged."""
        now = self._clock()
        for permit_id, told in self._over.items():
            self._over[permit_id] = told._replace(first=told.first or sequence)
        return [told.outcome._replace(remaining=max(0.0, told.until - now)) for told in self._over.values()]

    def acknowledge(self, sequence: int) -> None:
        """The balancer has had the report of this number."""
        for permit_id in [name for name, told in self._over.items() if 0 < told.first <= sequence]:
            del self._over[permit_id]

    def _tell(self, outcome: PermitOutcome, until: float = 0.0) -> None:
        self._over[outcome.permit_id] = _Told(outcome, until=until)
        self._on_news()
        self.settled.tell(outcome)

    def _withdraw(self, held: _Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        self._show(held.plugin_id, held.instance_id)

    def _show(self, plugin_id: str, instance_id: str) -> None:
        shown = self._shown.setdefault(plugin_id, {})
        shown.pop(instance_id, None)
        for held in self._held.values():
            if (held.plugin_id, held.instance_id) == (plugin_id, instance_id):
                shown[instance_id] = held.permit
                return
