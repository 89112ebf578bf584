"""One session: the calls of one caller, read in batches and answered in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.faults import Fault, Violation
from forgemesh.faults.plugin import InstanceFull, OperationNotFound, Poison
from forgemesh.faults.service import InvalidRequest
from forgemesh.plugin import Payload
from forgemesh.plugin_host.host.calls.call import Call
from forgemesh.plugin_host.host.calls.call_runner import CallRunner
from forgemesh.plugin_host.host.calls.codec import cut, failure_of
from forgemesh.plugin_host.host.session.credits import CreditPool
from forgemesh.plugin_host.host.session.farewell import Farewell
from forgemesh.plugin_host.host.session.outgoing import Outgoing
from forgemesh.plugin_host.scope import task_scope

_log = logging.getLogger(__name__)

PATIENCE = 30.0

Write = Callable[[session_pb2.SessionResponse], Awaitable[None]]


class Sessions:
    """
    The open sessions of one host, which share its credits.

    A caller that reads nothing for `patience` seconds while something waits for it loses its session.
    """

    def __init__(self, capacity: int, *, patience: float = PATIENCE) -> None:
        self._pool = CreditPool(capacity)
        self._open: set[Session] = set()
        self.patience = patience
        self.draining = False
        self.farewell = Farewell(lambda: self._open, self._wake_all)

    def enter(self, session: Session) -> None:
        """Count the session in."""
        self._open.add(session)

    def leave(self, session: Session) -> None:
        """Its credits are free for the others."""
        self._open.discard(session)
        self.farewell.left(session)
        self._wake_all()

    def drain(self) -> None:
        """Tell every caller that no new calls are wanted."""
        self.draining = True
        self._wake_all()

    def grant(self, session: Session) -> int:
        """New credits for the session, in place of the calls that have ended since."""
        others = sum(other.held for other in self._open) - session.held
        return self._pool.grant(held=session.held, finished=session.finished, others=others, sessions=len(self._open))

    def _wake_all(self) -> None:
        for session in self._open:
            session.wake()


class Session:
    """
    Reads and writes one stream; `held` counts the caller's credits and its calls in the host.

    Whatever waits when the stream can be written leaves as one message. The reader never waits for the writer.
    """

    def __init__(self, runner: CallRunner, sessions: Sessions, instance_id: str) -> None:
        self._runner = runner
        self._sessions = sessions
        self._instance_id = instance_id
        self._calls: dict[int, Call] = {}
        self._newest = 0
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._asked = False
        self._outgoing = Outgoing(self._woken.set)
        self._half_closed = False
        self._said_drain = False
        self._said_farewell = False
        self.held = 0
        self.finished = 0

    def wake(self) -> None:
        """Look soon whether there is something to send."""
        self._woken.set()

    async def run(
        self,
        hello: session_pb2.ServerHello,
        requests: AsyncIterator[session_pb2.SessionRequest],
        first: session_pb2.SessionRequest,
        write: Write,
    ) -> None:
        """Serve until the caller is done or the host has drained; the loss of the stream takes all calls back."""
        self._sessions.enter(self)
        try:
            self.held = self._sessions.grant(self)
            async with asyncio.timeout(self._sessions.patience):
                await write(session_pb2.SessionResponse(hello=hello, credits=self.held))
            await self._serve(requests, first, write)
        except TimeoutError:
            _log.warning("caller %s reads nothing, its session ends", first.hello.caller_id)
        finally:
            self._sessions.leave(self)
            for call in list(self._calls.values()):
                self._runner.cancel(call)

    def begun(self, call: Call) -> None:
        self._outgoing.accept(call.invocation.call_id)
        self._soon()

    def answered(self, call: Call) -> None:
        self._outgoing.answer(call)

    def released(self, call: Call) -> None:
        del self._calls[call.invocation.call_id]
        self.finished += 1
        self._woken.set()

    def progressed(self, call: Call, fraction: float, note: str, details: Payload | None) -> None:
        if call.answer is None:
            self._outgoing.progress(call.invocation.call_id, fraction, cut(note), details)

    async def _serve(
        self,
        requests: AsyncIterator[session_pb2.SessionRequest],
        first: session_pb2.SessionRequest,
        write: Write,
    ) -> None:
        async with task_scope() as tasks:
            reading = tasks.create_task(self._read(requests, first))
            await self._write(write)
            reading.cancel()

    async def _read(
        self, requests: AsyncIterator[session_pb2.SessionRequest], first: session_pb2.SessionRequest
    ) -> None:
        self._receive(first)
        async for request in requests:
            if request.HasField("hello"):
                raise InvalidRequest([Violation("hello", "is the first message of a session, and only that")])
            self._receive(request)
        self._half_closed = True
        self._woken.set()

    def _soon(self) -> None:
        """Not at once: short calls may be answered before it is said that they have begun."""
        if not self._asked:
            self._asked = True
            self._loop.call_soon(self._wake_up)

    def _wake_up(self) -> None:
        self._asked = False
        self._woken.set()

    def _receive(self, request: session_pb2.SessionRequest) -> None:
        for invocation in request.invocations:
            self._invoke(invocation)
        for cancel in request.cancels:
            call = self._calls.get(cancel.call_id)
            if call is not None:
                self._runner.cancel(call)

    def _invoke(self, invocation: invocation_pb2.Invocation) -> None:
        call_id = invocation.call_id
        if call_id <= self._newest:
            raise InvalidRequest([Violation("invocations.call_id", f"{call_id} is not above {self._newest}")])
        self._newest = call_id
        try:
            if len(self._calls) + self.finished >= self.held:
                raise InstanceFull(self._instance_id, len(self._calls))
            self._calls[call_id] = self._runner.take(invocation, self, credited=True)
        except Fault as fault:
            self._refuse(invocation, fault)

    def _refuse(self, invocation: invocation_pb2.Invocation, fault: Fault) -> None:
        """The credit that the call came with is spent and comes back, unless it had none."""
        if not isinstance(fault, InstanceFull):
            self.finished += 1
        retryable = not isinstance(fault, OperationNotFound | Poison)
        self._outgoing.refuse(invocation, failure_of(fault, invocation.step_path, retryable=retryable))

    async def _write(self, write: Write) -> None:
        while True:
            message = self._next_message()
            if message is not None:
                async with asyncio.timeout(self._sessions.patience):
                    await write(message)
                if message.farewell:
                    self._sessions.farewell.left(self)
            elif self._is_over():
                return
            else:
                await self._woken.wait()
                self._woken.clear()

    def _next_message(self) -> session_pb2.SessionResponse | None:
        renewed = self._renewed_credits()
        drains = self._sessions.draining and not self._said_drain
        parts = bool(self._sessions.farewell.reason) and not self._said_farewell
        if not renewed and not drains and not parts and not self._outgoing.waiting:
            return None
        message = self._outgoing.take()
        message.credits = renewed
        if drains:
            self._said_drain = True
            message.drain.reason = "shutdown"
        if parts:
            self._said_farewell = True
            message.farewell = self._sessions.farewell.reason
        return message

    def _renewed_credits(self) -> int:
        if self._sessions.draining:
            return 0
        granted = self._sessions.grant(self)
        self.held += granted - self.finished
        self.finished = 0
        return granted

    def _is_over(self) -> bool:
        return not self._calls and (self._half_closed or self._said_drain)
