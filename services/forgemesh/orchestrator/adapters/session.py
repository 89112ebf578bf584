"""The link to one incarnation of a plugin instance: one coalescing session, and unary Invoke where that fits better."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import grpc

from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2, plugin_service_pb2_grpc, session_pb2
from forgemesh.chassis.channel import MEBIBYTE, connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import ForeignFault, code_of
from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.adapters.invocation_codec import answer_of, details_of, write_invocation
from forgemesh.orchestrator.domain.failure import failure_of
from forgemesh.orchestrator.domain.retry import FAILOVER, RETRYABLE
from forgemesh.orchestrator.ports import Answer, Caller, Invocation
from forgemesh.routing.endpoint import Endpoint

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceAsyncStub

_log = logging.getLogger(__name__)

PROTOCOL = 1
MAX_INLINE = 256 * 1024
"""Bytes of input above which a call goes by Invoke, so that it does not hold up the session."""
MAX_FRAME = MEBIBYTE
HELLO_DEADLINE = 5.0
UNARY_SLACK = 1.0
MAX_NOTE = 1024
"""Characters of what a plugin says about its progress."""
MAX_DETAILS = 64 * 1024
"""Bytes of what a plugin wants its next attempt to know; larger ones are not kept."""
MAX_BACKOFF = 2.0

_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a call gets whose server is cut off or stops, without a word of the server's own."""

_Stream: TypeAlias = grpc.aio.StreamStreamCall[session_pb2.SessionRequest, session_pb2.SessionResponse]


@dataclass(slots=True)
class _Call:
    invocation: Invocation
    caller: Caller
    size: int
    sent: bool = False
    accepted: bool = False
    unary: asyncio.Task[None] | None = None


