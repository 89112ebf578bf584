"""The calls that an instance has been asked for and has not answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, ItemsView
from dataclasses import dataclass

from forgemesh.api.plugin.v1 import session_pb2
from forgemesh.faults import Fault
from forgemesh.faults.workflow import Cancelled, HostLost
from forgemesh.orchestrator.dispatch.ports import Answer, CallObserver, Invocation
from forgemesh.orchestrator.dispatch.session.codec import MAX_DETAILS, MAX_NOTE, goes_alone, size_of
from forgemesh.orchestrator.dispatch.session.endings import Endings
from forgemesh.orchestrator.dispatch.session.protocol_check import ProtocolBreach
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.routing.endpoint import Endpoint

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class OpenCall:
    """
    `alone`: it may not go by a session; `sent`: it has left; `accepted`: its host said that it took it on; `unary`: it
    goes alone, by this task; `lost`: its session is over, and it only waits for the word how its process ended.
    """

    invocation: Invocation
    observer: CallObserver
    size: int
    alone: bool
    sent: bool = False
    accepted: bool = False
    cancelled: bool = False
    lost: bool = False
    unary: asyncio.Task[None] | None = None


class OpenCalls:
    """
    Calls by their numbers, which grow over all sessions.

    A call that was sent and that nobody waits for any more stays until its host has answered it, so that this answer is
    known for what it is. `newest_sent` is the last one that went into a session.
    """

    def __init__(self, endpoint: Endpoint, name: str, endings: Endings) -> None:
        self._instance_id = endpoint.instance_id
        self._incarnation = endpoint.incarnation
        self._name = name
        self._endings = endings
        self._end_is_told = False
        self._farewell = ""
        self._calls: dict[int, OpenCall] = {}
        self._next = 0
        self._before = 0
        """Calls up to this one are of earlier sessions."""
        self._tells_begun = False
        self._refuses_poison = False
        self.newest_sent = 0

    def __len__(self) -> int:
        return len(self._calls)

    def __getitem__(self, call_id: int) -> OpenCall:
        return self._calls[call_id]

    def get(self, call_id: int) -> OpenCall | None:
        """None once it is answered."""
        return self._calls.get(call_id)

    def items(self) -> ItemsView[int, OpenCall]:
        """All of them."""
        return self._calls.items()

    def open(self, invocation: Invocation, observer: CallObserver) -> tuple[int, OpenCall]:
        """One more."""
        number = self._next = self._next + 1
        size = size_of(invocation)
        alone = size > MAX_DETAILS and goes_alone(invocation)  # what is smaller goes with others, whatever it holds
        call = self._calls[number] = OpenCall(invocation, observer, size, alone)
        return number, call

    def sent(self, call_id: int, what: str) -> OpenCall | None:
        """
        The call, which was sent on this session; None if it has its answer. Raises ProtocolBreach for any other, of
        which the host said `what`.
        """
        call = self._calls.get(call_id)
        if call is not None and call.sent and call.unary is None and not call.lost:
            return call
        if call is not None or not self._before < call_id <= self.newest_sent:
            raise ProtocolBreach(f"{what} for call {call_id}, which was not sent on this session")
        return None

    def greeted(self, greeting: session_pb2.SessionResponse) -> int:
        """A session begins; how many credits come with it."""
        self._tells_begun = greeting.hello.tells_begun
        self._refuses_poison = greeting.hello.refuses_poison
        self._end_is_told = greeting.hello.end_is_told
        self._farewell = ""
        return greeting.credits

    def end_session(self) -> list[int]:
        """The calls that were on it, or waited for it."""
        self._before = self._next
        return [call_id for call_id, call in self._calls.items() if call.unary is None and not call.lost]

    def leaves(self, said: str) -> None:
        """The host says why it ends, or that it is to end; what it says last counts."""
        self._farewell = said[:MAX_NOTE]

    def lose(self, call_id: int, answered: Callable[[int, Answer], object]) -> None:
        """
        Its end nobody will tell: `answered` is told that.

        At once if it had not left, or is not wanted; else as soon as is known how its process ended, see Endings.
        """
        call = self._calls.get(call_id)
        if call is None:
            return
        if not call.sent or call.cancelled:
            answered(call_id, self.lost(call))
            return
        call.lost = True
        self.ask(lambda ending: answered(call_id, self.lost(call, ending)))

    def ask(self, told: Callable[[str], object]) -> None:
        """How the process ended that was lost."""
        if self._farewell or not self._end_is_told:
            told(self._farewell)
        else:
            self._endings.ask(self._instance_id, self._incarnation, told)

    async def ending(self) -> str:
        """As `ask`, for who can wait."""
        known: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ask(lambda ending: None if known.done() else known.set_result(ending))
        return await known

    def lost(self, call: OpenCall, ending: str = "") -> Answer:
        """What becomes of a call whose end nobody will tell."""
        begun = call.accepted if self._tells_begun or not call.sent else None
        known = self._refuses_poison
        fault: Fault = HostLost(
            self._instance_id, accepted=call.accepted, begun=begun, refuses_poison=known, ending=ending
        )
        if call.cancelled:
            fault = Cancelled(call.invocation.step_path)
        failure = failure_of(fault, retryable=not call.cancelled)
        return Answer(None, failure, accepted=call.accepted, session=call.unary is None, sent=call.sent)

    def answer(self, call_id: int, answer: Answer) -> bool:
        """Whether the call was open; a fault in who is told is not the fault of the others."""
        call = self._calls.pop(call_id, None)
        if call is None:
            return False
        try:
            call.observer.answered(answer)
        except Exception:  # noqa: BLE001 - whatever it is
            where = (self._name, call.invocation.execution_id, call.invocation.step_path)
            _log.exception("what %s answered to execution %s, step %s, cannot be taken", *where)
        return True
