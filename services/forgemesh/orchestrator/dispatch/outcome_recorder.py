"""What this process's calls say about instances, what it may try there, and what it tells the balancer of that."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from forgemesh.chassis.subscribers import Subscribers
from forgemesh.chassis.trace_context import recorded_trace
from forgemesh.faults import Code
from forgemesh.faults.plugin import ProtocolBroken
from forgemesh.faults.workflow import HostLost
from forgemesh.metrics.catalogue import CALL_DURATION
from forgemesh.metrics.instrument import Histogram
from forgemesh.orchestrator.dispatch.held_permits import HeldPermits
from forgemesh.orchestrator.dispatch.outcome_counters import Counted, InstanceCounter, OutcomeCounters
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.routing.eligibility import Permit, RemoteLoad
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.local_breaker import LocalBreakers
from forgemesh.routing.outcome import CallFailure, CountKey, Outcome, PermitOutcome, classify
from forgemesh.routing.scaling import Demanded
from forgemesh.routing.snapshot import Snapshot

BRIEF = 200
"""Characters of a failure's message that the balancer is told."""
IDLE = 1.0
"""Seconds that a permit waits for a call when none waits for it."""
TOGETHER = 0.1
"""Seconds within which calls that were lost on an instance were lost for one reason."""
REMEMBERED = 1024
"""Reports whose moments are known."""

_SAID = {outcome: outcome.value for outcome in Outcome}


