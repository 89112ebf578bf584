"""One call from the moment in which it is asked for to its end, whatever instances it is sent to on its way."""

from __future__ import annotations

from typing import Protocol

import msgspec

from forgemesh.faults import Fault
from forgemesh.orchestrator.dispatch.call_request import CallRequest, Underway, WaitReason
from forgemesh.orchestrator.dispatch.call_state import AFTER, CallEvent, CallState
from forgemesh.orchestrator.dispatch.deadlines import Alarm
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.outcome_recorder import Departure
from forgemesh.orchestrator.dispatch.pool import Pool
from forgemesh.orchestrator.dispatch.ports import Answer, HostLink
from forgemesh.orchestrator.dispatch.target_queue import TargetQueue
from forgemesh.orchestrator.values.payload import Payload


class Owner(Protocol):
    """Who looks after a call, and is told what happens to it."""

    def answered(self, call: HostCall, answer: Answer) -> None:
        """A link has answered one of its calls."""

    def progressed(self, inflight: InFlightCall, fraction: float, note: str, details: Payload | None) -> None:
        """It has told how far it is."""

    def timed_out(self, inflight: InFlightCall, fault: Fault) -> None:
        """Its instance has had the time that it was given."""

    def refused(self, inflight: InFlightCall, why: WaitReason) -> None:
        """It waits for what needs a person."""

    def broke(self, inflight: InFlightCall, error: Exception) -> None:
        """A bug has kept it from being sent, or its answer from being taken."""


class HostCall(Departure, eq=False, kw_only=True):
    """
    One call to one instance, which counts it as a Departure: `number` is its name on `link`. See ports.CallObserver.

    `dispatch` is how it left, `pool` where its instance was picked; `is_retry`: it is one of the retries there.
    """

    inflight: InFlightCall
    pool: Pool
    link: HostLink
    dispatch: Dispatch
    is_retry: bool
    number: int = 0

    def answered(self, answer: Answer) -> None:
        owner = self.inflight.owner
        try:
            owner.answered(self, answer)
        except Exception as error:  # noqa: BLE001 - the others on the link have nothing to do with it
            owner.broke(self.inflight, error)

    def progressed(self, fraction: float, note: str, details: Payload | None) -> None:
        self.inflight.owner.progressed(self.inflight, fraction, note, details)


class InFlightCall(msgspec.Struct, eq=False):
    """
    A request and where it stands (call_state.py); `since` is when it came (Unix nanoseconds).

    It waits in `target_queue`, or an instance has it as `call`; `second` is the same call with another instance as
    well. `dispatch` is where and how it ran, as far as that is decided. The methods below are the only ones that write
    any of these; they return what nobody waits for any more, if there is such a call, for the caller to take back.

    `blocked` is why it waits as far as that was told ("" is nothing); `lifts` counts how often it was told that this is
    over and that is not on record yet, and until it is, the call does not leave (wait_record.py). `alarm` is for the
    next of its deadlines, `close_at` the end of its start_to_close (on the loop's clock), `silent_since` its last sign
    of life (on that of OutcomeRecorder.awake), `hedge_alarm` tells when a second call may be made.
    """

    request: CallRequest
    owner: Owner
    target_queue: TargetQueue[InFlightCall]
    since: int
    blocked: str = ""
    state: CallState = CallState.WAITING
    call: HostCall | None = None
    second: HostCall | None = None
    dispatch: Dispatch | None = None
    lifts: int = 0
    alarm: Alarm | None = None
    hedge_alarm: Alarm | None = None
    close_at: float = 0.0
    silent_since: float = 0.0
    heard_at: int = 0
    fraction: float = 0.0
    note: str = ""

    def left(self, call: HostCall) -> None:
        """An instance is given it; or, if one has it already, another one as well."""
        if self.call is None:
            self.state = AFTER[self.state][CallEvent.LEFT]
            self.call, self.dispatch = call, call.dispatch
        else:
            self.state = AFTER[self.state][CallEvent.SECOND_LEFT]
            self.second = call

    def returned(self) -> None:
        """Its host never saw it: it has not left."""
        self.state = AFTER[self.state][CallEvent.UNSENT]
        self.call = self.dispatch = None

    def decided_by(self, call: HostCall) -> HostCall:
        """The answer of one of its two calls is to count; the other one. Its end is to follow."""
        other = self._other(call)
        self.call, self.second, self.dispatch = call, None, _hedged(call, other)
        return other

    def goes_on_without(self, call: HostCall, event: CallEvent) -> None:
        """One of its two calls has ended, and the other one decides."""
        self.state = AFTER[self.state][event]
        other = self._other(call)
        if other is self.second:  # it was one more call, and is the only one now
            other.is_retry, call.is_retry = call.is_retry, other.is_retry
        self.call, self.second, self.dispatch = other, None, _hedged(other, call)

    def second_called_off(self) -> HostCall | None:
        """Nobody waits for a second call any more."""
        second, self.second = self.second, None
        if second is not None:
            self.state = AFTER[self.state][CallEvent.CALLED_OFF]
        return second

    def cancelled(self) -> HostCall | None:
        """Who asked for it has taken it back."""
        self.state = AFTER[self.state][CallEvent.CANCELLED]
        second, self.second = self.second, None
        return second

    def ended(self, event: CallEvent) -> HostCall | None:
        """It is over, if this event is an end; where it ran stays."""
        self.state = AFTER[self.state][event]
        second, self.second, self.call = self.second, None, None
        return second

    def ran_at(self, answer: Answer) -> Dispatch | None:
        """Where and how what was answered ran; None if it has not left."""
        dispatch = self.dispatch
        if dispatch is None or not answer.sent or (answer.session and answer.accepted):
            return dispatch if answer.sent else None
        return msgspec.structs.replace(dispatch, session=answer.session, accepted=answer.accepted)

    def underway(self, dispatch: Dispatch) -> Underway:
        """How it stands with a call that an instance has."""
        return Underway(
            dispatch=dispatch,
            since=dispatch.at,
            heard_at=self.heard_at,
            fraction=self.fraction,
            note=self.note,
            cancelling=self.state is CallState.CANCELLING,
        )

    def _other(self, call: HostCall) -> HostCall:
        other = self.second if call is self.call else self.call
        assert other is not None
        return other


def _hedged(counts: HostCall, other: HostCall) -> Dispatch:
    return msgspec.structs.replace(counts.dispatch, hedged_with=other.dispatch.instance_id)
