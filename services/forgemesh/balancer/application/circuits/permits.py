"""Who may make the trial calls on half-open circuits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from forgemesh.balancer.application.callers.callers import Callers
from forgemesh.balancer.application.circuits.circuits import Circuits, Guarded
from forgemesh.balancer.domain.caller import Caller, InstanceKey
from forgemesh.routing.outcome import PermitOutcome, PermitUse

RECENT = 5.0
"""Seconds for which a caller that waits for nothing counts as one that will call again soon."""
PAUSE = 1.0
"""Seconds that a caller which gave a permit back is passed over, unless it tells of new calls."""
AHEAD = 16
"""Permits of one circuit that a caller may have at a time although fewer of its calls wait."""
SILENT = 3.0
"""Seconds without a report after which a caller, which owes one every second, counts as one that has stopped."""
DISTRUST = 60.0
"""Seconds for which a caller that let a permit run out comes after all others."""
GRACE = 1.0
"""Seconds that a trial call may take longer than it was given until its permit counts as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """
    A permit on its way to a caller; `lease` (seconds) counts for the caller from when it sent its report
    `after_sequence`, and for the balancer from when it received that: so it ends earlier where it can be used.
    """

    permit_id: str
    plugin_id: str
    instance_key: InstanceKey
    generation: int
    lease: float
    after_sequence: int


class Receiver(Protocol):
    """Somebody who can be given permits."""

    caller: Caller

    def offer_permit(self, grant: Grant) -> None:
        """Send it as soon as possible."""


@dataclass(slots=True, eq=False)
class PermitDealer:
    """
    Deals the vacant permits of half-open circuits to callers that have calls for them: first to those with the most
    calls waiting, then to who called last. Nobody is asked to try an instance for which there are no calls. A caller
    that hangs, however many calls it has, does not keep the others from trying.

    `receivers` are those who can be given permits, `new_id` names permits, `clock` is monotonic.
    """

    circuits: Circuits
    callers: Callers
    receivers: Callable[[], Iterable[Receiver]]
    clock: Callable[[], float]
    new_id: Callable[[], str]
    _holders: dict[str, tuple[Guarded, Caller]] = field(default_factory=dict)

    def deal(self) -> None:
        """Give out what is vacant and wanted."""
        self._forget_lost()
        for guarded in self.circuits.half_open:
            held = Counter(holder for one, holder in self._holders.values() if one is guarded)
            while guarded.circuit.vacant:
                receiver = self._neediest(guarded.plugin_id, held)
                if receiver is None:
                    break
                held[receiver.caller] += 1
                receiver.offer_permit(self.take(guarded, receiver.caller))

    def take(self, guarded: Guarded, caller: Caller) -> Grant:
        """Give one of its vacant permits to this caller."""
        circuit = guarded.circuit
        lease = circuit.rule.permit_lease
        grant = Grant(
            permit_id=self.new_id(),
            plugin_id=guarded.plugin_id,
            instance_key=guarded.instance_key,
            generation=circuit.generation,
            lease=lease,
            after_sequence=caller.sequence,
        )
        self._holders[grant.permit_id] = guarded, caller
        self.circuits.grant(guarded, grant.permit_id, caller.heard_at + lease)
        return grant

    def settled(self, outcome: PermitOutcome) -> None:
        """A caller says what became of a permit; nothing happens if that is known, or too late."""
        if outcome.use is PermitUse.STARTED:
            held = self._holders.get(outcome.permit_id)
            if held is not None:
                until = self.clock() + outcome.remaining + GRACE
                self.circuits.extend(held[0], outcome.permit_id, until)
            return
        held = self._holders.pop(outcome.permit_id, None)
        if held is None:
            return
        guarded, caller = held
        if outcome.use is PermitUse.RETURNED:
            caller.declined_at[guarded.plugin_id] = self.clock()
            self.circuits.give_back(guarded, outcome.permit_id)
        else:
            ok = outcome.use is PermitUse.SUCCEEDED
            self.circuits.settle(guarded, outcome.permit_id, ok, outcome.failure)

    def left(self, caller: Caller) -> None:
        """A caller is gone, and its calls with it: what it held of a circuit is lost as one, before its time."""
        lost: dict[InstanceKey, str] = {}
        for permit_id, (guarded, holder) in list(self._holders.items()):
            if holder is caller:
                del self._holders[permit_id]
                self.circuits.give_back(guarded, lost.pop(guarded.instance_key, ""))
                lost[guarded.instance_key] = permit_id
        for instance_key, permit_id in lost.items():
            guarded_here = self.circuits.of(instance_key)
            if guarded_here is not None:
                self.circuits.lose(guarded_here, permit_id)

    def _forget_lost(self) -> None:
        """Permits that their circuits do not know any more: they have run out, or are of no use any more."""
        tried = {guarded for guarded, _ in self._holders.values()}
        out = {lease.permit_id for guarded in tried for lease in guarded.circuit.trials.out}
        for permit_id in self._holders.keys() - out:
            guarded, holder = self._holders.pop(permit_id)
            if guarded.circuit.trials.lost:
                holder.lost_at = self.clock()

    def _neediest(self, plugin_id: str, held: Mapping[Caller, int]) -> Receiver | None:
        """Who is to have the next permit; `held` is how many of the same circuit each caller has already."""
        now = self.clock()
        best: tuple[tuple[bool, int, float], Receiver] | None = None
        for receiver in self.receivers():
            caller = receiver.caller
            declined_at = caller.declined_at.get(plugin_id)
            if now > caller.heard_at + SILENT or (declined_at is not None and now < declined_at + PAUSE):
                continue
            if held.get(caller, 0) >= max(AHEAD, caller.waiting.get(plugin_id, 0)):
                continue
            waiting, active_at = caller.waiting.get(plugin_id, 0), caller.active_at.get(plugin_id, -RECENT)
            trusted = caller.lost_at is None or now >= caller.lost_at + DISTRUST
            need = trusted, waiting, active_at
            if (waiting or now < active_at + RECENT) and (best is None or need > best[0]):
                best = need, receiver
        return best[1] if best is not None else None
