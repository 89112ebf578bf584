from __future__ import annotations

import asyncio

import pytest

from forgemesh.faults import Code
from forgemesh.faults.plugin import PermitRefused
from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.dispatch.outcome_counters import Counted
from forgemesh.orchestrator.dispatch.outcome_recorder import BRIEF, Departure, OutcomeRecorder
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import NULL
from forgemesh.routing.eligibility import Permit, RemoteLoad
from forgemesh.routing.endpoint import CircuitState, CircuitView
from forgemesh.routing.local_breaker import FAILURES
from forgemesh.routing.outcome import CountKey, PermitOutcome, PermitUse
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.scaling import Demanded
from forgemesh.routing.snapshot import Revision, Snapshot
from tests.component.orchestrator.hosts import PATIENCE, endpoint
from tests.manual_clock import ManualClock

GOOD = Answer(NULL, None)
LOST = Answer(None, failure_of(HostLost("i-1", accepted=True), retryable=True))
PERMIT = Permit("t-1", 1, 4)

TRACEPARENT = f"00-{'aa' * 16}-{'bb' * 8}-01"


class Kept:
    """A recorder, and what it says of itself."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.urgent = 0
        self.changed: list[str] = []
        self.waiting: dict[Demanded, int] = {}
        self.recorder = OutcomeRecorder(clock=self.clock.monotonic)
        self.recorder.count_waiting(lambda: self.waiting)
        self.recorder.urgent.add(self._hurry)
        self.recorder.picks_changed.add(self.changed.append)
        self.recorder.begins()

    def _hurry(self) -> None:
        self.urgent += 1

    def depart(self, generation: int = 3, permit: Permit | None = None, instance_id: str = "i-1") -> Departure:
        one = endpoint(instance_id, circuit=CircuitView(CircuitState.CLOSED, generation))
        departure = Departure(self.recorder.counter("p", one), self.clock.now, 60.0, 1.0, TRACEPARENT, permit)
        self.recorder.departed(departure)
        return departure

    def call(self, answer: Answer, took: float = 0.0, generation: int = 3) -> None:
        departure = self.depart(generation)
        self.clock.now += took
        self.recorder.ended(departure, answer)

    def stands(self, generation: int) -> None:
        one = endpoint("i-1", circuit=CircuitView(CircuitState.CLOSED, generation))
        self.recorder.stands(Snapshot("p", Revision(1, generation), DEFAULT, (one,)))

    def grant(self, permit: Permit = PERMIT, lease: float = 10.0, after: int = 0) -> None:
        self.recorder.granted("p", "i-1", permit, lease, after)

    def uses(self) -> dict[str, PermitUse]:
        return {told.permit_id: told.use for told in self.recorder.report().permits}


@pytest.fixture
async def kept() -> Kept:
    return Kept()


def key(generation: int = 3) -> CountKey:
    return CountKey("p", "i-1", 1, generation)


def failure(code: Code) -> Answer:
    return Answer(None, Failure(code, "R", "m" * 1000))


def test_every_call_is_counted_from_its_departure_to_its_end_whatever_that_is() -> None:
    kept = Kept()
    kept.call(GOOD)
    kept.call(GOOD, took=1.0)
    kept.call(failure(Code.INTERNAL))
    kept.call(failure(Code.NOT_FOUND))
    kept.call(failure(Code.RESOURCE_EXHAUSTED))
    kept.call(failure(Code.CANCELLED))
    kept.recorder.taken_back(kept.depart())
    kept.depart()

    ((of, counts, in_flight),) = kept.recorder.report().counts

    assert of == key()
    assert (counts.started, counts.succeeded, counts.slow, counts.failed) == (8, 3, 1, 1)
    assert (counts.overloaded, counts.ignored, in_flight) == (1, 2, 1)
    assert counts.last_failure is not None
    assert counts.last_failure.traceparent == TRACEPARENT
    assert len(counts.last_failure.message) == BRIEF


def test_a_call_that_never_left_says_nothing() -> None:
    kept = Kept()
    kept.call(Answer(None, LOST.failure, accepted=False, sent=False))

    ((_, counts, in_flight),) = kept.recorder.report().counts

    assert (counts.ignored, counts.failed, in_flight) == (1, 0, 0)


def test_a_connection_that_breaks_has_failed_once_however_many_calls_were_on_it() -> None:
    kept = Kept()
    for _ in range(2):
        on_it = [kept.depart() for _ in range(20)]
        for departure in on_it:
            kept.recorder.ended(departure, LOST)
        kept.clock.advance(1.0)

    (counted,) = kept.recorder.report().counts

    assert (counted.counts.failed, counted.counts.ignored, counted.counts.failures_in_a_row) == (2, 38, 2)


def test_a_report_tells_what_has_changed_since_the_last_one_that_was_acknowledged() -> None:
    kept = Kept()
    kept.call(GOOD)
    first = kept.recorder.report()
    lost = kept.recorder.report()
    assert lost.counts == first.counts  # the first may be lost
    assert (kept.recorder.changed, kept.recorder.demands()) == (False, {})

    kept.recorder.acknowledged(first.sequence)
    assert kept.recorder.report().counts == []
    kept.call(GOOD)

    assert kept.recorder.changed
    assert [one.counts.succeeded for one in kept.recorder.report().counts] == [2]


def test_a_change_after_a_report_is_not_covered_by_its_acknowledgement() -> None:
    kept = Kept()
    departure = kept.depart()
    report = kept.recorder.report()
    kept.recorder.ended(departure, GOOD)
    kept.recorder.acknowledged(report.sequence)

    assert [one.counts.succeeded for one in kept.recorder.report().counts] == [1]


def test_what_is_over_and_acknowledged_is_forgotten_and_nothing_else() -> None:
    kept = Kept()
    kept.stands(3)
    kept.call(GOOD)
    straggler = kept.depart()
    kept.stands(4)
    kept.call(GOOD, generation=4)
    kept.recorder.acknowledged(kept.recorder.report().sequence)
    assert {one.key for one in kept.recorder.begins()} == {key(3), key(4)}

    kept.recorder.ended(straggler, GOOD)
    told = kept.recorder.report()
    assert [(one.key, one.counts.succeeded) for one in told.counts] == [(key(3), 2)]
    kept.recorder.acknowledged(told.sequence)

    assert [one.key for one in kept.recorder.begins()] == [key(4)]


def test_the_load_of_an_instance_that_is_gone_is_forgotten() -> None:
    kept = Kept()
    loads = kept.recorder.loads("p")
    kept.recorder.hinted("p", {"i-1": RemoteLoad(1), "i-2": RemoteLoad(2)})
    kept.recorder.hinted("p", {"i-1": RemoteLoad(3)})
    assert loads == {"i-1": RemoteLoad(3), "i-2": RemoteLoad(2)}

    kept.stands(3)

    assert loads == {"i-1": RemoteLoad(3)}


def test_calls_under_way_are_those_of_all_generations() -> None:
    kept = Kept()
    kept.depart(generation=3)
    kept.depart(generation=4)

    assert [one.in_flight for one in kept.recorder.report().counts] == [2, 2]


def test_a_new_balancer_is_told_where_the_counts_begin() -> None:
    kept = Kept()
    kept.call(GOOD)
    kept.recorder.acknowledged(kept.recorder.report().sequence)
    kept.call(GOOD)

    baseline = kept.recorder.begins()
    kept.recorder.acknowledged(0)  # the new one has had nothing yet

    assert [one.counts.succeeded for one in baseline] == [2]
    assert isinstance(baseline[0], Counted)


async def test_a_permit_is_for_one_call_and_its_counts_say_nothing(kept: Kept) -> None:
    kept.waiting[Demanded("p", "")] = 1
    kept.grant()
    assert kept.changed == ["p"]
    assert kept.recorder.permits.shown("p") == {"i-1": PERMIT}

    departure = kept.depart(4, PERMIT)
    started = kept.recorder.report()
    assert not kept.recorder.permits.shown("p")
    assert [(told.use, told.remaining) for told in started.permits] == [(PermitUse.STARTED, 60.0)]
    urgent = kept.urgent
    kept.recorder.ended(departure, GOOD)

    assert kept.urgent == urgent + 1
    ended = kept.recorder.report()
    assert [told.use for told in ended.permits] == [PermitUse.SUCCEEDED]
    assert [(one.counts.started, one.counts.ignored) for one in ended.counts] == [(1, 1)]
    kept.recorder.acknowledged(started.sequence)
    assert kept.uses() == {"t-1": PermitUse.SUCCEEDED}
    kept.recorder.acknowledged(ended.sequence)
    assert kept.uses() == {}
    kept.grant()  # told again: it was used
    assert not kept.recorder.permits.shown("p")


async def test_a_trial_call_that_fails_says_why_and_one_that_says_nothing_gives_its_permit_back(kept: Kept) -> None:
    refused = failure_of(PermitRefused("i-1", "t-2", "it was used already"))
    for permit_id, answer in (("t-1", LOST), ("t-2", Answer(None, refused, accepted=False))):
        permit = Permit(permit_id, 1, 4)
        kept.waiting[Demanded("p", "")] = 1
        kept.grant(permit)
        kept.recorder.ended(kept.depart(4, permit), answer)

    told = {one.permit_id: one for one in kept.recorder.report().permits}

    assert (told["t-1"].use, told["t-2"].use) == (PermitUse.FAILED, PermitUse.RETURNED)
    assert told["t-1"].failure is not None
    assert told["t-1"].failure.reason == "HOST_LOST"


async def test_a_permits_time_counts_from_the_report_that_the_balancer_had(kept: Kept) -> None:
    kept.waiting[Demanded("p", "")] = 1
    kept.recorder.begins()
    sequence = kept.recorder.report().sequence
    kept.clock.now += 9.0
    kept.grant(lease=10.0, after=sequence)
    assert kept.recorder.permits.usable("p", kept.clock.now)

    kept.clock.now += 1.0

    assert not kept.recorder.permits.usable("p", kept.clock.now)
    assert kept.uses() == {"t-1": PermitUse.RETURNED}


@pytest.mark.parametrize(("lease", "after"), [(10.0, 77), (0.0, 1), (8.9, 1)])
async def test_a_permit_that_comes_too_late_goes_back_at_once(kept: Kept, lease: float, after: int) -> None:
    kept.recorder.begins()
    kept.recorder.report()
    kept.clock.now += 9.0

    kept.grant(lease=lease, after=after)

    assert not kept.recorder.permits.shown("p")
    assert kept.urgent
    assert kept.uses() == {"t-1": PermitUse.RETURNED}


async def test_permits_go_back_when_nobody_came_when_the_circuit_moves_on_and_when_the_feed_is_lost(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.recorder.begins()
    kept.grant(Permit("idle", 1, 4), lease=1e6)
    kept.clock.now += 1.0  # for nobody waits
    assert not kept.recorder.permits.usable("p", kept.clock.now)

    kept.waiting[Demanded("p", "")] = 1
    kept.recorder.begins()
    kept.grant(Permit("moved-on", 1, 4))
    kept.stands(5)
    kept.grant(Permit("lost", 1, 5))
    kept.recorder.breaks()

    assert kept.uses() == dict.fromkeys(("idle", "moved-on", "lost"), PermitUse.RETURNED)


async def test_a_permit_goes_back_by_itself_when_its_time_is_over(kept: Kept) -> None:
    back = asyncio.Event()
    kept.recorder.urgent.add(back.set)
    kept.waiting[Demanded("p", "")] = 1
    kept.recorder.begins()

    kept.grant(lease=0.01)

    async with asyncio.timeout(PATIENCE):
        await back.wait()
    assert kept.uses() == {"t-1": PermitUse.RETURNED}


async def test_several_permits_for_an_instance_are_used_one_after_the_other(kept: Kept) -> None:
    kept.waiting[Demanded("p", "")] = 2
    permits = [Permit(f"t-{number}", 1, 4) for number in range(2)]
    for permit in permits:
        kept.grant(permit)

    for permit in permits:
        assert kept.recorder.permits.shown("p")["i-1"] == permit
        kept.depart(4, permit)

    assert not kept.recorder.permits.shown("p")


async def test_an_instance_that_cannot_be_reached_is_left_out_for_a_moment_and_the_balancer_hears_at_once(
    kept: Kept,
) -> None:
    for _ in range(FAILURES - 1):
        kept.call(LOST, took=1.0)
    kept.call(failure(Code.INTERNAL))  # it got through
    kept.call(GOOD)
    for _ in range(FAILURES - 1):
        kept.call(LOST, took=1.0)
    assert (kept.urgent, set(kept.recorder.breakers.out)) == (0, set())

    kept.call(LOST, took=1.0)

    assert (kept.urgent, set(kept.recorder.breakers.out)) == (1, {("i-1", 1)})


async def test_calls_that_wait_are_counted_whoever_knows_of_them(kept: Kept) -> None:
    kept.waiting[Demanded("p", "")] = 2
    kept.recorder.count_waiting(lambda: {Demanded("p", ""): 1, Demanded("q", "^1"): 3})

    assert kept.recorder.report().demands == {Demanded("p", ""): 3, Demanded("q", "^1"): 3}


async def test_whoever_wants_to_hear_of_permits_takes_nobody_s_place(kept: Kept) -> None:
    first: list[PermitOutcome] = []
    second: list[PermitOutcome] = []
    for heard in (first, second):
        kept.recorder.permits.settled.add(heard.append)

    kept.grant(lease=-1.0)

    assert [outcome.use for outcome in first] == [PermitUse.RETURNED]
    assert first == second
