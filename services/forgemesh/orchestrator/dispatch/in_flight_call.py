"""An order on its way: where it stands, for the dispatcher's own use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from forgemesh.orchestrator.dispatch.call_request import CallRequest
from forgemesh.orchestrator.dispatch.deadlines import Alarm
from forgemesh.orchestrator.dispatch.outcome_recorder import Departure
from forgemesh.orchestrator.dispatch.ports import Answer, HostLink
from forgemesh.orchestrator.values.payload import Payload

if TYPE_CHECKING:
    from forgemesh.orchestrator.dispatch.hedging import Second
    from forgemesh.orchestrator.dispatch.pending_queue import TargetQueue
    from forgemesh.orchestrator.dispatch.pool import Pool


class Owner(Protocol):
    """Who looks after a call that is under way."""

    def finish(self, inflight: InFlightCall, answer: Answer) -> None:
        """It has been answered."""

    def broke(self, inflight: InFlightCall, error: Exception) -> None:
        """A bug has kept it from being sent, or its answer from being taken."""

    def hear(self, inflight: InFlightCall, fraction: float, note: str, details: Payload | None) -> None:
        """It has told how far it is."""


class InFlightCall(msgspec.Struct, eq=False):
    """
    Waits in `lane`, or runs on `link` as `call`; `since` is when it came (Unix nanoseconds).

    `blocked` is why it waits as far as that was told ("" is nothing); `lifts` counts how often it was told that this is
    over and that is not on record yet, and until it is, the call does not leave. `alarm` is for the next of its
    deadlines, `close_at` the end of its start_to_close (on the loop's clock), `silent_since` its last sign of life (on
    that of CallAccount.awake). `departure` is how the call is counted, `retries_of` the pool among whose retries it is;
    `second` is the same call under way once more, `hedge_alarm` tells when that may be made. `over`: nobody looks after
    it any more. See ports.Caller for the rest.
    """

    request: CallRequest
    owner: Owner
    target_queue: TargetQueue
    since: int
    blocked: str = ""
    lifts: int = 0
    link: HostLink | None = None
    call: int = 0
    departure: Departure | None = None
    retries_of: Pool | None = None
    second: Second | None = None
    alarm: Alarm | None = None
    hedge_alarm: Alarm | None = None
    close_at: float = 0.0
    silent_since: float = 0.0
    heard_at: int = 0
    fraction: float = 0.0
    note: str = ""
    cancelling: bool = False
    over: bool = False

    def answered(self, answer: Answer) -> None:
        try:
            self.owner.finish(self, answer)
        except Exception as error:  # noqa: BLE001 - the others on the link have nothing to do with it
            self.owner.broke(self, error)

    def progressed(self, fraction: float, note: str, details: Payload | None) -> None:
        self.owner.hear(self, fraction, note, details)
