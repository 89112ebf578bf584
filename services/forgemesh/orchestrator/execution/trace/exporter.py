"""The spans of executions on their way to the collector, behind a cursor in the store."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from functools import lru_cache

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from forgemesh.chassis import attributes as names
from forgemesh.chassis.span_encoding import (
    SHORTEST,
    encoded_attribute,
    encoded_span,
    end_of,
    text_attribute,
    usual_attribute,
)
from forgemesh.chassis.telemetry import CLIENT, ERROR, INTERNAL, SERVER, SpanSink, set_attributes
from forgemesh.faults.service import StoreUnavailable
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.ports.span_cursor import SpanCursor
from forgemesh.orchestrator.execution.trace.spans import ATTEMPT, RUN, ExecutionTrace, Link, SpanFacts, span_id
from forgemesh.orchestrator.values.shard import Shard

_KINDS = {RUN: SERVER, ATTEMPT: CLIENT}
MARK_INTERVAL = 1.0


class SpanExporter:
    """
    Encodes finished spans and hands them to the sink; remembers up to where they have been taken.

    After a crash the spans of events beyond that point are made again, with the same ids.
    """

    def __init__(self, sink: SpanSink, store: SpanCursor, shard: Shard) -> None:
        self._sink = sink
        self._store = store
        self._shard = shard
        sink.sent.add(self._taken)
        self._sent = 0
        self._marked = 0

    def export(self, trace: ExecutionTrace, spans: Sequence[SpanFacts], position: int) -> None:
        """See ports.Spans."""
        if trace.started is None or not trace.started.sampled or not spans:
            return
        for facts in spans[:-1]:
            self._sink.add(encode(trace, facts), position - 1)
        self._sink.add(encode(trace, spans[-1]), position)

    def _taken(self, mark: object) -> None:
        if isinstance(mark, int):
            self._sent = max(self._sent, mark)

    async def run(self) -> None:
        """Write the cursor now and then until cancelled."""
        while True:
            await asyncio.sleep(MARK_INTERVAL)
            await self.mark()

    async def mark(self) -> None:
        """Write the cursor if it has moved."""
        if self._sent == self._marked:
            return
        with contextlib.suppress(StoreUnavailable):
            sent = self._sent
            await self._store.mark_spans_sent(self._shard, sent)
            self._marked = sent


def encode(trace: ExecutionTrace, facts: SpanFacts) -> bytes:
    """The span as OTLP has it on the wire."""
    started, owner, start, end = trace.started, trace.owner, facts.start, facts.end
    assert started is not None
    return encoded_span(
        started.trace_id,
        span_id(owner, facts.key),
        started.parent_span_id if facts.parent is None else span_id(owner, facts.parent),
        facts.name,
        _KINDS.get(facts.key[0], INTERNAL) if facts.left else INTERNAL,
        start,
        end if end - start >= SHORTEST else end_of(start, end),
        _attributes(trace.execution_id, started.workflow, facts),
        _rest(owner, started, facts) if facts.failure or facts.links or facts.key == (RUN,) else None,
    )


def _attributes(execution_id: str, workflow: str, facts: SpanFacts) -> list[bytes]:
    found = [_execution(execution_id), _what(workflow, facts.facts)]
    where = facts.dispatch
    if where is not None:
        found.append(_where(where.instance_id, where.incarnation, where.plugin_version))
        found.append(_how(where.policy, where.candidates, where.eligible, where.excluded))
        if where.trial or where.hedged_with:
            found.append(_besides(where))
    if facts.failure is not None:
        found.append(usual_attribute(names.ERROR_TYPE, facts.failure.reason))
    return found


@lru_cache(maxsize=8192)
def _execution(execution_id: str) -> bytes:
    return text_attribute(names.EXECUTION_ID, execution_id)


@lru_cache(maxsize=4096)
def _what(workflow: str, facts: tuple[tuple[str, str | int], ...]) -> bytes:
    own = (encoded_attribute(_NAMES[key], value) for key, value in facts)
    return b"".join((encoded_attribute(names.WORKFLOW_NAME, workflow), *own))


@lru_cache(maxsize=1024)
def _where(instance_id: str, incarnation: int, version: str) -> bytes:
    return b"".join(
        (
            encoded_attribute(names.INSTANCE_ID, instance_id),
            encoded_attribute(names.INSTANCE_INCARNATION, incarnation),
            encoded_attribute(names.PLUGIN_VERSION, version),
        )
    )


@lru_cache(maxsize=1024)
def _how(policy: str, candidates: int, eligible: int, excluded: tuple[str, ...]) -> bytes:
    return b"".join(
        (
            encoded_attribute(names.PICK_POLICY, policy),
            encoded_attribute(names.PICK_CANDIDATES, candidates),
            encoded_attribute(names.PICK_ELIGIBLE, eligible),
            encoded_attribute(names.PICK_EXCLUDED, "; ".join(excluded)) if excluded else b"",
        )
    )


def _besides(where: Dispatch) -> bytes:
    """What few calls have."""
    trial = encoded_attribute(names.PICK_TRIAL, True) if where.trial else b""
    hedged = encoded_attribute(names.HEDGED_WITH, where.hedged_with) if where.hedged_with else b""
    return trial + hedged


def _rest(owner: str, started: e.ExecutionStarted, facts: SpanFacts) -> Span:
    """What few spans have."""
    span = Span()
    if facts.failure is not None:
        span.status.CopyFrom(Status(code=ERROR, message=facts.failure.message[:512]))
    for link in facts.links:
        linked = _linked(link, owner, started)
        if linked is not None:
            set_attributes(span.links.add(trace_id=linked[0], span_id=linked[1]), {names.LINK_TYPE: link.kind})
    if facts.key == (RUN,):
        set_attributes(span, {names.WORKFLOW_VERSION: started.workflow_version})
        _link_origin(span, started)
    return span


def _linked(link: Link, owner: str, started: e.ExecutionStarted) -> tuple[bytes, bytes] | None:
    """Trace and span; None if what came from elsewhere is no traceparent."""
    if not link.traceparent:
        return started.trace_id, span_id(owner, link.key)
    found = _TRACEPARENT.fullmatch(link.traceparent)
    return (bytes.fromhex(found[1]), bytes.fromhex(found[2])) if found is not None else None


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

_NAMES = {
    "step": names.STEP_PATH,
    "attempt": names.STEP_ATTEMPT,
    "plugin": names.PLUGIN_ID,
    "operation": names.OPERATION,
    "branches": names.GROUP_BRANCHES,
    "items": names.GROUP_ITEMS,
    "round": names.LOOP_ROUND,
    "child": names.CHILD_EXECUTION_ID,
    "reason": names.BLOCKED_REASON,
    "skipped": names.SKIPPED_REASON,
    "status": names.EXECUTION_STATUS,
    "orchestrator": names.ORCHESTRATOR_ID,
    "epoch": names.ORCHESTRATOR_EPOCH,
}


def _link_origin(span: Span, started: e.ExecutionStarted) -> None:
    trace_id, _, linked = started.linked_span.partition("-")
    if linked:
        made = span.links.add(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(linked))
        set_attributes(made, {names.LINK_TYPE: _kind(started.origin)})


def _kind(origin: e.Origin | None) -> str:
    if origin is None:
        return "caller"
    return "forked_from" if origin.forked_from else "parent" if origin.parent_id else "caller"
