"""Starting executions: for callers, for steps that wait for one, and as forks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from forgemesh.chassis.callers import caller
from forgemesh.chassis.turnstile import Turnstile
from forgemesh.faults import Fault
from forgemesh.faults.control import ConcurrencyExceeded
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import ExecutionExists, ExecutionNotFound, ExecutionSuspended
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.commands.pending_requests import Hold, RequestsUnderWay
from forgemesh.orchestrator.execution.concurrency_key import concurrency_key
from forgemesh.orchestrator.execution.engine.children import link_to
from forgemesh.orchestrator.execution.engine.concurrency_slots import ConcurrencySlots, SlotDecision
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.owners import Elsewhere, Ended, Local, Owners
from forgemesh.orchestrator.execution.engine.run_ids import new_run_id, new_ulid
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.family import begun_as
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.ports.starts import Created, IdReuse, Request
from forgemesh.orchestrator.execution.queries.executions import Executions
from forgemesh.orchestrator.execution.recorded import Recorded
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState
from forgemesh.orchestrator.values.digest import Part, text_of
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.identifiers import check_start
from forgemesh.orchestrator.values.payload import Payload, check_size, content_of_payload, json_payload
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Child, Definition
from forgemesh.orchestrator.workflow.definitions import Definitions
from forgemesh.orchestrator.workflow.expressions.template import evaluate
from forgemesh.orchestrator.workflow.input_check import check_input

MAX_WAIT = 600.0
HOLD = 5.0
"""Seconds for which only newcomers are let to the store while a crowd arrives."""
TOGETHER = 32
"""Starts that go to the store at a time, and share its commits; the others wait for their caller's turn."""
MAKES_ROOM = "another one was started under its id"


@dataclass(frozen=True, slots=True)
class CallerTrace:
    """The caller's trace context: raw ids, and whether its trace is recorded."""

    trace_id: bytes
    span_id: bytes
    sampled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """
    What a start asks for; empty texts are what the caller left out, `wait` is in seconds.

    `linked_span` ("<trace>-<span>") is what the execution's own trace links to, if it adopts no caller's. `results` are
    those of a fork's origin. `check` is asked in the moment in which the start goes into the queue of writes, and only
    if there is something to write: what it raises, the start raises, and nothing is started. `asked` is what a request
    asked for that is not a start as such.
    """

    namespace: str
    workflow: str
    version: str = ""
    execution_id: str = ""
    request_id: str = ""
    input: Payload
    wait: float = 0.0
    caller: CallerTrace | None = None
    reuse: IdReuse = IdReuse.REJECT_DUPLICATE
    conflict: Literal["fail", "use_existing", "terminate_existing"] = "fail"
    priority: int = 0
    signal: e.SignalReceived | None = None
    paused: bool = False
    origin: e.Origin | None = None
    linked_span: str = ""
    facts: Sequence[e.Fact] = field(default=(), compare=False)
    check: Callable[[], None] = field(default=lambda: None, compare=False)
    asked: Part = None

    def content(self) -> str:
        """
        A hash of all that must be the same when a request id comes again.

        How long the answer may wait and the caller's trace are of the call and not of what it asks for.
        """
        if self.asked is not None:
            return text_of(self.asked)
        signal = self.signal
        return text_of(
            "start",
            self.workflow,
            self.version,
            self.execution_id,
            content_of_payload(self.input),
            None if signal is None else (signal.name, signal.signal_id, content_of_payload(signal.payload)),
            self.priority,
            self.paused,
            self.reuse.value,
            self.conflict,
        )

    def earlier_content(self) -> str:
        """The hash that a release before this one kept, which left out a part of what was asked for."""
        metadata = (fact for pair in sorted(self.input.metadata.items()) for fact in pair)
        signal = (self.signal.name, self.signal.signal_id) if self.signal is not None else ()
        parts = (self.workflow, self.version, self.execution_id, self.input.media_type, *metadata, *signal)
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + self.input.data).hexdigest()


