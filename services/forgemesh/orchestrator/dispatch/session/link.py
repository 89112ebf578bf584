"""The link to one incarnation of a plugin instance: one coalescing session, and unary Invoke where that fits better."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import grpc

from forgemesh.api.plugin.v1 import plugin_service_pb2_grpc, session_pb2
from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.channel import MEBIBYTE, connect
from forgemesh.chassis.tasks import watched
from forgemesh.chassis.waking_clock import patience
from forgemesh.orchestrator.dispatch.ports import Answer, CallObserver, Invocation
from forgemesh.orchestrator.dispatch.session.codec import MAX_NOTE, add_invocation, answer_of, progress_of, unsayable
from forgemesh.orchestrator.dispatch.session.connection import Connection
from forgemesh.orchestrator.dispatch.session.end import first_of, refusal_of
from forgemesh.orchestrator.dispatch.session.endings import Endings
from forgemesh.orchestrator.dispatch.session.open_calls import OpenCall, OpenCalls
from forgemesh.orchestrator.dispatch.session.protocol_check import (
    MAX_CREDITS,
    PROTOCOL,
    ProtocolBreach,
    check_attempt,
    check_greeting,
    check_numbers,
)
from forgemesh.orchestrator.dispatch.session.unary_calls import UnaryCalls
from forgemesh.routing.endpoint import Endpoint

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceAsyncStub

_log = logging.getLogger(__name__)

MAX_FRAME = MEBIBYTE
HELLO_DEADLINE = 5.0
FIRST_BACKOFF = 0.1
MAX_BACKOFF = 2.0
PATIENCE = 5.0
"""Seconds that a call alone waits for the connection."""

_Stream: TypeAlias = grpc.aio.StreamStreamCall[session_pb2.SessionRequest, session_pb2.SessionResponse]


class SessionLink:
    """
    See ports.HostLink. Opens its session at once and again whenever it breaks, for as long as `run` runs.

    A call that waits when the session breaks or drains is answered with HOST_LOST in that moment, one that the host had
    as soon as `endings` say how that ended; the answer says whether it had been sent. A host that says what the
    protocol does not allow loses its session: `on_breach` is told what it was, besides the log, and nothing of that is
    taken for an answer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        caller_id: str,
        on_change: Callable[[], None],
        *,
        plugin_id: str = "",
        on_breach: Callable[[str], None] = lambda what: None,
        endings: Endings | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._caller_id = caller_id
        self._on_change = on_change
        self._plugin_id = plugin_id
        self._on_breach = on_breach
        self._name = f"instance {endpoint.instance_id!r} of plugin {plugin_id!r}"
        self._calls = OpenCalls(endpoint, self._name, endings or Endings())
        self._queue: list[int] = []
        self._cancels: list[int] = []
        self._credits = 0
        self._wake = asyncio.Event()
        self._state = "connecting"
        self._by_unary = not endpoint.session
        self._retired = False
        self._on_idle: Callable[[], object] | None = None
        self._channel = connect(endpoint.address, keepalive=endpoint.session)
        self._stub: PluginServiceAsyncStub = plugin_service_pb2_grpc.PluginServiceStub(self._channel)
        self._alone = UnaryCalls(self._stub, endpoint, plugin_id, self._breached, self._calls.ending)
        self._connection = Connection(self._channel, self._connection_changed)
        self.frames = 0
        self.frame_calls = 0

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    @property
    def usable(self) -> bool:
        return self._state in ("connecting", "ready")

    @property
    def has_room(self) -> bool:
        if self._by_unary or self._state == "connecting":
            limit = self._endpoint.max_in_flight
            return limit == 0 or len(self._calls) < limit
        return self._credits > len(self._queue)

    def invoke(self, invocation: Invocation, observer: CallObserver) -> int:
        """See ports.HostLink."""
        call_id, call = self._calls.open(invocation, observer)
        if self._by_unary or call.alone:
            self._send_alone(call_id, call)
        else:
            self._queue.append(call_id)
            self._wake.set()
        return call_id

    def cancel(self, call: int) -> None:
        """See ports.HostLink."""
        found = self._calls.get(call)
        if found is None:
            return
        if not found.sent or found.lost:
            if found.unary is None and not found.lost:
                self._queue.remove(call)
            self._answer(call, self._calls.lost(found))
            _cancel(found.unary)
        elif found.unary is not None:
            found.cancelled = True
            found.unary.cancel()
        else:
            self._cancels.append(call)
            self._wake.set()

    def has_left(self, call: int) -> bool:
        """See ports.HostLink."""
        found = self._calls.get(call)
        return found is None or (found.sent and not found.lost)

    def hears_progress(self, call: int) -> bool:
        """See ports.HostLink."""
        found = self._calls.get(call)
        return found is not None and found.unary is None and not found.lost

    def retire(self, on_idle: Callable[[], object]) -> None:
        """Nobody will call any more: what waits goes back, what the host has may end; then `on_idle` is told, once."""
        self._on_idle, self._retired = on_idle, True
        self._set_state("draining")
        queue, self._queue = self._queue, []
        self._lose(queue)
        self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        if self._on_idle is not None and not self._calls:
            told, self._on_idle = self._on_idle, None
            told()

    def _send_alone(self, call_id: int, call: OpenCall) -> None:
        """By unary Invoke, as soon as the connection stands."""
        call.unary = watched(self._invoke_unary(call_id, call), partial(self._ended_alone, call_id, call))

    def _ended_alone(self, call_id: int, call: OpenCall, error: Exception | None) -> None:
        if error is not None:
            _log.error("a call of %s broke off", self._name, exc_info=error)
        self._answer_alone(call_id, self._calls.lost(call))

    def _answer_alone(self, call_id: int, answer: Answer) -> None:
        """No credits come with the answer that would say that there is room."""
        if self._answer(call_id, answer):
            self._on_change()

    async def run(self) -> None:
        """Keep the session open until cancelled; no fault of the host's or of ours ends that."""
        failures = 0
        try:
            async with self._connection.kept():
                while not self._by_unary:
                    failures = 0 if await self._session_once() else failures + 1
                    if not self._by_unary:
                        await asyncio.sleep(drawn_pause(failures, first=FIRST_BACKOFF, most=MAX_BACKOFF))
                self._connection_changed()
                queue, self._queue = self._queue, []
                for call_id in queue:
                    self._send_alone(call_id, self._calls[call_id])
                await asyncio.Event().wait()
        finally:
            self._set_state("broken")
            self._lose_all()
            self._log_batches()

    def _log_batches(self) -> None:
        if self.frames:
            mean = self.frame_calls / self.frames
            facts = {"instance_id": self._endpoint.instance_id, "calls_per_frame": round(mean, 1)}
            _log.info("sent %d calls in %d frames, %.1f each", self.frame_calls, self.frames, mean, extra=facts)

    async def _session_once(self) -> bool:
        """Whether it stood, and ended as sessions may end."""
        stream = self._stub.Session()
        was_ready = went_well = False
        try:
            async with asyncio.TaskGroup() as group:
                await self._greet(stream)
                was_ready = went_well = True
                self._set_state("ready")
                writer = group.create_task(self._write(stream))
                await self._read(stream)
                writer.cancel()
        except* grpc.aio.AioRpcError as errors:
            went_well = self._judge(first_of(errors), greeted=was_ready) and was_ready
        except* ProtocolBreach as errors:
            went_well = False
            self._breached(str(first_of(errors)))
        except* (TimeoutError, asyncio.InvalidStateError):
            if not was_ready and self._connection.stands:
                self._breached("it opens no session: no hello came")
        except* Exception as errors:  # noqa: BLE001 - the link outlives every mistake
            went_well = False
            _log.error("the session with %s broke off, it is opened anew", self._name, exc_info=first_of(errors))
        finally:
            stream.cancel()
            if not self._by_unary:
                self._set_state("broken")
                self._lose_all()
        _heed_cancellation()
        return went_well

    def _judge(self, error: BaseException, *, greeted: bool) -> bool:
        """Whether a session may end so."""
        assert isinstance(error, grpc.aio.AioRpcError)
        if error.code() is grpc.StatusCode.UNIMPLEMENTED and not greeted:
            self._by_unary = True
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and greeted:
            self._breached(f"a message cannot be taken: {(error.details() or '')[:MAX_NOTE]!r}")
            return False
        if not greeted and (refusal := refusal_of(error)):
            self._breached(refusal)
            return False
        _log.debug("session with %s ended: %s", self._name, error)
        return True

    def _breached(self, what: str) -> None:
        _log.warning(
            "%s broke the session protocol: %s; its session is over and opened anew",
            self._name,
            what,
            extra={"instance_id": self._endpoint.instance_id},
        )
        self._on_breach(what)

    async def _greet(self, stream: _Stream) -> None:
        hello = session_pb2.ClientHello(
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            caller_id=self._caller_id,
            incarnation=self._endpoint.incarnation,
        )
        async with patience(HELLO_DEADLINE):
            await stream.write(session_pb2.SessionRequest(hello=hello))
            first = await stream.read()
        if first is grpc.aio.EOF:
            raise TimeoutError
        self._credits = self._calls.greeted(check_greeting(first, self._endpoint, self._plugin_id))

    async def _read(self, stream: _Stream) -> None:
        while (frame := await stream.read()) is not grpc.aio.EOF:
            if not isinstance(frame, session_pb2.SessionResponse):
                raise ProtocolBreach("a message that cannot be read")
            self._take(frame)

    def _take(self, frame: session_pb2.SessionResponse) -> None:
        if frame.HasField("hello"):
            raise ProtocolBreach("it greets a second time")
        size = frame.ByteSize()
        check_numbers(frame, size)
        for call_id in frame.accepted:
            if (call := self._calls.sent(call_id, "a receipt")) is not None:
                call.accepted = True
        for progress in frame.progress:
            if (call := self._calls.sent(progress.call_id, "progress")) is not None:
                call.observer.progressed(*progress_of(progress))
        for result in frame.results:
            call = self._calls.sent(result.call_id, "a result")
            if call is None:
                raise ProtocolBreach(f"a second result for call {result.call_id}")
            if result.attempt != call.invocation.attempt:
                check_attempt(result, call.invocation)
            whose = (self._plugin_id, call.invocation.operation, self._endpoint.instance_id)
            self._answer(result.call_id, answer_of(result, whose, session=True, size=size))
        self._take_credits(frame)

    def _take_credits(self, frame: session_pb2.SessionResponse) -> None:
        self._credits += frame.credits
        if self._credits > MAX_CREDITS:
            raise ProtocolBreach(f"it grants {self._credits} credits")
        if frame.farewell:
            self._calls.leaves(frame.farewell)
        if frame.HasField("drain"):
            self._calls.leaves(f"it was being stopped ({frame.drain.reason or 'no reason given'})")
            self._set_state("draining")
            queue, self._queue = self._queue, []
            self._lose(queue)
        elif frame.credits or frame.results:
            if self._queue:
                self._wake.set()
            self._on_change()

    async def _write(self, stream: _Stream) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (frame := self._next_frame()) is not None:
                await stream.write(frame)

    def _next_frame(self) -> session_pb2.SessionRequest | None:
        """Whatever waits, as far as credits and the frame's size allow; None if nothing can go."""
        frame = session_pb2.SessionRequest()
        size = count = 0
        unwritten: list[int] = []
        for call_id in self._queue[: self._credits]:
            call = self._calls[call_id]
            count += 1
            if not add_invocation(frame, call.invocation, call_id, self._endpoint.incarnation):
                unwritten.append(call_id)
                continue
            call.sent = True
            self._calls.newest_sent = call_id
            size += call.size
            if size >= MAX_FRAME:
                break
        if not count and not self._cancels:
            return None
        del self._queue[:count]
        for call_id in unwritten:
            self._answer(call_id, unsayable(self._plugin_id, self._calls[call_id].invocation))
        count -= len(unwritten)
        self._credits -= count
        for call_id in self._cancels:
            frame.cancels.add().call_id = call_id
        self._cancels.clear()
        self.frames += 1
        self.frame_calls += count
        return frame

    async def _invoke_unary(self, call_id: int, call: OpenCall) -> None:
        if not self._connection.stands and not await self._connection.stood(PATIENCE):
            if not self._retired and self.usable:
                self._set_state("broken")  # before the call goes elsewhere: not to come back here
            self._answer_alone(call_id, self._calls.lost(call))
            return
        call.sent = call.accepted = True
        self._answer_alone(call_id, await self._alone.invoke(call_id, call.invocation))

    def _lose_all(self) -> None:
        self._queue.clear()
        self._cancels.clear()
        self._credits = 0
        self._lose(self._calls.end_session())

    def _lose(self, calls: Sequence[int]) -> None:
        for call_id in calls:
            self._calls.lose(call_id, self._answer)

    def _answer(self, call_id: int, answer: Answer) -> bool:
        """Whether the call was open."""
        was_open = self._calls.answer(call_id, answer)
        if was_open:
            self._look_whether_idle()
        return was_open

    def _connection_changed(self) -> None:
        """The connection stands, or cannot be had; on a session the session tells."""
        if self._by_unary and not self._retired:
            if self._connection.stands:
                self._set_state("ready")
            elif self._connection.lost:
                self._set_state("broken")

    def _set_state(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._on_change()


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()


def _heed_cancellation() -> None:
    """A task group one of whose tasks fails while it is cancelled reports the failure alone."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
