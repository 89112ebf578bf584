"""Takes calls on, runs as many as may run, and answers each of them once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.chassis.containment import contained
from forgemesh.faults import Code, Fault
from forgemesh.faults.plugin import (
    InstanceDraining,
    InstanceFull,
    InstanceReserved,
    OperationNotFound,
    PermitRefused,
    Poison,
    QueueTooLong,
)
from forgemesh.faults.service import Internal
from forgemesh.faults.workflow import Cancelled, StartToCloseTimeout
from forgemesh.metrics.catalogue import INVOCATION_DURATION
from forgemesh.metrics.instrument import Histogram
from forgemesh.plugin_host.host.calls.admission import Admission, Verdict
from forgemesh.plugin_host.host.calls.call import Call, Receiver
from forgemesh.plugin_host.host.calls.call_statistics import CallStatistics
from forgemesh.plugin_host.host.calls.codec import Outcome, cut, failure_of
from forgemesh.plugin_host.host.calls.lost_slots import LostSlots
from forgemesh.plugin_host.host.calls.operation_run import OperationRun
from forgemesh.plugin_host.host.calls.permits import UsedPermits
from forgemesh.plugin_host.host.calls.suspects import Suspects
from forgemesh.plugin_host.host.plugin.loader import Operation, Plugin
from forgemesh.plugin_host.host.plugin.threads import WorkerThreads
from forgemesh.plugin_host.host.telemetry.call_spans import CallSpans
from forgemesh.plugin_host.registration.identity import Identity
from forgemesh.plugin_host.running_calls import RunningCalls, digest_of

_log = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 16
DEFAULT_TIMEOUT = 60.0
_OUR_FAULT = frozenset((Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS))
STUCK = 5.0
LAST_WORDS = 0.5
"""Seconds that an operation has to end by itself when its call is taken back or its time is over."""


class CallRunner:
    """
    The calls of one host.

    Must be made and used on the event loop; `tasks` owns what runs. `tally` tells how the last ones went, `lost` which
    places are held by operations that go on `stuck` seconds after their calls were answered. What runs is written down
    in `record`; of the `suspects` one at a time runs, and nothing beside it.
    """

    def __init__(
        self,
        plugin: Plugin,
        identity: Identity,
        spans: CallSpans,
        tasks: asyncio.TaskGroup,
        *,
        queue_limit: int,
        out_of_memory: Callable[[str], None],
        stuck: float = STUCK,
        stuck_restart: float = 0.0,
        record: RunningCalls | None = None,
        suspects: Suspects | None = None,
    ) -> None:
        self._plugin = plugin
        self._identity = identity
        self._spans = spans
        self._tasks = tasks
        self._admission = Admission(plugin.definition.max_concurrency or DEFAULT_CONCURRENCY, queue_limit)
        self._permits = UsedPermits()
        self._execution = OperationRun(plugin.definition.plugin_id, out_of_memory)
        self._threads = WorkerThreads(self._admission.concurrency)
        self._waiting: deque[Call] = deque()
        self._record = record
        self._suspects = suspects if suspects is not None else Suspects()
        self._lone: Call | None = None
        """A suspect that runs alone, or waits until it can."""
        self._loop = asyncio.get_running_loop()
        self._blank = copy_context()
        self._draining = False
        self._drained = asyncio.Event()
        self.tally = CallStatistics()
        self.durations = Histogram(INVOCATION_DURATION)
        self.lost = LostSlots(self._admission.concurrency, after=stuck, patience=stuck_restart)

    @property
    def capacity(self) -> int:
        """How many calls this host takes at a time, its queue included."""
        return self._admission.concurrency + self._admission.queue

    @property
    def concurrency(self) -> int:
        """How many calls run at a time."""
        return self._admission.concurrency

    @property
    def running(self) -> int:
        """How many calls run now."""
        return self._admission.running

    @property
    def waiting(self) -> int:
        """How many calls wait behind them."""
        return self._admission.waiting

    def take(
        self,
        invocation: invocation_pb2.Invocation,
        receiver: Receiver,
        *,
        credited: bool,
        time_left: float | None = None,
    ) -> Call:
        """
        Take a call on; `receiver` is told its answer later, never from within.

        Raises InstanceDraining, WrongIncarnation, OperationNotFound, PermitRefused, Poison, InstanceReserved,
        InstanceFull or QueueTooLong instead. `time_left` (seconds) is what the transport allows, over and above what
        the invocation says.
        """
        if self._draining:
            raise InstanceDraining(self._identity.instance_id)
        self._identity.refuse_others(invocation.incarnation)
        operation = self._operation(invocation.operation)
        trial = invocation.HasField("permit")
        if trial:
            self._refuse_used(invocation)
        seconds = _seconds(invocation, operation, time_left)
        if self.lost.all:
            raise QueueTooLong(self._identity.instance_id, math.inf, seconds)
        digest = digest_of(invocation) if self._record is not None or self._suspects else b""
        lone = self._is_lone(invocation, digest)
        verdict = self._admit(seconds, credited=credited, lone=lone)
        if trial:  # not before: a permit whose call was refused is still good
            self._permits.use(*self._permit(invocation))
        call = Call(invocation, operation, receiver, self._spans.begin(invocation.traceparent), seconds)
        call.digest = digest
        call.timer = self._loop.call_later(seconds, self._expire, call)
        if lone:
            self._lone = call
        if verdict is Verdict.RUN:
            self._start(call)
        elif not lone:
            self._waiting.append(call)
        return call

    @property
    def refuses_poison(self) -> bool:
        """Whether somebody will know which calls ran when this process ended."""
        return self._record is not None

    def cancel(self, call: Call) -> None:
        """Nobody wants the call any more; without effect once it is answered."""
        step_path = call.invocation.step_path
        self._end_early(call, Cancelled(step_path), retryable=False)

    async def drain(self) -> None:
        """Take nothing on from now, and return when everything taken on has ended."""
        self._draining = True
        if not self._admission.idle:
            await self._drained.wait()

    def close(self) -> None:
        """End the threads, as far as their operations end."""
        self._threads.close()

    def _operation(self, name: str) -> Operation:
        operation = self._plugin.operations.get(name)
        if operation is None:
            raise OperationNotFound(self._plugin.definition.plugin_id, name, list(self._plugin.operations))
        return operation

    def _is_lone(self, invocation: invocation_pb2.Invocation, digest: bytes) -> bool:
        """Whether the call is to run alone; raises Poison if it is not to run, InstanceReserved if another one is."""
        suspect = self._suspects.get(digest)
        if suspect is not None and suspect.poison:
            plugin_id = self._plugin.definition.plugin_id
            raise Poison(plugin_id, invocation.operation, suspect.crashes, cut(suspect.last_words))
        if self._lone is not None:
            raise InstanceReserved(self._identity.instance_id)
        return suspect is not None and suspect.alone

    def _admit(self, seconds: float, *, credited: bool, lone: bool) -> Verdict:
        """Run or wait; raises InstanceFull and QueueTooLong. What is to run alone waits apart from the others."""
        if lone and not self._admission.idle:
            return Verdict.WAIT
        verdict = self._admission.arrive(credited=credited, seconds=seconds)
        if verdict is Verdict.REFUSE:
            raise InstanceFull(self._identity.instance_id, self._admission.running)
        if verdict is Verdict.TOO_LATE:
            raise QueueTooLong(self._identity.instance_id, self._admission.expected_wait, seconds)
        return verdict

    def _refuse_used(self, invocation: invocation_pb2.Invocation) -> None:
        if why := self._permits.refusal(*self._permit(invocation)):
            raise PermitRefused(self._identity.instance_id, cut(invocation.permit.permit_id), why)

    def _permit(self, invocation: invocation_pb2.Invocation) -> tuple[str, int, int, float]:
        permit = invocation.permit
        incarnation = invocation.incarnation or self._identity.incarnation
        return permit.permit_id, incarnation, permit.generation, time.monotonic()

    def refuse_waiting(self) -> None:
        """None of those that wait will get a place."""
        lone = [self._lone] if self._lone is not None and not self._lone.started else []
        for call in [*self._waiting, *lone]:
            self._end_early(call, QueueTooLong(self._identity.instance_id, math.inf, call.seconds), retryable=True)

    def _expire(self, call: Call) -> None:
        self._end_early(call, self._lateness(call), retryable=True)

    def _lateness(self, call: Call) -> Fault:
        """The operation has taken too long, or those before it have."""
        if call.started:
            return StartToCloseTimeout(call.invocation.step_path, call.seconds)
        wait = max(self._admission.expected_wait, call.seconds)
        return QueueTooLong(self._identity.instance_id, wait, call.seconds)

    def _end_early(self, call: Call, fault: Fault, *, retryable: bool) -> None:
        """Tell the operation, and answer when it has ended or has used up its last words."""
        if call.answer is not None or call.ending is not None:
            return
        failure = call.ending = failure_of(fault, call.invocation.step_path, retryable=retryable)
        if not call.started:
            if call is self._lone:
                self._lone = None
            else:
                self._admission.abandon()
                self._waiting.remove(call)
            self._finish(call, failure)
            return
        _cancel_timer(call)
        call.timer = self._loop.call_later(LAST_WORDS, self._leave, call, failure)
        if call.context is not None:
            call.context.cancel()
        if call.task is not None and call.begun:
            call.task.cancel()

    def _start(self, call: Call) -> None:
        call.started = time.monotonic_ns()
        if self._record is not None:
            self._record.begin(id(call), call.digest)
        call.receiver.begun(call)
        context = self._blank.copy()
        if call.operation.definition.asynchronous:
            call.task = self._tasks.create_task(self._run(call), context=context)
        else:
            self._threads.submit(
                lambda: context.run(self._run_in_thread, call), lambda error: self._end_from_thread(call, error)
            )

    async def _run(self, call: Call) -> None:
        call.begun = True
        if call.ending is not None:  # before its first step: a task cancelled then would never get here
            self._end(call, call.ending)
            return
        try:
            outcome = await self._execution.run(call)
        except asyncio.CancelledError:
            step_path = call.invocation.step_path
            self._end(call, failure_of(Cancelled(step_path), step_path, retryable=True))
            raise
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the operation's own are outcomes
            outcome = self._broken(call, error)
        self._end(call, outcome)

    def _leave(self, call: Call, failure: failure_pb2.Failure) -> None:
        """The call is over, and its operation goes on: others have to live with that."""
        if call is self._lone:
            self._lone = None
        self._answer(call, failure)
        self.lost.expect(call)

    def _run_in_thread(self, call: Call) -> None:
        call.thread = threading.get_ident()
        outcome: Outcome | BaseException
        try:
            outcome = self._execution.run_in_thread(call)
        except BaseException as error:  # noqa: BLE001 - the operation's own are outcomes; others throw some into it
            outcome = error
        self._end_from_thread(call, outcome)

    def _end_from_thread(self, call: Call, outcome: Outcome | BaseException) -> None:
        if isinstance(outcome, BaseException):
            outcome = self._broken(call, outcome)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end, call, outcome)

    def _end(self, call: Call, outcome: Outcome) -> None:
        """The operation no longer runs: its place goes to the next."""
        if call.ended:
            return
        if self._record is not None and not call.fatal:
            self._record.end(id(call))
        if call is self._lone:
            self._lone = None
        if self._admission.leave((time.monotonic_ns() - call.started) / 1e9):
            self._start_next(self._waiting.popleft())
        elif self._lone is not None and self._admission.idle:
            self._admission.arrive(credited=True)
            self._start_next(self._lone)
        try:
            self._finish(call, call.ending or outcome)
        except Exception:
            with contained(f"the answer to a call of {call.operation.definition.name}"):
                raise

    def _start_next(self, call: Call) -> None:
        try:
            self._start(call)
        except Exception as error:  # noqa: BLE001 - ends nothing but that call
            self._end(call, self._broken(call, error))

    def _broken(self, call: Call, error: BaseException) -> Outcome:
        """A bug of the host's own: whoever called hears of it, and the others do not."""
        incident = secrets.token_hex(4)
        _log.error("incident %s in a call of %s", incident, call.operation.definition.name, exc_info=error)
        return failure_of(Internal(incident), call.invocation.step_path, retryable=True)

    def _finish(self, call: Call, outcome: Outcome) -> None:
        call.ended = True
        self._answer(call, outcome)
        _cancel_timer(call)
        self.lost.found(call)
        call.receiver.released(call)
        call.context = call.task = call.timer = None  # they refer to the call
        if self._draining and self._admission.idle:
            self._drained.set()

    def _answer(self, call: Call, outcome: Outcome) -> None:
        if call.answer is not None:
            return
        _cancel_timer(call)
        call.finished = time.monotonic_ns()
        call.answer = outcome
        failure = call.failure
        latency = (call.finished - call.arrived) / 1e9
        self.tally.add(call.finished / 1e9, latency, failure is not None and failure.code in _OUR_FAULT)
        said = "ok" if failure is None else Code(failure.code).name.lower()
        trace_id = call.span.trace_id if call.span.recorded else b""
        self.durations.record(latency, (call.operation.definition.name, said), trace_id)
        self._spans.end(
            call.span,
            call.invocation,
            start=call.wall,
            end=call.wall + call.finished - call.arrived,
            queued=call.queued_micros,
            failure=failure,
        )
        call.receiver.answered(call)


def _seconds(invocation: invocation_pb2.Invocation, operation: Operation, time_left: float | None) -> float:
    """How long a call may take: what its caller says, or the operation, or the mesh; never beyond the transport."""
    if invocation.remaining_millis:
        said = invocation.remaining_millis / 1000
    else:
        said = operation.definition.timeout or DEFAULT_TIMEOUT
    return said if time_left is None else min(said, time_left)


def _cancel_timer(call: Call) -> None:
    if call.timer is not None:
        call.timer.cancel()