class Departure(msgspec.Struct, eq=False):
    """
    A call on its way: where it is counted, since when (monotonic seconds), for how many seconds it is given, and from
    how many on it is slow; `count_exceptions` as in CircuitRule.
    """

    counter: InstanceCounter
    began: float
    given: float
    slow_call: float
    traceparent: str
    permit: Permit | None = None
    count_exceptions: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What the balancer is told at a time; see balancer/v1/report.proto."""

    sequence: int
    counts: list[Counted]
    permits: list[PermitOutcome]
    demands: Mapping[Demanded, int]


@dataclass(slots=True, eq=False)
class OutcomeRecorder:
    """
    Every call is counted from the moment in which its instance is picked to its end, whatever that is.

    `clock` is monotonic seconds, `awake` those of them in which this process could hear a call, `draw` gives numbers in
    [0, 1). `urgent` is told when the balancer has to hear something now, `picks_changed` the plugin for which something
    is different about where its calls may go.
    """

    clock: Callable[[], float] = time.monotonic
    awake: Callable[[], float] = lambda: asyncio.get_running_loop().time()
    draw: Callable[[], float] = lambda: 0.5
    urgent: Subscribers[[]] = field(default_factory=lambda: Subscribers("what the balancer has to hear now"))
    picks_changed: Subscribers[[str]] = field(default_factory=lambda: Subscribers("where calls may go"))
    durations: Histogram = field(default_factory=lambda: Histogram(CALL_DURATION))
    counters: OutcomeCounters = field(default_factory=OutcomeCounters)
    breakers: LocalBreakers = field(default_factory=LocalBreakers)
    permits: HeldPermits = field(init=False)
    _loads: dict[str, dict[str, RemoteLoad]] = field(default_factory=dict)
    _sent_at: dict[int, float] = field(default_factory=dict)
    _demands: Mapping[Demanded, int] = field(default_factory=dict)
    _waiting: list[Callable[[], Mapping[Demanded, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.permits = HeldPermits(self.clock, self.hurry)

    def hurry(self) -> None:
        """There is something that the balancer has to hear now."""
        self.urgent.tell()

    def count_waiting(self, waiting: Callable[[], Mapping[Demanded, int]]) -> None:
        """From now on these calls are counted too that say so when they are asked, by plugin and versions."""
        self._waiting.append(waiting)

    def demands(self) -> Mapping[Demanded, int]:
        """How many calls wait now, by plugin and versions."""
        found: Counter[Demanded] = Counter()
        for waiting in self._waiting:
            found.update(waiting())
        return dict(found)

    def loads(self, plugin_id: str) -> dict[str, RemoteLoad]:
        """What others do on the plugin's instances; the same mapping each time, and it changes."""
        return self._loads.setdefault(plugin_id, {})

    def stands(self, snapshot: Snapshot) -> None:
        """Picks are made from this snapshot from now on."""
        current = {one.instance_id: (one.incarnation, one.circuit.generation) for one in snapshot.endpoints}
        loads = self.loads(snapshot.plugin_id)
        for instance_id in loads.keys() - current.keys():
            del loads[instance_id]
        self.counters.current(snapshot.plugin_id, current)
        self.permits.current(snapshot.plugin_id, current)

    def counter(self, plugin_id: str, endpoint: Endpoint) -> InstanceCounter:
        """Where calls to the endpoint are counted as long as its circuit stands as it does."""
        key = CountKey(plugin_id, endpoint.instance_id, endpoint.incarnation, endpoint.circuit.generation)
        return self.counters.counter(key)

    def departed(self, departure: Departure) -> None:
        """A call goes to an instance now; either `ended` or `taken_back` has to be told, once."""
        departure.counter.tally.started += 1
        self.counters.touch(departure.counter)
        if departure.permit is not None:
            self.permits.use(departure.permit, departure.given)

    def ended(self, departure: Departure, answer: Answer) -> None:
        """What became of it."""
        counter, failure = departure.counter, answer.failure
        took = self.clock() - departure.began
        if failure is None:
            outcome = Outcome.SLOW if 0 < departure.slow_call <= took else Outcome.OK
        elif self._is_lost_with_others(counter, failure):
            outcome = Outcome.IGNORED
        else:
            outcome = classify(
                failure.code,
                reason=failure.reason,
                took=took,
                slow_call=departure.slow_call,
                given=departure.given,
                sent=answer.sent,
                count_exceptions=departure.count_exceptions,
            )
        self.durations.record(took, (counter.key.plugin_id, _SAID[outcome]), recorded_trace(departure.traceparent))
        told = _brief(failure, departure.traceparent) if failure is not None and outcome is Outcome.FAILURE else None
        if departure.permit is None:
            counter.tally.ended(outcome, took, told)
        else:
            counter.tally.ended(Outcome.IGNORED, took)
            self.permits.made(departure.permit, outcome, told)
        self.counters.touch(counter)
        if told is not None:
            self._failed(counter, told)
        elif self.breakers.streaks and outcome is not Outcome.IGNORED:
            self.breakers.answered((counter.key.instance_id, counter.key.incarnation))

    def breached(self, plugin_id: str, endpoint: Endpoint, what: str) -> None:
        """An instance broke the protocol: one failure of its own, whatever calls are lost with that."""
        counter, fault = self.counter(plugin_id, endpoint), ProtocolBroken(endpoint.instance_id, what)
        told = CallFailure(code=fault.code, reason=fault.reason, message=fault.message[:BRIEF])
        counter.tally.started += 1
        counter.tally.ended(Outcome.FAILURE, 0.0, told)
        counter.lost_at = self.clock()
        self.counters.touch(counter)
        self.hurry()

    def _is_lost_with_others(self, counter: InstanceCounter, failure: Failure) -> bool:
        """A connection that breaks has failed once, however many calls were on it."""
        if failure.reason != HostLost.reason:
            return False
        now, before = self.clock(), counter.lost_at
        counter.lost_at = now
        return now - before < TOGETHER

    def outrun(self, departure: Departure) -> None:
        """It is taken back because the same call was answered elsewhere; how late it was says something about it."""
        took = self.clock() - departure.began
        if departure.permit is None and 0 < departure.slow_call <= took:
            departure.counter.tally.ended(Outcome.SLOW, took)
            self.counters.touch(departure.counter)
        else:
            self.taken_back(departure)

    def taken_back(self, departure: Departure) -> None:
        """Nobody waits for its answer any more."""
        departure.counter.tally.ended(Outcome.IGNORED, 0.0)
        self.counters.touch(departure.counter)
        if departure.permit is not None:
            self.permits.made(departure.permit, Outcome.IGNORED, None)

    def granted(self, plugin_id: str, instance_id: str, permit: Permit, lease: float, after_sequence: int) -> None:
        """The balancer lets this process make a trial call, for `lease` seconds from when that report was sent."""
        now = self.clock()
        use_by = self._sent_at.get(after_sequence, now - lease) + lease
        if not any(one.plugin_id == plugin_id for one in self.demands()):
            use_by = min(use_by, now + IDLE)
        self.permits.grant(plugin_id, instance_id, permit, use_by)
        self.picks_changed.tell(plugin_id)

    def hinted(self, plugin_id: str, loads: Mapping[str, RemoteLoad]) -> None:
        """How busy others keep the plugin's instances; of those that are not named what was known stays."""
        self.loads(plugin_id).update(loads)

    def report(self) -> Report:
        """What the balancer has to hear next; it leaves now."""
        counts = self.counters.next()
        sequence = self.counters.sequence
        self._sent_at[sequence] = self.clock()
        while len(self._sent_at) > REMEMBERED:
            del self._sent_at[next(iter(self._sent_at))]
        self._demands = dict(self.demands())
        return Report(sequence, counts, self.permits.outcomes(sequence), self._demands)

    @property
    def changed(self) -> bool:
        """Whether there is anything to report."""
        return self.counters.changed or self.demands() != self._demands

    def begins(self) -> list[Counted]:
        """A subscription begins now: all that was counted before."""
        self._sent_at[self.counters.sequence] = self.clock()
        return self.counters.baseline()

    def breaks(self) -> None:
        """The subscription is over."""
        self.permits.give_all_back()

    def acknowledged(self, sequence: int) -> None:
        """The balancer has had the report of this number."""
        self.permits.acknowledge(sequence)
        if sequence > self.counters.acknowledged:
            for key in self.counters.acknowledge(sequence):
                self.breakers.forget((key.instance_id, key.incarnation))

    def forget_loads(self) -> None:
        """What others do is not known any more."""
        for loads in self._loads.values():
            loads.clear()

    def _failed(self, counter: InstanceCounter, failure: CallFailure) -> None:
        if failure.code != Code.UNAVAILABLE:
            return
        now = self.clock()
        until = self.breakers.failed((counter.key.instance_id, counter.key.incarnation), now, self.draw())
        if until is not None:
            asyncio.get_running_loop().call_later(until - now, self._let_in, counter.key.plugin_id, until)
            self.urgent.tell()

    def _let_in(self, plugin_id: str, until: float) -> None:
        self.breakers.over(max(until, self.clock()))  # a loop may ring a moment too early
        self.picks_changed.tell(plugin_id)


def _brief(failure: Failure, traceparent: str) -> CallFailure:
    return CallFailure(
        code=failure.code, reason=failure.reason, message=failure.message[:BRIEF], traceparent=traceparent
    )
