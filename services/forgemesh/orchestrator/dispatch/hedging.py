"""Calls that are made a second time because their answer is late; the first answer counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from forgemesh.orchestrator.dispatch.deadlines import Deadlines
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.doubt import line_of
from forgemesh.orchestrator.dispatch.invocation_builder import dispatch_of, invocation_of
from forgemesh.orchestrator.dispatch.manifests import Manifests
from forgemesh.orchestrator.dispatch.outcome_recorder import Departure, OutcomeRecorder, departure_of
from forgemesh.orchestrator.dispatch.pool import Pool
from forgemesh.orchestrator.dispatch.ports import Answer, HostLink, Invocation
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.routing.latencies import Latencies
from forgemesh.routing.pick import NoPick, Picked

if TYPE_CHECKING:
    from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall

KNOWN = 50
"""So many calls of an operation have to be known before their durations say when an answer is late."""
LEAST = 0.05
"""Seconds before which no answer is late, if the policy does not say otherwise."""
SHARE = 0.05
"""Most calls of these that are made twice."""
SAVED = 2.0
"""So many of them may come at once after a quiet time: those that are taken back say little about their instance."""


class Second(msgspec.Struct, eq=False):
    """The second call of a call, as long as it is not known which one counts. See ports.Caller."""

    inflight: InFlightCall
    hedging: Hedging
    pool: Pool
    link: HostLink
    departure: Departure
    dispatch: Dispatch
    call: int = 0

    def answered(self, answer: Answer) -> None:
        self.hedging.answered(self, answer)

    def progressed(self, fraction: float, note: str, details: Payload | None) -> None:
        self.inflight.progressed(fraction, note, details)


class Hedging:
    """
    Only for calls that are safe to repeat, as the manifests of both versions say it that are called, and that lead to
    no particular instance by affinity or permit. The second call goes to the same plugin, whose versions of one line
    know one another's keys; never to the instance that has the call, never beyond the plugin's retry budget, and for
    SHARE of all calls at most.

    `clock` gives Unix nanoseconds; `full` says why this process has no room for one more call; `on_end` is told
    the plugin of which a second call has ended. Durable state knows only the call that counted.
    """

    def __init__(
        self,
        recorder: OutcomeRecorder,
        manifests: Manifests,
        deadlines: Deadlines,
        clock: Callable[[], int],
        full: Callable[[], object],
        on_end: Callable[[str], None],
    ) -> None:
        self._recorder = recorder
        self._manifests = manifests
        self._deadlines = deadlines
        self._clock = clock
        self._full = full
        self._on_end = on_end
        self._seen: dict[tuple[str, str], Latencies] = {}
        self._saved = 1.0
        self.in_flight = 0

    def watch(self, inflight: InFlightCall, pool: Pool, version: str, invocation: Invocation) -> None:
        """A call that is safe to repeat has left for an instance of this version."""
        if invocation.permit is not None or inflight.request.affinity:
            return
        after = self._after(pool, invocation.operation)
        if 0 < after < invocation.remaining and self._manifests.may_hedge(inflight.request, pool.plugin_id, version):
            inflight.hedge_alarm = self._deadlines.set(after, partial(self._late, pool, version), inflight)

    def saw(self, departure: Departure, operation: str) -> None:
        """Such a call was answered well."""
        self._saved = min(SAVED, self._saved + SHARE)
        key = (departure.entry.key.plugin_id, operation)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = Latencies()
        seen.saw(self._recorder.clock() - departure.began)

    def call_off(self, inflight: InFlightCall) -> None:
        """The call has ended or is taken back: nobody waits for its second call any more."""
        if inflight.hedge_alarm is not None:
            self._deadlines.call_off(inflight.hedge_alarm)
            inflight.hedge_alarm = None
        second = inflight.second
        if second is not None:
            inflight.second = None
            self._recorder.taken_back(second.departure)
            self._over(second)
            second.link.cancel(second.call)

    def goes_on(self, inflight: InFlightCall, answer: Answer) -> bool:
        """The call's own call is answered while a second one is under way: whether that one decides now."""
        second, dispatch = inflight.second, inflight.request.dispatch
        assert second is not None
        assert dispatch is not None
        if _decides(answer) or inflight.cancelling:
            inflight.request.dispatch = _hedged(dispatch, second.dispatch)
            return False
        assert inflight.departure is not None
        self._recorder.ended(inflight.departure, answer)
        self._replace(inflight, second)
        return True

    def answered(self, second: Second, answer: Answer) -> None:
        """A second call is answered."""
        inflight, request = second.inflight, second.inflight.request
        if inflight.second is not second:
            if inflight.departure is second.departure:
                inflight.answered(answer)
            return
        if not _decides(answer):
            assert request.dispatch is not None
            request.dispatch = _hedged(request.dispatch, second.dispatch)
            inflight.second = None
            self._recorder.ended(second.departure, answer)
            self._over(second)
            return
        link, call, departure = inflight.link, inflight.call, inflight.departure
        assert link is not None
        assert departure is not None
        self._recorder.outrun(departure)
        self._replace(inflight, second)
        inflight.answered(answer)
        link.cancel(call)  # last: a call that has not left yet is answered as lost

    def _after(self, pool: Pool, operation: str) -> float:
        """Seconds after which an answer is late; 0 is never."""
        ruled = pool.snapshot.policy.hedge_of(operation)
        if ruled is not None:
            return ruled
        seen = self._seen.get((pool.plugin_id, operation))
        return max(LEAST, seen.percentile_95()) if seen is not None and seen.count >= KNOWN else 0.0

    def _late(self, pool: Pool, version: str, inflight: InFlightCall) -> None:
        inflight.hedge_alarm = None
        if inflight.cancelling or inflight.departure is None or self._saved < 1 or self._full():
            return
        first, request = inflight.departure.entry.key.instance_id, inflight.request
        elsewhere = msgspec.structs.replace(request, tried=request.tried | {first})
        found = pool.pick(
            elsewhere, partial(self._suits, inflight, pool.plugin_id, line_of(version)), self._recorder.clock()
        )
        if isinstance(found, NoPick) or found.permit is not None or found.endpoint.instance_id == first:
            return
        if pool.holds_back() is None:
            self._call(inflight, pool, found)

    def _suits(self, inflight: InFlightCall, plugin_id: str, line: str, version: str) -> bool:
        """Whether the second call of the call may go to this version."""
        if line_of(version) != line or not inflight.target_queue.route.wants(plugin_id, version):
            return False
        return self._manifests.may_hedge(inflight.request, plugin_id, version)

    def _call(self, inflight: InFlightCall, pool: Pool, picked: Picked) -> None:
        request, at, now = inflight.request, self._clock(), self._recorder.clock()
        assert inflight.departure is not None
        left = inflight.departure.began + inflight.departure.given - now
        invocation = msgspec.structs.replace(invocation_of(request, at, None), remaining=max(0.001, left))
        link, entry = pool.take(picked)
        departure = departure_of(request, pool.snapshot.policy, entry, now, invocation.remaining)
        dispatch = dispatch_of(request, picked, pool.plugin_id, at)
        second = inflight.second = Second(inflight, self, pool, link, departure, dispatch)
        self._recorder.departed(departure)
        self._saved -= 1
        self.in_flight += 1
        pool.retries += 1
        second.call = link.invoke(invocation, second)
        pool.sent(picked.endpoint.instance_id, link)

    def _replace(self, inflight: InFlightCall, second: Second) -> None:
        """From now on the second call is the call's only one."""
        first = inflight.request.dispatch
        assert first is not None
        inflight.second = None
        inflight.link, inflight.call, inflight.departure = second.link, second.call, second.departure
        inflight.request.dispatch = _hedged(second.dispatch, first)
        self._over(second)

    def _over(self, second: Second) -> None:
        self.in_flight -= 1
        second.pool.retries -= 1
        self._on_end(second.pool.plugin_id)


def _decides(answer: Answer) -> bool:
    """Whether another answer could not be better."""
    return answer.failure is None or not answer.failure.retryable


def _hedged(counts: Dispatch, other: Dispatch) -> Dispatch:
    return msgspec.structs.replace(counts, hedged_with=other.instance_id)