class Starts:
    """
    What a start answers is durable; the same request id gets the same answer.

    `under_way` are the requests of a namespace whatever they ask for: other commands with request ids share it.
    """

    def __init__(
        self,
        store: HistoryStore,
        engine: Engine,
        owners: Owners,
        definitions: Definitions,
        executions: Executions,
        concurrency_slots: ConcurrencySlots,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._engine = engine
        self._owners = owners
        self._definitions = definitions
        self._executions = executions
        self._concurrency_slots = concurrency_slots
        self._now = now
        self.under_way = RequestsUnderWay()
        self.turnstile = Turnstile(TOGETHER, hold=HOLD)

    async def start(self, request: StartRequest) -> tuple[ExecutionState, bool]:
        """The execution, and whether this request started it."""
        signal_name = request.signal.name if request.signal is not None else None
        check_start(request.namespace, request.workflow, request.execution_id, request.request_id, signal_name)
        if self._engine.stopping:
            raise ShuttingDown("the orchestrator")
        async with self.under_way.alone(request.namespace, request.request_id) as hold:
            created, state = await self._decide(request, hold)
        return await self._answer(request, created, state)

    async def answered(self, request: StartRequest) -> tuple[ExecutionState, bool] | None:
        """
        What a request with this id and content has got before, whatever has changed since; raises RequestIdReused.

        None also for what an older release has answered, unless all is known that it would have kept of the request.
        """
        if not request.request_id:
            return None
        whole = request.earlier_content if request.workflow else None
        asked = Request(request.request_id, request.content(), bool(request.execution_id), earlier_content=whole)
        earlier = await self._store.started_by(request.namespace, asked)
        return await self._answer(request, earlier, None) if earlier is not None else None

    async def _decide(self, request: StartRequest, hold: Hold) -> tuple[Created, ExecutionState | None]:
        asked = Request(
            request.request_id,
            request.content() if request.request_id else "",
            bool(request.execution_id),
            request.reuse,
            request.earlier_content,
        )
        try:
            stored = await self._definitions.find(request.namespace, request.workflow, request.version)
            check_input(stored.definition, request.input)
            if request.signal is not None:
                check_size(request.signal.payload, f"the signal {request.signal.name!r}")
        except Fault:  # a request that was answered before gets that answer, whatever has changed since
            earlier = await self._store.started_by(request.namespace, asked) if request.request_id else None
            if earlier is None:
                raise
            return earlier, None
        if request.execution_id and request.conflict != "fail":
            # a request that comes again must neither end nor signal the execution that it started
            earlier = await self._store.started_by(request.namespace, asked) if request.request_id else None
            existing = earlier or await self._existing(request, asked, hold)
            if existing is not None:
                return existing, None
            if await self._made_room(request):  # the reuse policy is about those that had ended before
                asked = replace(asked, reuse=IdReuse.ALLOW_DUPLICATE)
        return await self._write(stored.definition, request, asked)

    async def _answer(
        self, request: StartRequest, created: Created, state: ExecutionState | None
    ) -> tuple[ExecutionState, bool]:
        if state is not None and created.created and not request.wait:
            return state, True
        name = request.namespace, created.execution_id, created.run_id
        match await self._owners.find(*name):
            case Local(running):
                await _wait(running, request.wait)
                found = running.state if running.ended else await self._executions.now(running)
                return found, created.created
            case Elsewhere(row) | Ended(row):
                return await self._executions.stored(row), created.created

    async def start_child(
        self, running: Running, step: StepState, wanted: Callable[[], object], permit: Callable[[], None]
    ) -> ExecutionState | None:
        """See children.ChildStarter."""
        parent = running.state
        assert step.started is not None
        request = replace(_of_child(running, step), check=permit)
        row = await self._store.find(parent.namespace, step.started.child_id)
        if row is not None and row.parent_run not in _runs_of(running):
            row = await self._ended_before(request, running)
        if row is None:
            wanted()
            state, _ = await self.start(request)
        else:
            state = await self._executions.get(parent.namespace, row.execution_id, row.run_id)
        return state if state.status.final else None

    async def _ended_before(self, request: StartRequest, parent: Running) -> ExecutionRow:
        """
        A child whose id another execution has got since. Raises ExecutionExists if there is none: the id was taken.
        """
        asked = Request(request.request_id, request.content(), id_chosen=True)
        earlier = await self._store.started_by(request.namespace, asked)
        row = await self._store.find_run(earlier.run_id) if earlier is not None else None
        if row is None or row.parent_run not in _runs_of(parent):
            raise ExecutionExists(request.execution_id)
        return row

    async def _existing(self, request: StartRequest, asked: Request, hold: Hold) -> Created | None:
        """What the id conflict policy says about an open execution of that id; the answer is recorded with it."""
        try:
            found = await self._owners.find(request.namespace, request.execution_id)
        except ExecutionNotFound:
            return None
        match found:
            case Ended():
                return None
            case Elsewhere():
                raise ExecutionSuspended(request.execution_id)
            case Local(running):
                return await self._take_existing(request, asked, hold, running)

    async def _take_existing(
        self, request: StartRequest, asked: Request, hold: Hold, running: Running
    ) -> Created | None:
        """It is told the signal, or ends to make room."""
        if request.conflict == "terminate_existing":
            await self._engine.command(running, lambda state: control.terminate(state, "", MAKES_ROOM))
            await running.left.wait()
            return None
        signal, answer = request.signal, None
        if asked.request_id:
            answer = Recorded(
                namespace=request.namespace,
                request_id=asked.request_id,
                content=asked.content,
                at=self._now(),
                execution_key=running.key,
            )
        try:
            await self._engine.command(
                running, lambda state: control.signal(state, signal) if signal is not None else (), answer
            )
        except asyncio.CancelledError:
            if running.written is not None:
                hold.until(running.written)
            raise
        return Created(running.key, request.execution_id, False, 0, running.state.run_id)

    async def _made_room(self, request: StartRequest) -> bool:
        """Whether the execution of that id was ended for a start that never came to be, be it this one or another."""
        if request.conflict != "terminate_existing":
            return False
        row = await self._store.find(request.namespace, request.execution_id)
        if row is None or row.status is not Status.TERMINATED:
            return False
        ended = await self._executions.get(request.namespace, row.execution_id, row.run_id)
        return ended.failure is not None and ended.failure.metadata.get("why") == MAKES_ROOM

    async def _write(
        self, definition: Definition, request: StartRequest, asked: Request
    ) -> tuple[Created, ExecutionState | None]:
        execution_id = request.execution_id or new_ulid()
        key = _concurrency_key(definition, request, execution_id)
        concurrency_slots = self._concurrency_slots
        entry = SlotDecision()

        def first() -> list[e.Fact]:
            nonlocal entry
            request.check()
            if key:
                entry = concurrency_slots.enter(definition, key, execution_id)
            return self._facts(definition, request, execution_id, key, entry)

        def settled(written: Future[Created]) -> None:
            if not key:
                return
            if written.cancelled() or written.exception() is not None:
                concurrency_slots.forget(definition, key, execution_id)
            else:
                concurrency_slots.give_way(definition, entry, f"execution {execution_id} took its place")

        async with self.turnstile.passing(caller()):
            return await self._engine.start(definition, execution_id, first, asked, settled)

    def _facts(
        self, definition: Definition, request: StartRequest, execution_id: str, key: str, entry: SlotDecision
    ) -> list[e.Fact]:
        """The first facts of a new execution."""
        run_id = new_run_id() if request.execution_id else execution_id  # an id made here never was anybody else's
        started = _started(definition, request, run_id, self._now(), key, queued=entry.queued)
        facts: list[e.Fact] = [started, *request.facts]
        if entry.refused:
            limit = definition.concurrency.limit if definition.concurrency is not None else 0
            fault = ConcurrencyExceeded(execution_id, key, limit)
            return [started, e.ExecutionFailed(failure_of(fault), "CANCELLED")]
        if request.signal is not None:
            facts.append(request.signal)
        if request.paused:
            facts.append(e.PauseRequested(reason="it was started paused"))
        return facts


async def _wait(running: Running, seconds: float) -> None:
    """Until it has ended or left, for that long at most."""
    if seconds:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, MAX_WAIT)):
                await running.left.wait()


