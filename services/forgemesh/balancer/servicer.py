"""BalancerService over gRPC: check and translate, call, translate back."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceServicer
from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.application.feed.subscription import LONGEST_REASON, Subscription
from forgemesh.balancer.application.policies.policies import Policies
from forgemesh.balancer.application.requests.operators import Operators
from forgemesh.balancer.application.requests.picks import Picks
from forgemesh.balancer.codec import circuits, events, feed as codec, picks, policies
from forgemesh.balancer.codec.events import LONGEST_NAME
from forgemesh.chassis.pages import fitting, key_before, size_of, token_after
from forgemesh.chassis.tasks import beside
from forgemesh.chassis.violations import Violations
from forgemesh.chassis.waking_clock import patience
from forgemesh.feed.snapshots import revision_from_message, snapshot_to_message

_log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["BalancerService"].full_name
HELLO_DEADLINE = 5.0


class BalancerServicer(BalancerServiceServicer):
    """`clock` is the balancer's."""

    def __init__(
        self, balancer: Balancer, thin: Picks, operators: Operators, rules: Policies, clock: Callable[[], float]
    ) -> None:
        self._balancer = balancer
        self._picks = thin
        self._operators = operators
        self._policies = rules
        self._clock = clock

    async def Subscribe(
        self, request_iterator: AsyncIterator[pb.SubscribeRequest], context: Any
    ) -> AsyncIterator[pb.SubscribeResponse]:
        hello = await _hello(request_iterator)
        self._balancer.adopted(codec.known_circuits(hello, self._clock()))
        baseline = codec.told(hello.baseline)
        with self._balancer.subscribed(hello.subscriber_id, hello.boot_id, baseline) as subscription:
            _log.info("%s (boot %s) subscribes", hello.subscriber_id, hello.boot_id)
            async with (
                beside(self._listen(request_iterator, subscription)),
                contextlib.aclosing(subscription.updates()) as stream,
            ):
                async for updates in stream:
                    yield codec.update_to_message(updates, self._balancer.epoch, self._clock())

    async def _listen(self, requests: AsyncIterator[pb.SubscribeRequest], subscription: Subscription) -> None:
        """What the subscriber says after its hello, for as long as it says anything."""
        async for request in requests:
            if request.HasField("ack"):
                subscription.acknowledge(request.ack.plugin_id, revision_from_message(request.ack.revision))
            if request.HasField("nack"):
                self._refused(subscription, request.nack)
            if request.HasField("report"):
                report = request.report
                told, permits = codec.told(report.counts), codec.permits(report)
                self._balancer.reported(subscription, report.sequence, told, permits, codec.demands(report))

    def _refused(self, subscription: Subscription, nack: pb.SnapshotNack) -> None:
        revision, caller = revision_from_message(nack.revision), subscription.caller
        if subscription.refuse(nack.plugin_id, revision, nack.reason):
            _log.warning(
                "%s cannot use snapshot %d.%d of %s and keeps the one before: %s",
                *(caller.name, revision.epoch, revision.revision, nack.plugin_id, nack.reason[:LONGEST_REASON]),
            )

    async def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Any) -> pb.ListSnapshotsResponse:
        key = key_before(request.page_token, 1)
        page, more = self._balancer.snapshots(request.plugin_id, key[0] if key else "", size_of(request.page_size))
        now = self._clock()
        messages = fitting(snapshot_to_message(snapshot, now) for snapshot in page)
        more = more or len(messages) < len(page)
        return pb.ListSnapshotsResponse(
            snapshots=messages, next_page_token=token_after(messages[-1].plugin_id) if more else ""
        )

    async def Pick(self, request: pb.PickRequest, context: Any) -> pb.PickResponse:
        return picks.choice_to_message(self._picks.pick(picks.wish(request)), self._clock())

    async def Settle(self, request: pb.SettleRequest, context: Any) -> pb.SettleResponse:
        return pb.SettleResponse(applied=self._picks.settle(*picks.ended(request)))

    async def ListCircuits(self, request: pb.ListCircuitsRequest, context: Any) -> pb.ListCircuitsResponse:
        key = key_before(request.page_token, 2)
        after = (key[0], key[1]) if key else None
        page, more = self._operators.circuits(circuits.selection(request), after, size_of(request.page_size))
        now = self._clock()
        messages = fitting(circuits.to_message(one, now) for one in page)
        more, last = more or len(messages) < len(page), page[len(messages) - 1] if messages else None
        return pb.ListCircuitsResponse(
            circuits=messages,
            next_page_token=token_after(last.plugin_id, last.instance_key[0]) if more and last is not None else "",
        )

    async def SetCircuit(self, request: pb.SetCircuitRequest, context: Any) -> pb.SetCircuitResponse:
        found = await self._operators.decide(*circuits.order(request))
        now = self._clock()
        return pb.SetCircuitResponse(circuits=[circuits.to_message(one, now) for one in found])

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Any) -> pb.ListPoliciesResponse:
        found = [self._policies.record(request.plugin_id)] if request.plugin_id else self._policies.changed()
        return pb.ListPoliciesResponse(policies=[policies.record_to_message(record) for record in found])

    async def SetPolicy(self, request: pb.SetPolicyRequest, context: Any) -> pb.SetPolicyResponse:
        record = await self._policies.set(*policies.change(request))
        return pb.SetPolicyResponse(record=policies.record_to_message(record))

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        async with contextlib.aclosing(self._balancer.events.watch(*events.watch(request))) as steps:
            async for told in steps:
                yield events.told_to_message(told, self._clock())


async def _hello(requests: AsyncIterator[pb.SubscribeRequest]) -> pb.SubscriberHello:
    """The first message; raises InvalidRequest if it is late, none or another."""
    first = pb.SubscribeRequest()
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with patience(HELLO_DEADLINE):
            first = await anext(requests)
    found = Violations()
    for field in ("subscriber_id", "boot_id"):
        named = 0 < len(getattr(first.hello, field)) <= LONGEST_NAME
        found.unless(named, f"hello.{field}", f"must open the subscription, in 1 to {LONGEST_NAME} characters")
    found.refuse()
    return first.hello
