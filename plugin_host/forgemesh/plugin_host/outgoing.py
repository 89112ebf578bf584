"""What waits to be sent on a session, in the messages that will carry it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.plugin import Payload
from forgemesh.plugin_host.call import Call

FRAME_BYTES = 1024 * 1024
_OVERHEAD = 64


class Outgoing:
    """
    Results go straight into the message that will carry them; a message is closed at about FRAME_BYTES.

    `wake` is told whenever there is something new.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._closed: deque[session_pb2.SessionResponse] = deque()
        self._open = session_pb2.SessionResponse()
        self._results = self._open.results
        self._room = FRAME_BYTES
        self._accepted: dict[int, None] = {}
        self._progress: dict[int, tuple[float, str]] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._results or self._accepted or self._closed or self._progress)

    def accept(self, call_id: int) -> None:
        """The call was taken on; said only if its result does not come first."""
        self._accepted[call_id] = None

    def answer(self, call: Call) -> None:
        """The call has its outcome."""
        self._forget(call.invocation.call_id)
        answer = call.answer
        call.write(self._result(len(answer.data) if isinstance(answer, Payload) else 0))
        self._wake()

    def refuse(self, invocation: invocation_pb2.Invocation, failure: failure_pb2.Failure) -> None:
        """The call was not taken on."""
        result = self._result(0)
        result.call_id = invocation.call_id
        result.attempt = invocation.attempt
        result.failure.CopyFrom(failure)
        self._wake()

    def progress(self, call_id: int, fraction: float, note: str) -> None:
        """The newest word of a call takes the place of its older ones."""
        self._progress[call_id] = (fraction, note)
        self._wake()

    def take(self) -> session_pb2.SessionResponse:
        """The next message, empty if nothing is waiting."""
        if self._closed:
            message = self._closed.popleft()
        else:
            message = self._open
            self._renew()
        if self._accepted:
            message.accepted.extend(self._accepted)
            self._accepted.clear()
        for call_id, (fraction, note) in self._progress.items():
            message.progress.add(call_id=call_id, fraction=fraction, note=note)
        self._progress.clear()
        return message

    def _result(self, size: int) -> invocation_pb2.InvocationResult:
        size += _OVERHEAD
        if size > self._room and self._room < FRAME_BYTES:
            self._closed.append(self._open)
            self._renew()
        self._room -= size
        return self._results.add()

    def _renew(self) -> None:
        self._open = session_pb2.SessionResponse()
        self._results = self._open.results
        self._room = FRAME_BYTES

    def _forget(self, call_id: int) -> None:
        self._accepted.pop(call_id, None)
        self._progress.pop(call_id, None)
