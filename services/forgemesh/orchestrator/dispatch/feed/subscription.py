"""The subscription to the balancer's feed: snapshots, permits and load one way, reports of calls the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeAlias

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, balancer_service_pb2_grpc, report_pb2, snapshot_pb2
from forgemesh.chassis.channel import LARGEST, connect
from forgemesh.chassis.containment import contained
from forgemesh.chassis.resumable import follow
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.feed.snapshots import revision_from_message, snapshot_from_message
from forgemesh.orchestrator.dispatch.feed.codec import (
    ack_to_message,
    hello_to_message,
    loads_from_message,
    nack_to_message,
    report_to_message,
)
from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts
from forgemesh.orchestrator.dispatch.feed.snapshot_check import flaw
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.static_trials import StaticTrials
from forgemesh.routing.eligibility import Permit

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceAsyncStub

_log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without a heartbeat after which the feed is opened again. Snapshots stay as they are meanwhile."""
PERIOD = 0.25
"""Seconds between reports while there is something to report."""
SIGN_OF_LIFE = 1.0
"""Seconds after which there is a report in any case."""

LOADS_LAST = 3.0
"""Seconds without a word from the balancer after which what others do is forgotten."""
STALE = 10.0
"""Seconds without one after which it is told, and trial calls are made without the balancer."""
LOOK = 1.0

_Outbox: TypeAlias = list[pb.SubscribeRequest]


class Feed:
    """Keeps `hosts`, `recorder` and the balancer up to date. Fail static: while it is lost, what was known stays."""

    def __init__(self, balancer: str, caller_id: str, hosts: FeedHosts, recorder: OutcomeRecorder) -> None:
        self._balancer = balancer
        self._caller_id = caller_id
        self._hosts = hosts
        self._recorder = recorder
        self._outbox: _Outbox = []
        self._wake = asyncio.Event()
        self._urgent = False
        self._static = StaticTrials(caller_id, recorder, hosts.snapshots, hosts.amend)
        self._heard_at = recorder.awake()
        self._warned = False
        self.refused = 0
        recorder.urgent.add(self._hurry)

    @property
    def stale(self) -> bool:
        """Whether the balancer has been silent for so long that what is known may be wrong."""
        return self._recorder.awake() - self._heard_at > STALE

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        async with (
            connect(self._balancer, receive_limit=LARGEST) as channel,
            beside(lasting("the watch of the feed", self._watch)),
        ):
            stub: BalancerServiceAsyncStub = balancer_service_pb2_grpc.BalancerServiceStub(channel)
            feed = follow(
                "the balancer's feed",
                lambda: stub.Subscribe(self._requests()),
                silence=SILENCE,
                on_break=self._begin_again,
            )
            async for message in feed:
                with contained(f"a {message.WhichOneof('kind')} of the balancer's feed"):
                    self._take(message)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    def look(self) -> None:
        """How old is what is known?"""
        age = self._recorder.awake() - self._heard_at
        if age > LOADS_LAST:
            self._recorder.forget_loads()
        if not self.stale:
            return
        if not self._warned:
            self._warned = True
            _log.warning(
                "the balancer at %s has been silent for %.0f s; calls go by what was known (reason=stale_feed)",
                self._balancer,
                age,
            )
        self._static.look()

    def _heard(self) -> None:
        self._heard_at = self._recorder.awake()
        if self._warned:
            self._warned = False
            self._static.end()
            _log.warning("the balancer speaks again")

    def _hurry(self) -> None:
        self._urgent = True
        self._wake.set()

    def _begin_again(self) -> None:
        self._hosts.begin_again()
        self._recorder.breaks()

    async def _requests(self) -> AsyncIterator[pb.SubscribeRequest]:
        outbox: _Outbox = []
        self._outbox, now = outbox, self._recorder.clock()
        counted, snapshots = self._recorder.begins(), self._hosts.snapshots()
        yield hello_to_message("orchestrator", self._caller_id, counted, snapshots, now)
        told_at = now - SIGN_OF_LIFE  # another balancer does not know yet what waits
        while self._outbox is outbox:  # else another subscription has taken over
            while outbox:
                yield outbox.pop(0)
            if self._is_due(self._recorder.clock() - told_at):
                self._urgent, told_at = False, self._recorder.clock()
                yield report_to_message(self._recorder.report())
            await self._pause(told_at)

    def _is_due(self, since: float) -> bool:
        if self._urgent or since >= SIGN_OF_LIFE:
            return True
        return since >= PERIOD and self._recorder.changed

    async def _pause(self, told_at: float) -> None:
        """Until there is something to say, or until the next moment for a report, whichever comes first."""
        if not self._urgent and not self._outbox:
            self._wake.clear()
            since = self._recorder.clock() - told_at
            try:
                async with asyncio.timeout(PERIOD - since % PERIOD):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _say(self, message: pb.SubscribeRequest) -> None:
        self._outbox.append(message)
        self._wake.set()

    def _take(self, message: pb.SubscribeResponse) -> None:
        self._heard()
        match message.WhichOneof("kind"):
            case "snapshot":
                self._take_snapshot(message.snapshot)
            case "gone":
                self._hosts.gone(message.gone.plugin_id, revision_from_message(message.gone.revision))
            case "heartbeat":
                self._recorder.acknowledged(message.heartbeat.acknowledged)
                self._hosts.all_named()
            case "permit":
                self._take_permit(message.permit)
            case "loads":
                self._take_loads(message.loads)

    def _take_snapshot(self, message: snapshot_pb2.PluginSnapshot) -> None:
        plugin_id, revision = message.plugin_id, revision_from_message(message.revision)
        try:
            snapshot = snapshot_from_message(message, self._recorder.clock())
            reason = flaw(snapshot)
        except ValueError as error:
            snapshot, reason = None, str(error)
        if snapshot is None or reason:
            self.refused += 1
            _log.warning("snapshot %s of %r cannot be used, the one before stays: %s", revision, plugin_id, reason)
            self._hosts.named(plugin_id)
            self._say(nack_to_message(plugin_id, revision, reason))
        elif self._hosts.take(snapshot):
            self._say(ack_to_message(plugin_id, revision))

    def _take_permit(self, message: report_pb2.PermitGrant) -> None:
        permit = Permit(message.permit_id, message.incarnation, message.generation)
        lease = message.lease_millis / 1000
        self._recorder.granted(message.plugin_id, message.instance_id, permit, lease, message.after_sequence)

    def _take_loads(self, message: report_pb2.LoadHints) -> None:
        snapshot = self._hosts.snapshot(message.plugin_id)
        endpoints = snapshot.endpoints if snapshot is not None else ()
        incarnations = {endpoint.instance_id: endpoint.incarnation for endpoint in endpoints}
        self._recorder.hinted(message.plugin_id, loads_from_message(message, incarnations, self._recorder.clock()))