def _started(
    definition: Definition, request: StartRequest, run_id: str, now: int, key: str, *, queued: bool
) -> e.ExecutionStarted:
    """A sampled caller's trace is adopted; otherwise a trace is minted, and linked to an unsampled caller's."""
    caller = request.caller
    adopted = caller is not None and caller.sampled
    linked = request.linked_span
    if caller is not None and not adopted:
        linked = f"{caller.trace_id.hex()}-{caller.span_id.hex()}"
    return e.ExecutionStarted(
        workflow=definition.name,
        workflow_version=definition.version,
        content_hash=definition.content_hash,
        input=request.input,
        trace_id=caller.trace_id if caller is not None and adopted else secrets.token_bytes(16),
        parent_span_id=caller.span_id if caller is not None and adopted else b"",
        sampled=True,
        linked_span=linked,
        deadline=now + round(definition.timeout * SECOND) if definition.timeout is not None else 0,
        priority=request.priority,
        concurrency_key=key,
        queued=queued,
        origin=request.origin,
        run_id=run_id,
    )


def _concurrency_key(definition: Definition, request: StartRequest, execution_id: str) -> str:
    """Raises ExpressionError and ConcurrencyKeyInvalid if the input does not give one."""
    if definition.concurrency is None:
        return ""

    def read(variable: str) -> Payload:
        if variable == "input":
            return request.input
        return json_payload(
            {
                "id": execution_id,
                "namespace": definition.namespace,
                "workflow": definition.name,
                "version": definition.version,
            }
        )

    return concurrency_key(definition.name, evaluate(definition.concurrency.key, read))


def _runs_of(parent: Running) -> tuple[str, ...]:
    """The runs whose children are the execution's own."""
    return (parent.state.run_id, begun_as(parent.state)) if parent.heir else (parent.state.run_id,)


def _of_child(running: Running, step: StepState) -> StartRequest:
    """What starts the execution of the step's newest attempt; the same however often it is tried."""
    parent = running.state
    assert isinstance(step.step, Child)
    assert step.started is not None
    assert step.input is not None
    child_id = step.started.child_id
    of_this_run = f"{child_id} {parent.started_at}"  # the parent's id may have been in use before
    if parent.imported:  # and so may its whole history
        of_this_run = f"{of_this_run} {parent.run_id}"
    return StartRequest(
        namespace=parent.namespace,
        workflow=step.step.workflow,
        version=step.step.version,
        execution_id=child_id,
        request_id=f"child-{hashlib.sha256(of_this_run.encode()).hexdigest()}",
        reuse=IdReuse.ALLOW_DUPLICATE,
        input=step.input,
        priority=parent.started.priority if parent.started is not None else 0,
        origin=e.Origin(
            parent_id=parent.execution_id,
            parent_run=parent.run_id,
            parent_path=step.path,
            parent_attempt=step.attempts,
            root_run=running.kin.root,
            generation=running.kin.generation + 1,
            on_close=step.step.on_close,
        ),
        linked_span=link_to(parent, step),
    )
