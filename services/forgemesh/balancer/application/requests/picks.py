"""Picks for callers that do not subscribe, and what they say of their calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TypedDict

from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.domain.caller import InstanceKey, Told
from forgemesh.balancer.domain.picks import LEASE, Choice, Ended, Outstanding, OutstandingPicks, Wish
from forgemesh.faults import Code
from forgemesh.notation.version_range import wanted_by
from forgemesh.routing.eligibility import LocalView, Permit, RemoteLoad
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.outcome import CallCounter, CallFailure, CountKey, Outcome, PermitOutcome, PermitUse, classify
from forgemesh.routing.pick import NoPick, NoPickReason, pick
from forgemesh.routing.pick_explanation import explain_pick
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.scaling import Demanded
from forgemesh.routing.snapshot import Snapshot

_log = logging.getLogger(__name__)

CALLER = "picks"
"""What all these callers together are called among those who report."""
_USES = {Outcome.OK: PermitUse.SUCCEEDED, Outcome.SLOW: PermitUse.SUCCEEDED, Outcome.FAILURE: PermitUse.FAILED}


class _Terms(TypedDict):
    operation: str
    wanted: Callable[[str], bool]
    exclude: frozenset[str]
    trial: bool
    now: float


class Picks:
    """
    Picks by the code that subscribers pick with, over what is known at this moment; a pick counts as a call under way
    at once. What becomes of the calls goes the way of reports, as if one caller made them all.

    `clock` is the balancer's, `draw` gives uniform numbers in [0, 1), `new_id` names picks. `on_missing` is told of
    plugins that nobody serves.
    """

    def __init__(
        self, balancer: Balancer, clock: Callable[[], float], *, draw: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        self._balancer = balancer
        self._clock = clock
        self._draw = draw
        self._new_id = new_id
        self._caller = balancer.callers.arrived(CALLER, new_id(), ())
        self._sequence = 0
        self._outstanding_picks = OutstandingPicks()
        self._tallies: dict[tuple[str, InstanceKey], tuple[int, CallCounter]] = {}
        self._turns: dict[tuple[str, Policy], Turns] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._sooner = asyncio.Event()
        self.on_missing: Callable[[str], None] = lambda plugin_id: None

    def pick(self, wish: Wish) -> Choice:
        """Raises BalancerWarming, and NotRegistered, NoneHealthy, CircuitOpen or AllFull if there is no instance."""
        self._balancer.refuse_unless_warm()
        self.look()
        now, snapshot = self._clock(), self._snapshot(wish.plugin_id)
        local, policy = self._view(snapshot, wish.trial), snapshot.policy.pick_of(wish.operation)
        turns = self._turns.get((wish.plugin_id, policy)) or Turns(start=int(self._draw() * 65_536))
        terms: _Terms = {
            "operation": wish.operation,
            "wanted": wanted_by(wish.version_range),
            "exclude": wish.exclude,
            "trial": wish.trial,
            "now": now,
        }
        picked = pick(snapshot, turns, local, draw=self._draw, affinity=wish.affinity, **terms)
        if isinstance(picked, NoPick):
            missing = picked.reason is NoPickReason.NOT_REGISTERED
            if missing and not wish.explain:  # who asks for reasons only looks
                self.on_missing(wish.plugin_id)
                self._balancer.demands.missed(Demanded(wish.plugin_id, wish.version_range))
            raise picked.fault()
        self._turns[wish.plugin_id, policy] = picked.cursor
        explanations = explain_pick(snapshot, local, **terms) if wish.explain else ()
        permit_id = self._permit(picked.endpoint) if picked.permit is not None else ""
        pick_id = self._begin(wish, picked.endpoint, permit_id)
        return Choice(pick_id, picked.endpoint, picked.policy, permit_id, explanations)

    def settle(self, pick_id: str, ended: Ended) -> bool:
        """A call has ended; False, and nothing happens, if its pick is unknown, or over already."""
        found = self._outstanding_picks.settle(pick_id, self._clock())
        if found is None:
            return False
        code, failure = Code(ended.code), ended.failure
        policy = self._balancer.fleet.policy(found.key.plugin_id)
        outcome = classify(
            code,
            reason=failure.reason if failure is not None else "",
            took=ended.took,
            slow_call=policy.slow_call_of(found.operation),
            given=ended.given,
            count_exceptions=policy.circuit.count_exceptions,
        )
        if outcome is Outcome.FAILURE and failure is None:
            failure = CallFailure(code=code)
        if found.permit_id:
            use = _USES.get(outcome, PermitUse.RETURNED)
            self._balancer.permits.settled(PermitOutcome(found.permit_id, use, failure))
            outcome = Outcome.IGNORED
        self._end(found, outcome, ended.took, failure)
        self._balancer.permits.deal()
        return True

    def look(self) -> None:
        """Picks whose lease is over are under way no more, and say nothing."""
        for lost in self._outstanding_picks.lost(self._clock()):
            _log.debug("pick %s of %s by %s was never settled", lost.pick_id, lost.key.instance_id, lost.caller_id)
            self._end(lost, Outcome.IGNORED, 0.0, None)

    async def run(self) -> None:
        """Look whenever a lease is over, until cancelled."""
        while True:
            self._sooner.clear()
            self.look()
            end = self._outstanding_picks.next_end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if end is None else max(0.0, end - self._clock())):
                    await self._sooner.wait()

    def _snapshot(self, plugin_id: str) -> Snapshot:
        """What is known at this moment, which may not have been published yet."""
        fleet, published = self._balancer.fleet, self._balancer.feed.snapshot(plugin_id)
        revision = fleet.revisions.get(plugin_id)
        if revision is None or published.revision.revision == revision:
            return published
        known = self._snapshots.get(plugin_id)
        if known is None or known.revision.revision != revision:
            known = self._snapshots[plugin_id] = fleet.snapshot(plugin_id)
        return known

    def _view(self, snapshot: Snapshot, trial: bool) -> LocalView:
        """Everybody's calls count like one's own; a permit that is vacant is there for the taking."""
        balancer = self._balancer
        instance_keys = [(endpoint.instance_id, endpoint.incarnation) for endpoint in snapshot.endpoints]
        permits = {}
        for endpoint in snapshot.half_open if trial else ():
            guarded = balancer.circuits.of((endpoint.instance_id, endpoint.incarnation))
            if guarded is not None and guarded.circuit.vacant:
                permits[endpoint.instance_id] = Permit("", endpoint.incarnation, guarded.circuit.generation)
        return LocalView(
            in_flight={instance_key[0]: balancer.callers.in_flight(instance_key) for instance_key in instance_keys},
            permits=permits,
            loads={
                instance_key[0]: RemoteLoad(weight=balancer.load_publisher.weight(instance_key))
                for instance_key in instance_keys
            },
        )

    def _permit(self, endpoint: Endpoint) -> str:
        """Take a permit, for as long as its rule says: whoever asks is not seen to live while the call goes on."""
        guarded = self._balancer.circuits.of((endpoint.instance_id, endpoint.incarnation))
        assert guarded is not None
        self._caller.heard_at = self._clock()
        return self._balancer.permits.take(guarded, self._caller).permit_id

    def _begin(self, wish: Wish, endpoint: Endpoint, permit_id: str) -> str:
        instance_key = endpoint.instance_id, endpoint.incarnation
        key = CountKey(wish.plugin_id, *instance_key, endpoint.circuit.generation)
        until = self._clock() + (LEASE if wish.lease is None else wish.lease)
        pick_id = self._new_id()
        self._tally(key).started += 1
        self._balancer.callers.moved(self._caller, instance_key, +1)
        end = self._outstanding_picks.next_end()
        self._outstanding_picks.add(Outstanding(pick_id, key, wish.operation, wish.caller_id, permit_id, until))
        if end is None or until < end:
            self._sooner.set()
        return pick_id

    def _end(self, over: Outstanding, outcome: Outcome, took: float, failure: CallFailure | None) -> None:
        """Tell as a report does what became of a call; of one that is too old only that it is over."""
        key, callers = over.key, self._balancer.callers
        instance_key = key.instance_id, key.incarnation
        tally = self._tally(key)
        tally.ended(outcome, took, failure)
        callers.moved(self._caller, instance_key, -1)
        self._sequence += 1
        told = Told(key, tally.counts(), self._caller.in_flight.get(instance_key, 0))
        callers.reported(self._caller, self._sequence, [told], {})

    def _tally(self, key: CountKey) -> CallCounter:
        """The counts of the newest generation; those of an older one are not kept."""
        counted = key.plugin_id, (key.instance_id, key.incarnation)
        generation, tally = self._tallies.get(counted, (-1, CallCounter()))
        if key.generation == generation:
            return tally
        if generation < 0:
            standing = self._balancer.fleet.standing
            self._tallies = {one: kept for one, kept in self._tallies.items() if standing(*one[1]) is not None}
        fresh = CallCounter()
        if key.generation > generation:
            self._tallies[counted] = key.generation, fresh
        return fresh
