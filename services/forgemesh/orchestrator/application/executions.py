"""Starting executions and looking at them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from ulid import ULID

from forgemesh.faults import Fault, Violation
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import ExecutionInputInvalid, ExecutionNotFound, ExecutionSuspended, PayloadTooLarge
from forgemesh.orchestrator.application.definitions import Definitions
from forgemesh.orchestrator.application.engine import Engine
from forgemesh.orchestrator.application.identifiers import check_ids
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.payload import MAX_INPUT
from forgemesh.orchestrator.domain.definition import Definition
from forgemesh.orchestrator.domain.fields import suggestion
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.retry import SECOND
from forgemesh.orchestrator.domain.state import ExecutionState, Status
from forgemesh.orchestrator.ports import ExecutionRow, Request, Store

WATCH_PAGE = 200
NEVER = 1 << 62
"""A sequence number that no event reaches."""
MAX_WAIT = 600.0


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller's trace context: raw ids, and whether its trace is recorded."""

    trace_id: bytes
    span_id: bytes
    sampled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What StartExecution asks for; empty texts are what the caller left out, `wait` is in seconds."""

    namespace: str
    workflow: str
    version: str
    execution_id: str
    request_id: str
    input: Payload
    wait: float = 0.0
    caller: Caller | None = None

    def content(self) -> str:
        """What must be the same when a request id comes again."""
        facts = (fact for pair in sorted(self.input.metadata.items()) for fact in pair)
        parts = (self.workflow, self.version, self.execution_id, self.input.media_type, *facts)
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + self.input.data).hexdigest()


class Executions:
    """Use cases over the engine and the store; what they show is durable."""

    def __init__(self, store: Store, engine: Engine, definitions: Definitions, clock: Callable[[], int]) -> None:
        self._store = store
        self._engine = engine
        self._definitions = definitions
        self._clock = clock

    async def start(self, request: StartRequest) -> tuple[ExecutionState, bool]:
        """The execution, and whether this request started it."""
        _check_request(request)
        if self._engine.stopping:
            raise ShuttingDown("the orchestrator")
        asked = Request(request.request_id, request.content(), bool(request.execution_id))
        try:
            stored = await self._definitions.find(request.namespace, request.workflow, request.version)
            check_input(stored.definition, request.input)
        except Fault:  # a request that was answered before gets that answer, whatever has changed since
            earlier = await self._store.started_by(request.namespace, asked) if request.request_id else None
            if earlier is None:
                raise
            await self._wait(request.namespace, earlier.execution_id, request.wait)
            return await self.get(request.namespace, earlier.execution_id), False
        started = _started(stored.definition, request, self._clock())
        execution_id = request.execution_id or str(ULID()).lower()
        created, state = await self._engine.start(stored.definition, execution_id, started, asked)
        ended = await self._wait(request.namespace, created.execution_id, request.wait)
        if created.created and not request.wait:
            return state, True
        return ended or await self.get(request.namespace, created.execution_id), created.created

    async def _wait(self, namespace: str, execution_id: str, seconds: float) -> ExecutionState | None:
        """The execution, if it is known to have ended within that time."""
        running = self._engine.running(namespace, execution_id)
        if running is None or not seconds:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, MAX_WAIT)):
                await running.left.wait()
        return running.state if running.ended else None

    async def get(self, namespace: str, execution_id: str) -> ExecutionState:
        """As far as it is durable; raises ExecutionNotFound."""
        row = await self.row(namespace, execution_id)
        stored = await self._definitions.find(namespace, row.workflow, row.workflow_version)
        state, _ = await self._engine.load(row, stored.definition)
        return state

    async def row(self, namespace: str, execution_id: str) -> ExecutionRow:
        """What lists show of it; raises ExecutionNotFound."""
        row = await self._store.find(namespace, execution_id)
        if row is None:
            raise ExecutionNotFound(execution_id)
        return row

    async def page(
        self, namespace: str, workflow: str, status: Status | None, before: int, limit: int
    ) -> Sequence[ExecutionRow]:
        """Newest first."""
        return await self._store.executions(namespace, workflow, status, before, limit)

    async def watch(self, namespace: str, execution_id: str, from_sequence: int) -> AsyncIterator[list[e.Event]]:
        """Durable events from `from_sequence` on, as they come; ends after the execution's last one."""
        row = await self.row(namespace, execution_id)
        following = min(max(1, from_sequence), NEVER)
        while True:
            running = self._engine.running(namespace, execution_id)
            changed = running.change() if running is not None else None
            events = await self._store.events(row.key, following, WATCH_PAGE)
            if events:
                yield events
                following = events[-1].sequence + 1
                if isinstance(events[-1].fact, e.ExecutionSucceeded | e.ExecutionFailed):
                    return
            elif changed is not None:
                await changed.wait()
            elif (row := await self.row(namespace, execution_id)).sequence < following:
                if row.status is Status.RUNNING:
                    raise ExecutionSuspended(execution_id)
                return


def check_input(definition: Definition, payload: Payload) -> None:
    """Raises PayloadTooLarge or ExecutionInputInvalid, with everything that does not fit."""
    if payload.size > MAX_INPUT:
        raise PayloadTooLarge("the execution's input", payload.size, MAX_INPUT)
    if not payload.is_json:
        if definition.input is not None:
            message = f"the workflow declares its input, so it must be JSON and not {payload.media_type}"
            raise ExecutionInputInvalid(definition.name, [Violation("input", message)])
        return
    try:
        value = payload.value()
    except ValueError as error:
        raise ExecutionInputInvalid(definition.name, [Violation("input", str(error))]) from error
    if definition.input is not None:
        violations = list(_misfits(definition, value))
        if violations:
            raise ExecutionInputInvalid(definition.name, violations)


def _misfits(definition: Definition, value: object) -> list[Violation]:
    declared = definition.input or {}
    if not isinstance(value, dict):
        return [Violation("input", f"must be an object with {', '.join(declared)}")]
    found: list[Violation] = []
    for name, field in declared.items():
        if name not in value:
            if field.required:
                found.append(Violation(f"input.{name}", f"is missing; it must be of type {field.type}"))
        elif not _fits(value[name], field.type):
            found.append(Violation(f"input.{name}", f"must be of type {field.type}, not {value[name]!r:.60}"))
    unknown = [name for name in value if name not in declared]
    found += [Violation(f"input.{name}", f"is not declared{suggestion(name, declared)}") for name in unknown]
    return found


_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}


def _fits(value: object, type_name: str) -> bool:
    if type_name == "any":
        return True
    if isinstance(value, bool):
        return type_name == "boolean"
    return isinstance(value, _TYPES[type_name])


def _started(definition: Definition, request: StartRequest, now: int) -> e.ExecutionStarted:
    """A sampled caller's trace is adopted; otherwise a trace is minted, and linked to an unsampled caller's."""
    caller = request.caller
    adopted = caller is not None and caller.sampled
    linked = f"{caller.trace_id.hex()}-{caller.span_id.hex()}" if caller is not None and not adopted else ""
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
    )


def _check_request(request: StartRequest) -> None:
    chosen = {"execution_id": request.execution_id, "request_id": request.request_id}
    check_ids(
        namespace=request.namespace,
        workflow=request.workflow,
        **{name: value for name, value in chosen.items() if value},
    )