class SessionLink:
    """
    See ports.HostLink. Opens its session at once and again whenever it breaks, for as long as `run` runs.

    A call that waits when the session breaks or drains, or that the host had when it breaks, is answered with HOST_LOST
    in that moment; the answer says whether it had been sent.
    """

    def __init__(
        self, endpoint: Endpoint, caller_id: str, on_change: Callable[[], None], plugin_id: str = "plugin"
    ) -> None:
        self._endpoint = endpoint
        self._plugin_id = plugin_id
        self._caller_id = caller_id
        self._on_change = on_change
        self._calls: dict[int, _Call] = {}
        self._queue: list[int] = []
        self._cancels: list[int] = []
        self._next = 0
        self._credits = 0
        self._wake = asyncio.Event()
        self._state = "connecting"
        self._by_unary = not endpoint.session
        self._on_idle: Callable[[], object] | None = None
        self._channel = connect(endpoint.address, keepalive=endpoint.session)
        self._stub: PluginServiceAsyncStub = plugin_service_pb2_grpc.PluginServiceStub(self._channel)
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

    def invoke(self, invocation: Invocation, caller: Caller) -> int:
        """See ports.HostLink."""
        self._next += 1
        call_id = self._next
        call = self._calls[call_id] = _Call(invocation, caller, invocation.input.size)
        if self._by_unary or call.size > MAX_INLINE:
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
        if found.unary is not None:
            found.unary.cancel()
        elif not found.sent:
            self._queue.remove(call)
            self._answer(call, self._lost(found))
        else:
            self._cancels.append(call)
            self._wake.set()

    def has_left(self, call: int) -> bool:
        """See ports.HostLink."""
        found = self._calls.get(call)
        return found is None or found.sent

    def hears_progress(self, call: int) -> bool:
        """See ports.HostLink."""
        found = self._calls.get(call)
        return found is not None and found.unary is None

    def retire(self, on_idle: Callable[[], object]) -> None:
        """Nobody will call any more: what waits goes back, what the host has may end; then `on_idle` is told, once."""
        self._on_idle = on_idle
        self._set_state("draining")
        queue, self._queue = self._queue, []
        self._lose(queue)
        self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        if self._on_idle is not None and not self._calls:
            told, self._on_idle = self._on_idle, None
            told()

    def _send_alone(self, call_id: int, call: _Call) -> None:
        """By unary Invoke: what becomes of it is unknown from here on until the answer."""
        call.sent = call.accepted = True
        call.unary = asyncio.create_task(self._invoke_unary(call_id, call))
        call.unary.add_done_callback(lambda _: self._answer_alone(call_id, self._lost(call)))

    def _answer_alone(self, call_id: int, answer: Answer) -> None:
        """No credits come with the answer that would say that there is room."""
        if self._answer(call_id, answer):
            self._on_change()

    async def run(self) -> None:
        """Keep the session open until cancelled."""
        failures = 0
        async with self._channel:
            try:
                while not self._by_unary:
                    was_ready = await self._session_once()
                    failures = 0 if was_ready else failures + 1
                    if not self._by_unary:
                        await asyncio.sleep(random.uniform(0, min(MAX_BACKOFF, 0.1 * 2**failures)))
                self._set_state("ready")
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
        stream = self._stub.Session()
        was_ready = False
        try:
            async with asyncio.TaskGroup() as group:
                await self._greet(stream)
                was_ready = True
                self._set_state("ready")
                writer = group.create_task(self._write(stream))
                await self._read(stream)
                writer.cancel()
        except* grpc.aio.AioRpcError as errors:
            self._judge(errors)
        except* (TimeoutError, asyncio.InvalidStateError):
            pass
        finally:
            stream.cancel()
            if not self._by_unary:
                self._set_state("broken")
                self._lose_all()
        _heed_cancellation()
        return was_ready

    def _judge(self, errors: BaseExceptionGroup[grpc.aio.AioRpcError]) -> None:
        error = errors.exceptions[0]
        if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            self._by_unary = True
        _log.debug("session with %s ended: %s", self._endpoint.instance_id, error)

    async def _greet(self, stream: _Stream) -> None:
        hello = session_pb2.ClientHello(
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            caller_id=self._caller_id,
            incarnation=self._endpoint.incarnation,
        )
        async with asyncio.timeout(HELLO_DEADLINE):
            await stream.write(session_pb2.SessionRequest(hello=hello))
            first = await stream.read()
        if not isinstance(first, session_pb2.SessionResponse) or not first.HasField("hello"):
            raise TimeoutError
        self._credits = first.credits

    async def _read(self, stream: _Stream) -> None:
        while True:
            frame = await stream.read()
            if not isinstance(frame, session_pb2.SessionResponse):
                return
            for call_id in frame.accepted:
                if call_id in self._calls:
                    self._calls[call_id].accepted = True
            self._credits += frame.credits
            for progress in frame.progress:
                self._progress(progress)
            for result in frame.results:
                self._take(result)
            if frame.HasField("drain"):
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
        for call_id in self._queue[: self._credits]:
            call = self._calls[call_id]
            call.sent = True
            write_invocation(frame.invocations.add(), call.invocation, call_id, self._endpoint.incarnation)
            size += call.size
            count += 1
            if size >= MAX_FRAME:
                break
        if not count and not self._cancels:
            return None
        self._credits -= count
        del self._queue[:count]
        for call_id in self._cancels:
            frame.cancels.add().call_id = call_id
        self._cancels.clear()
        self.frames += 1
        self.frame_calls += count
        return frame

    async def _invoke_unary(self, call_id: int, call: _Call) -> None:
        request = plugin_service_pb2.InvokeRequest()
        write_invocation(request.invocation, call.invocation, call_id, self._endpoint.incarnation)
        try:
            response = await self._stub.Invoke(request, timeout=call.invocation.remaining + UNARY_SLACK)
            answer = self._read_answer(call, response.result, session=False)
        except grpc.aio.AioRpcError as error:
            answer = self._refusal(error)
        self._answer_alone(call_id, answer)

    def _take(self, result: invocation_pb2.InvocationResult) -> None:
        call = self._calls.get(result.call_id)
        if call is not None:
            self._answer(result.call_id, self._read_answer(call, result, session=True))

    def _read_answer(self, call: _Call, result: invocation_pb2.InvocationResult, *, session: bool) -> Answer:
        operation, instance_id = call.invocation.operation, self._endpoint.instance_id
        return answer_of(result, self._plugin_id, operation, instance_id, session=session)

    def _refusal(self, error: grpc.aio.AioRpcError) -> Answer:
        fault = from_rpc_error(error)
        if isinstance(fault, ForeignFault) and error.code() in _GONE:
            lost = HostLost(self._endpoint.instance_id, accepted=True)
            return Answer(None, failure_of(lost, retryable=True), session=False)
        retryable = fault.reason in FAILOVER or code_of(fault) in RETRYABLE
        unknown = isinstance(fault, ForeignFault)
        return Answer(None, failure_of(fault, retryable=retryable), accepted=unknown, session=False)

    def _lost(self, call: _Call) -> Answer:
        fault = HostLost(self._endpoint.instance_id, accepted=call.accepted)
        failure = failure_of(fault, retryable=True)
        return Answer(None, failure, accepted=call.accepted, session=call.unary is None, sent=call.sent)

    def _lose_all(self) -> None:
        self._queue.clear()
        self._cancels.clear()
        self._credits = 0
        self._lose([call_id for call_id, call in self._calls.items() if call.unary is None])

    def _lose(self, calls: Sequence[int]) -> None:
        for call_id in calls:
            call = self._calls.get(call_id)
            if call is not None:
                self._answer(call_id, self._lost(call))

    def _answer(self, call_id: int, answer: Answer) -> bool:
        """Whether the call was open."""
        call = self._calls.pop(call_id, None)
        if call is not None:
            call.caller.answered(answer)
            self._look_whether_idle()
        return call is not None

    def _progress(self, progress: session_pb2.Progress) -> None:
        call = self._calls.get(progress.call_id)
        if call is not None:
            fraction = min(1.0, max(0.0, progress.fraction))  # NaN is 0
            call.caller.progressed(fraction, progress.note[:MAX_NOTE], details_of(progress, MAX_DETAILS))

    def _set_state(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._on_change()


def _heed_cancellation() -> None:
    """A task group one of whose tasks fails while it is cancelled reports the failure alone."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
