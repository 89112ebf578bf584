"""What a subscriber says to the balancer, and what it makes of the balancer's words."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, policy_pb2, report_pb2, snapshot_pb2
from forgemesh.chassis.tasks import beside
from forgemesh.orchestrator.dispatch.feed import subscription as feed
from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts, open_hosts
from forgemesh.orchestrator.dispatch.feed.subscription import Feed
from forgemesh.orchestrator.dispatch.outcome_recorder import Departure, OutcomeRecorder
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.values.payload import NULL
from forgemesh.routing.eligibility import RemoteLoad
from forgemesh.routing.scaling import Demanded
from tests.component.orchestrator.balancers import ScriptedBalancer, endpoint, serving_balancer

ADDRESS = "127.0.0.1:1"
SETTLES = (report_pb2.PERMIT_USE_SUCCEEDED, report_pb2.PERMIT_USE_FAILED, report_pb2.PERMIT_USE_RETURNED)


class Subscriber:
    def __init__(self, hosts: FeedHosts, recorder: OutcomeRecorder, feed: Feed) -> None:
        self.hosts, self.recorder, self.feed = hosts, recorder, feed

    def call(self) -> Departure:
        """A call leaves for the first instance of the plugin."""
        snapshot = self.hosts.snapshot("p")
        assert snapshot is not None
        counter = self.recorder.counter("p", snapshot.endpoints[0])
        departure = Departure(counter, self.recorder.clock(), 60.0, 1.0, "")
        self.recorder.departed(departure)
        return departure


@pytest.fixture
async def balancer() -> ScriptedBalancer:
    return ScriptedBalancer()  # type: ignore[abstract]  # answers UNIMPLEMENTED to what nobody asks it


@pytest.fixture
async def subscriber(balancer: ScriptedBalancer) -> AsyncIterator[Subscriber]:
    recorder = OutcomeRecorder()
    async with serving_balancer(balancer) as address, open_hosts("o-1", recorder.breached) as hosts:
        feed = Feed(address, "o-1", hosts, recorder)
        async with beside(feed.run()):
            yield Subscriber(hosts, recorder, feed)


def circuit(generation: int, state: Any = snapshot_pb2.CIRCUIT_STATE_CLOSED) -> snapshot_pb2.Circuit:
    return snapshot_pb2.Circuit(state=state, generation=generation, open_for_millis=5_000)


async def test_each_snapshot_is_acknowledged(balancer: ScriptedBalancer, subscriber: Subscriber) -> None:
    balancer.show("p", 1, endpoint("i-1", ADDRESS))
    balancer.show("q", 2, endpoint("i-2", ADDRESS))

    await balancer.until(lambda: len(balancer.acks) == 2)

    assert [(ack.plugin_id, ack.revision.revision) for ack in balancer.acks] == [("p", 1), ("q", 2)]
    assert not balancer.nacks


NONSENSE = {
    "retry_budget.share": policy_pb2.PluginPolicy(retry_budget=policy_pb2.RetryBudget(share=float("nan"))),
    "failure_rate": policy_pb2.PluginPolicy(circuit=policy_pb2.CircuitPolicy(failure_rate=1.5)),
    "open_seconds": policy_pb2.PluginPolicy(circuit=policy_pb2.CircuitPolicy(open_seconds=float("inf"))),
    "backoff": policy_pb2.PluginPolicy(circuit=policy_pb2.CircuitPolicy(backoff=0.5)),
    "permits": policy_pb2.PluginPolicy(circuit=policy_pb2.CircuitPolicy(permits=0)),
    "load_memory_seconds": policy_pb2.PluginPolicy(load_memory_seconds=-1.0),
    "hedge_after_seconds": policy_pb2.PluginPolicy(
        operations={"o": policy_pb2.OperationPolicy(hedge_after_seconds=-1.0)}
    ),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_policy_that_makes_no_sense_is_refused_and_the_snapshot_before_stays(
    balancer: ScriptedBalancer, subscriber: Subscriber, name: str
) -> None:
    balancer.show("p", 1, endpoint("i-1", ADDRESS))
    balancer.show("p", 2, endpoint("i-2", ADDRESS), policy=NONSENSE[name])
    balancer.beat()

    await balancer.until(lambda: bool(balancer.nacks))

    assert name in balancer.nacks[0].reason
    assert balancer.nacks[0].revision.revision == 2
    await subscriber.hosts.synced.wait()
    assert list(subscriber.hosts.links("p")) == ["i-1"]
    assert subscriber.feed.refused == 1


@pytest.mark.parametrize(
    ("endpoints", "reason"),
    [
        ([endpoint("i-1", ADDRESS, weight=1 << 31)], "weight"),
        ([endpoint("", ADDRESS)], "no id"),
        ([endpoint("i-1", ADDRESS, incarnation=0)], "incarnation"),
        ([endpoint("i-1", ADDRESS), endpoint("i-1", ADDRESS)], "twice"),
    ],
)
async def test_instances_that_make_no_sense_are_refused(
    balancer: ScriptedBalancer, subscriber: Subscriber, endpoints: list[snapshot_pb2.Endpoint], reason: str
) -> None:
    balancer.show("p", 1, *endpoints)

    await balancer.until(lambda: bool(balancer.nacks))

    assert reason in balancer.nacks[0].reason
    assert subscriber.hosts.snapshot("p") is None


async def test_calls_are_reported_until_the_balancer_has_heard_of_them(
    balancer: ScriptedBalancer, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SIGN_OF_LIFE", 0.01)
    monkeypatch.setattr(feed, "PERIOD", 0.01)
    balancer.show("p", 1, endpoint("i-1", ADDRESS, circuit=circuit(3)))
    await balancer.until(lambda: bool(balancer.acks))
    subscriber.recorder.ended(subscriber.call(), Answer(NULL, None))
    subscriber.call()

    def tells() -> bool:
        return bool(balancer.reports) and bool(balancer.reports[-1].counts)

    await balancer.until(lambda: len([one for one in balancer.reports if one.counts]) > 2)

    (counts,) = balancer.reports[-1].counts
    assert (counts.plugin_id, counts.instance_id, counts.incarnation, counts.generation) == ("p", "i-1", 1, 3)
    assert (counts.started, counts.succeeded, counts.in_flight) == (2, 1, 1)
    sequences = [report.sequence for report in balancer.reports]
    assert sequences == list(range(1, len(sequences) + 1))
    balancer.beat(acknowledged=sequences[-1])
    await balancer.until(lambda: not tells())


async def test_what_is_urgent_is_reported_at_once(
    balancer: ScriptedBalancer, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SIGN_OF_LIFE", 1e6)
    monkeypatch.setattr(feed, "PERIOD", 1e6)
    balancer.show("p", 1, endpoint("i-1", ADDRESS))
    await balancer.until(lambda: bool(balancer.acks))
    subscriber.recorder.count_waiting(lambda: {Demanded("p", "^1"): 7})

    subscriber.recorder.hurry()

    await balancer.until(lambda: told(balancer) == [("p", "^1", 7)])


async def test_another_balancer_hears_at_once_what_waits(
    balancer: ScriptedBalancer, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SIGN_OF_LIFE", 1e6)
    monkeypatch.setattr(feed, "PERIOD", 1e6)
    balancer.show("p", 1, endpoint("i-1", ADDRESS))
    await balancer.until(lambda: bool(balancer.acks))
    subscriber.recorder.count_waiting(lambda: {Demanded("p", ""): 1})
    balancer.feed.put_nowait(None)

    await balancer.until(lambda: told(balancer) == [("p", "", 1)])


def told(balancer: ScriptedBalancer) -> list[tuple[str, str, int]]:
    """The calls that wait, as they were last told."""
    demands = balancer.reports[-1].demands if balancer.reports else []
    return [(demand.plugin_id, demand.version_range, demand.waiting) for demand in demands]


async def test_permits_are_for_as_long_as_the_feed_stands_and_what_became_of_them_is_told_on_the_next_one(
    balancer: ScriptedBalancer, subscriber: Subscriber
) -> None:
    half_open = circuit(4, snapshot_pb2.CIRCUIT_STATE_HALF_OPEN)
    balancer.show("p", 1, endpoint("i-1", ADDRESS, circuit=half_open))
    subscriber.recorder.count_waiting(lambda: {Demanded("p", ""): 1})
    granted: list[str] = []
    subscriber.recorder.picks_changed.add(granted.append)
    subscriber.recorder.hurry()
    await balancer.until(lambda: bool(balancer.reports))
    balancer.grant("t-1", "i-1", 4, after=balancer.reports[-1].sequence)
    balancer.grant("t-2", "i-1", 4, after=1_000)
    balancer.feed.put_nowait(None)

    await balancer.until(lambda: {o.permit_id for r in balancer.reports for o in r.permits} == {"t-1", "t-2"})

    assert granted == ["p", "p"]
    assert {o.use for r in balancer.reports for o in r.permits} == {report_pb2.PERMIT_USE_RETURNED}
    assert len(balancer.hellos) <= 2


async def test_a_new_subscription_begins_with_what_was_counted_and_which_circuits_were_known(
    balancer: ScriptedBalancer, subscriber: Subscriber
) -> None:
    opened = circuit(3, snapshot_pb2.CIRCUIT_STATE_OPEN)
    balancer.show("p", 1, endpoint("i-1", ADDRESS, circuit=opened), endpoint("i-2", ADDRESS))
    await balancer.until(lambda: bool(balancer.acks))
    subscriber.call()

    balancer.feed.put_nowait(None)
    balancer.show("p", 1, endpoint("i-1", ADDRESS, circuit=opened), epoch=2)
    await balancer.until(lambda: len(balancer.acks) == 2)

    first, second = balancer.hellos
    assert not first.baseline
    assert [(counts.instance_id, counts.generation, counts.started) for counts in second.baseline] == [("i-1", 3, 1)]
    ((known),) = second.circuits
    assert (known.plugin_id, known.instance_id, known.incarnation) == ("p", "i-1", 1)
    assert (known.circuit.state, known.circuit.generation) == (snapshot_pb2.CIRCUIT_STATE_OPEN, 3)
    assert 0 < known.circuit.open_for_millis <= 5_000


async def test_load_hints_count_the_calls_of_others_on_the_present_registration(
    balancer: ScriptedBalancer, subscriber: Subscriber
) -> None:
    balancer.show("p", 1, endpoint("i-1", ADDRESS), endpoint("i-2", ADDRESS, incarnation=2))
    hints = [
        report_pb2.LoadHint(instance_id="i-1", incarnation=1, in_flight=9, in_flight_of_subscriber=4, load_weight=2.5),
        report_pb2.LoadHint(instance_id="i-2", incarnation=1, in_flight=9),
        report_pb2.LoadHint(instance_id="i-3", incarnation=1, in_flight=9),
    ]
    balancer.feed.put_nowait(pb.SubscribeResponse(loads=report_pb2.LoadHints(plugin_id="p", hints=hints)))
    balancer.beat()

    await subscriber.hosts.synced.wait()

    (load,) = subscriber.recorder.loads("p").values()
    assert load == RemoteLoad(5, load.at, 2.5)
    assert 0 <= subscriber.recorder.clock() - load.at < 5


async def test_a_subscriber_that_stops_says_nothing_more(balancer: ScriptedBalancer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving_balancer(balancer))
        recorder = OutcomeRecorder()
        hosts = await stack.enter_async_context(open_hosts("o-1", recorder.breached))
        async with beside(Feed(address, "o-1", hosts, recorder).run()):
            balancer.show("p", 1, endpoint("i-1", ADDRESS))
            await balancer.until(lambda: bool(balancer.acks))

        assert len(balancer.hellos) == 1


async def test_a_bug_in_what_is_said_of_one_plugin_leaves_the_others_what_is_said_of_them(
    balancer: ScriptedBalancer,
    subscriber: Subscriber,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = FeedHosts.take

    def planted(hosts: FeedHosts, snapshot: Any) -> bool:
        if snapshot.plugin_id == "p":
            raise LookupError("planted")
        return real(hosts, snapshot)

    monkeypatch.setattr(FeedHosts, "take", planted)
    balancer.show("p", 1, endpoint("i-1", ADDRESS))
    balancer.show("q", 2, endpoint("i-2", ADDRESS))
    await balancer.until(lambda: len(balancer.acks) == 1)

    assert balancer.acks[0].plugin_id == "q"
    assert "a snapshot of the balancer's feed is passed over" in caplog.text
