"""What waits to be sent on a session, in the messages that will carry it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TypeAlias

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.plugin import Payload
from forgemesh.plugin_host.host.calls.call import Call

FRAME_BYTES = 1024 * 1024
_OVERHEAD = 64
"""Bytes of a result, or of a word of progress, besides what is of any length."""
_RECEIPT = 11
"""Bytes of a receipt at most."""


Told: TypeAlias = tuple[float, str, Payload | None]
"""How far a call is, what it says about that, and what its next attempt is to know."""


class Outgoing:
    """
    Results go straight into the message that will carry them.

    All that goes into a message counts, and no message has more than FRAME_BYTES, unless a single result has: that
    goes without anything else. `wake` is told whenever there is something new.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._closed: deque[tuple[session_pb2.SessionResponse, int]] = deque()
        """Each with the room that is left in it."""
        self._open = session_pb2.SessionResponse()
        self._results = self._open.results
        self._room = FRAME_BYTES
        self._accepted: dict[int, None] = {}
        self._progress: dict[int, Told] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._results or self._accepted or self._closed or self._progress)

    def accept(self, call_id: int) -> None:
        """The call was taken on; said only if its result does not come first."""
        self._accepted[call_id] = None

    def answer(self, call: Call) -> None:
        """The call has its outcome; if that is a failure, what it said for the next attempt goes with it."""
        call_id = call.invocation.call_id
        self._accepted.pop(call_id, None)
        said = self._progress.pop(call_id, None) if self._progress else None
        answer = call.answer
        if isinstance(answer, Payload):
            call.write(self._result(answer.size))
        elif answer is not None:
            told = said if said is not None and said[2] is not None else None
            call.write(self._result(answer.ByteSize() + (_size_of(told) if told is not None else 0)))
            if told is not None:
                _add(self._open, call_id, *told)
        self._wake()

    def refuse(self, invocation: invocation_pb2.Invocation, failure: failure_pb2.Failure) -> None:
        """The call was not taken on."""
        result = self._result(failure.ByteSize())
        result.call_id = invocation.call_id
        result.attempt = invocation.attempt
        result.failure.CopyFrom(failure)
        self._wake()

    def progress(self, call_id: int, fraction: float, note: str, details: Payload | None = None) -> None:
        """The newest word of a call takes the place of its older ones; without details theirs stay."""
        if details is None and call_id in self._progress:
            details = self._progress[call_id][2]
        self._progress[call_id] = (fraction, note, details)
        self._wake()

    def take(self) -> session_pb2.SessionResponse:
        """The next message, empty if nothing is waiting."""
        if self._closed:
            message, room = self._closed.popleft()
        else:
            message, room = self._open, self._room
            self._renew()
        if self._accepted:
            room = self._take_receipts(message, room)
        if self._progress:
            self._take_progress(message, room)
        return message

    def _take_receipts(self, message: session_pb2.SessionResponse, room: int) -> int:
        """As many as there is room for; the rest stays for the next message. What room is left."""
        fitting = max(0, room // _RECEIPT)
        if len(self._accepted) <= fitting:
            taken = list(self._accepted)
            self._accepted.clear()
        else:
            taken = list(islice(self._accepted, fitting))
            for call_id in taken:
                del self._accepted[call_id]
        message.accepted.extend(taken)
        return room - len(taken) * _RECEIPT

    def _take_progress(self, message: session_pb2.SessionResponse, room: int) -> None:
        """As much as there is room for; the rest stays for the next message."""
        while self._progress:
            call_id, told = next(iter(self._progress.items()))
            room -= _size_of(told)
            if room < 0:
                return
            del self._progress[call_id]
            _add(message, call_id, *told)

    def _result(self, size: int) -> invocation_pb2.InvocationResult:
        size += _OVERHEAD
        if size > self._room and self._room < FRAME_BYTES:
            self._closed.append((self._open, self._room))
            self._renew()
        self._room -= size
        return self._results.add()

    def _renew(self) -> None:
        self._open = session_pb2.SessionResponse()
        self._results = self._open.results
        self._room = FRAME_BYTES


def _size_of(told: Told) -> int:
    _, note, details = told
    return _OVERHEAD + len(note.encode()) + (details.size if details is not None else 0)


def _add(
    message: session_pb2.SessionResponse, call_id: int, fraction: float, note: str, details: Payload | None
) -> None:
    progress = message.progress.add(call_id=call_id, fraction=fraction, note=note)
    if details is not None:
        progress.details.media_type = details.media_type
        progress.details.data = details.data
        progress.details.metadata.update(details.metadata)
