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

from ulid import ULID

from forgemesh.faults import Fault
from forgemesh.faults.control import ConcurrencyExceeded
from forgemesh.faults.service import ShuttingDown
from forgemesh.orchestrator.application.children import link_to
from forgemesh.orchestrator.application.definitions import Definitions
from forgemesh.orchestrator.application.engine import Engine
from forgemesh.orchestrator.application.executions import Executions
from forgemesh.orchestrator.application.identifiers import check_start, new_run_id
from forgemesh.orchestrator.application.input_check import check_input
from forgemesh.orchestrator.application.places import Entry
from forgemesh.orchestrator.domain import control, events as e
from forgemesh.orchestrator.domain.concurrency_key import concurrency_key
from forgemesh.orchestrator.domain.definition import Child, Definition
from forgemesh.orchestrator.domain.failure import failure_of
from forgemesh.orchestrator.domain.payload import Payload, check_size, json_payload
from forgemesh.orchestrator.domain.retry import SECOND
from forgemesh.orchestrator.domain.state import ExecutionState, StepState
from forgemesh.orchestrator.domain.template import evaluate
from forgemesh.orchestrator.ports import Created, IdReuse, Request, Store

MAX_WAIT = 600.0


@dataclass(frozen=True, slots=True)
class Caller:
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
    if there is something to write: what it raises, the start raises, and nothing is started.
    """

    namespace: str
    workflow: str
    version: str = ""
    execution_id: str = ""
    request_id: str = ""
    input: Payload
    wait: float = 0.0
    caller: Caller | None = None
    reuse: IdReuse = IdReuse.REJECT_DUPLICATE
    conflict: Literal["fail", "use_existing", "terminate_existing"] = "fail"
    priority: int = 0
    signal: e.SignalReceived | None = None
    paused: bool = False
    origin: e.Origin | None = None
    linked_span: str = ""
    facts: Sequence[e.Fact] = field(default=(), compare=False)
    check: Callable[[], None] = field(default=lambda: None, compare=False)

    def content(self) -> str:
        """What must be the same when a request id comes again."""
        metadata = (fact for pair in sorted(self.input.metadata.items()) for fact in pair)
        signal = (self.signal.name, self.signal.signal_id) if self.signal is not None else ()
        parts = (self.workflow, self.version, self.execution_id, self.input.media_type, *metadata, *signal)
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + self.input.data).hexdigest()


class Starts:
    """What a start answers is durable; the same request id gets the same answer."""

    def __init__(self, store: Store, engine: Engine, definitions: Definitions, executions: Executions) -> None:
        self._store = store
        self._engine = engine
        self._definitions = definitions
        self._executions = executions
        engine.effects.children.nursery = self

    async def start(self, request: StartRequest) -> tuple[ExecutionState, bool]:
        """The execution, and whether this request started it."""
        check_start(request.namespace, request.workflow, request.execution_id, request.request_id, request.signal)
        if self._engine.stopping:
            raise ShuttingDown("the orchestrator")
        asked = Request(request.request_id, request.content(), bool(request.execution_id), request.reuse)
        try:
            stored = await self._definitions.find(request.namespace, request.workflow, request.version)
            check_input(stored.definition, request.input)
            if request.signal is not None:
                check_size(request.signal.payload, f"the signal {request.signal.name!r}")
        except Fault:  # a request that was answered before gets that answer, whatever has changed since
            earlier = await self._store.started_by(request.namespace, asked) if request.request_id else None
            if earlier is None:
                raise
            return await self._answer(request, earlier, None)
        if request.execution_id and request.conflict != "fail":
            # a request that comes again must neither end nor signal the execution that it started
            earlier = await self._store.started_by(request.namespace, asked) if request.request_id else None
            if earlier is not None:
                return await self._answer(request, earlier, None)
            was_open = self._engine.running(request.namespace, request.execution_id) is not None
            existing = await self._existing(request)
            if existing is not None:
                return existing, False
            if was_open:  # terminated to make room: the reuse policy is about those that had ended before
                asked = replace(asked, reuse=IdReuse.ALLOW_DUPLICATE)
        created, state = await self._write(stored.definition, request, asked)
        return await self._answer(request, created, state)

    async def answered(self, request: StartRequest) -> tuple[ExecutionState, bool] | None:
        """What the same request was answered before; raises RequestIdReused."""
        if not request.request_id:
            return None
        check_start(request.namespace, request.workflow, request.execution_id, request.request_id, request.signal)
        asked = Request(request.request_id, request.content(), bool(request.execution_id), request.reuse)
        earlier = await self._store.started_by(request.namespace, asked)
        return await self._answer(request, earlier, None) if earlier is not None else None

    async def _answer(
        self, request: StartRequest, created: Created, state: ExecutionState | None
    ) -> tuple[ExecutionState, bool]:
        ended = await self._wait(request.namespace, created.execution_id, request.wait)
        if state is not None and created.created and not request.wait:
            return state, True
        return ended or await self._executions.get(request.namespace, created.execution_id), created.created

    async def start_child(self, parent: ExecutionState, step: StepState) -> ExecutionState:
        """See children.Nursery."""
        assert isinstance(step.step, Child)
        assert step.started is not None
        assert step.input is not None
        child_id = step.started.child_id
        of_this_run = f"{child_id} {parent.started_at}"  # the parent's id may have been in use before
        request = StartRequest(
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
            ),
            linked_span=link_to(parent, step),
        )
        state, _ = await self.start(request)
        return state

    async def _existing(self, request: StartRequest) -> ExecutionState | None:
        """What the id conflict policy says about an open execution of that id."""
        running = self._engine.running(request.namespace, request.execution_id)
        if running is None:
            return None
        if request.conflict == "terminate_existing":
            reason = "another one was started under its id"
            await self._engine.command(running, lambda state: control.terminate(state, "", reason))
            await running.left.wait()
            return None
        if request.signal is not None:
            signal = request.signal
            await self._engine.command(running, lambda state: control.signal(state, signal))
        return await self._executions.get(request.namespace, request.execution_id)

    async def _write(
        self, definition: Definition, request: StartRequest, asked: Request
    ) -> tuple[Created, ExecutionState | None]:
        execution_id = request.execution_id or str(ULID()).lower()
        key = _concurrency_key(definition, request, execution_id)
        places = self._engine.effects.places
        entry = Entry()

        def first() -> list[e.Fact]:
            nonlocal entry
            request.check()
            if key:
                entry = places.enter(definition, key, execution_id)
            return self._facts(definition, request, execution_id, key, entry)

        def settled(written: Future[Created]) -> None:
            if not key:
                return
            if written.cancelled() or written.exception() is not None:
                places.forget(definition, key, execution_id)
            else:
                places.give_way(definition, entry, f"execution {execution_id} took its place")

        return await self._engine.start(definition, execution_id, first, asked, settled)

    def _facts(
        self, definition: Definition, request: StartRequest, execution_id: str, key: str, entry: Entry
    ) -> list[e.Fact]:
        """The first facts of a new execution."""
        started = _started(definition, request, self._engine.clock(), key, queued=entry.queued)
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

    async def _wait(self, namespace: str, execution_id: str, seconds: float) -> ExecutionState | None:
        """The execution, if it is known to have ended within that time."""
        running = self._engine.running(namespace, execution_id)
        if running is None or not seconds:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, MAX_WAIT)):
                await running.left.wait()
        return running.state if running.ended else None


def _started(definition: Definition, request: StartRequest, now: int, key: str, *, queued: bool) -> e.ExecutionStarted:
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
        deadline=now + int(definition.timeout * SECOND) if definition.timeout is not None else 0,
        priority=request.priority,
        concurrency_key=key,
        queued=queued,
        origin=request.origin,
        run_id=new_run_id(),
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
