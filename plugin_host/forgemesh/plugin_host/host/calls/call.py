"""One call in the host, from its arrival to the end of its operation."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.plugin import Context, Payload
from forgemesh.plugin_host.host.calls.codec import Outcome
from forgemesh.plugin_host.host.plugin.loader import Operation
from forgemesh.plugin_host.host.telemetry.call_spans import CallSpan


class Receiver(Protocol):
    """Who is told what becomes of a call."""

    def begun(self, call: Call) -> None:
        """The operation begins to run; told once, at most."""

    def answered(self, call: Call) -> None:
        """The outcome is known; told once."""

    def released(self, call: Call) -> None:
        """The operation no longer runs; told once, with the answer or after it."""

    def progressed(self, call: Call, fraction: float, note: str, details: Payload | None) -> None:
        """The operation says how far it is."""


class Call:
    """
    The state of one call.

    It is *answered* when its outcome is known and *ended* when its operation no longer runs: an operation that goes on
    after its time is over, or after it was taken back, is answered without and still fills its place. It is *fatal* if
    its process ends because of it.
    """

    __slots__ = (
        "answer",
        "arrived",
        "begun",
        "context",
        "digest",
        "ended",
        "ending",
        "fatal",
        "finished",
        "invocation",
        "operation",
        "receiver",
        "seconds",
        "span",
        "started",
        "task",
        "thread",
        "timer",
        "wall",
    )

    def __init__(
        self,
        invocation: invocation_pb2.Invocation,
        operation: Operation,
        receiver: Receiver,
        span: CallSpan,
        seconds: float,
    ) -> None:
        self.invocation = invocation
        self.operation = operation
        self.receiver = receiver
        self.span = span
        self.seconds = seconds
        self.digest = b""
        self.wall = time.time_ns()
        self.arrived = time.monotonic_ns()
        self.started = 0
        self.finished = 0
        self.begun = False
        self.ended = False
        self.fatal = False
        self.answer: Outcome | None = None
        self.ending: failure_pb2.Failure | None = None
        self.context: Context | None = None
        self.task: asyncio.Task[None] | None = None
        self.thread = 0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def queued_micros(self) -> int:
        """How long it waited for its place."""
        return ((self.started or self.finished) - self.arrived) // 1000

    @property
    def failure(self) -> failure_pb2.Failure | None:
        """Why it failed, if it did."""
        return self.answer if isinstance(self.answer, failure_pb2.Failure) else None

    def write(self, result: invocation_pb2.InvocationResult) -> None:
        """Fill in an empty message."""
        result.call_id = self.invocation.call_id
        result.attempt = self.invocation.attempt
        result.queued_micros = self.queued_micros
        result.ran_micros = (self.finished - self.started) // 1000 if self.started else 0
        answer = self.answer
        if isinstance(answer, Payload):
            output = result.output
            output.media_type = answer.media_type
            output.data = answer.data
            if answer.metadata:
                output.metadata.update(answer.metadata)
        elif answer is not None:
            result.failure.CopyFrom(answer)
