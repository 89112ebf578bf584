"""The spans of an execution: a fold of its events beside the state, so that any process derives the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.definition import Call, Definition
from forgemesh.orchestrator.domain.failure import Failure

RUN, START, ATTEMPT, GROUP, BLOCKED, RECOVER = "run", "start", "attempt", "group", "blocked", "recover"


@lru_cache(maxsize=8192)
def span_id(execution_id: str, key: tuple[str, ...]) -> bytes:
    """Derived (BLAKE2b), so that any orchestrator gives a span of an execution the same id."""
    return hashlib.blake2b("\x1f".join((execution_id, *key)).encode(), digest_size=8).digest()


def traceparent(started: e.ExecutionStarted, execution_id: str, path: str, attempt: int) -> str:
    """Of an attempt's span (W3C), for the plugin that runs it."""
    own = span_id(execution_id, (ATTEMPT, path, str(attempt)))
    return f"00-{started.trace_id.hex()}-{own.hex()}-{started.sampled:02x}"


class Link(msgspec.Struct, frozen=True):
    """To another span of the same trace, by its key; `kind` says what it is to us."""

    key: tuple[str, ...]
    kind: str


class SpanFacts(msgspec.Struct, frozen=True, kw_only=True):
    """
    One span. `key` and `parent` are what span ids derive from, with the execution's id; parent None: the caller's span.

    Times are Unix nanoseconds.
    """

    key: tuple[str, ...]
    parent: tuple[str, ...] | None
    name: str
    start: int
    end: int
    facts: tuple[tuple[str, str | int], ...] = ()
    dispatch: e.Dispatch | None = None
    failure: Failure | None = None
    links: tuple[Link, ...] = ()


@dataclass(slots=True)
class _Open:
    attempt: int
    began_at: int
    blocked: e.StepBlocked | None = None
    blocked_at: int = 0
    blocked_sequence: int = 0


@dataclass(slots=True)
class ExecutionTrace:
    """
    Turns events into finished spans; see docs/architecture.md for the model.

    A try is a span named after its step, below its group or the run; a group is a span; so are a skipped step, a block
    and the gap that a dead orchestrator left.
    """

    execution_id: str
    definition: Definition
    started: e.ExecutionStarted | None = None
    started_at: int = 0
    last_at: int = 0
    sequence: int = 0
    _calls: Mapping[str, Call] = field(default_factory=dict)
    _open: dict[str, _Open] = field(default_factory=dict)
    _groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._calls = dict(self.definition.calls())

    def project(self, event: e.Event) -> list[SpanFacts]:
        """The spans that `event` finishes; to be called once for each event, in sequence."""
        self.sequence = event.sequence
        projection = _PROJECTIONS.get(type(event.fact))
        spans = projection(self, event.fact, event.at) if projection is not None else []
        self.last_at = event.at
        return spans

    def _execution_started(self, fact: e.ExecutionStarted, at: int) -> list[SpanFacts]:
        self.started, self.started_at = fact, at
        return [SpanFacts(key=(START,), parent=(RUN,), name=f"start {fact.workflow}", start=at, end=at)]

    def _attempt_started(self, fact: e.AttemptStarted, at: int) -> list[SpanFacts]:
        self._open[fact.path] = _Open(fact.attempt, at)
        return []

    def _step_blocked(self, fact: e.StepBlocked, at: int) -> list[SpanFacts]:
        spans = self._unblock(fact.path, at)
        attempt = self._open[fact.path]
        attempt.blocked, attempt.blocked_at, attempt.blocked_sequence = fact, at, self.sequence
        return spans

    def _step_unblocked(self, fact: e.StepUnblocked, at: int) -> list[SpanFacts]:
        return self._unblock(fact.path, at)

    def _group_started(self, fact: e.GroupStarted, at: int) -> list[SpanFacts]:
        self._groups[fact.path] = (at, fact.branches)
        return []

    def _attempt(self, fact: e.AttemptSucceeded | e.AttemptFailed, at: int) -> list[SpanFacts]:
        spans = self._unblock(fact.path, at)
        opened = self._open.pop(fact.path)
        call = self._calls[fact.path]
        earlier = (ATTEMPT, fact.path, str(fact.attempt - 1))
        span = SpanFacts(
            key=(ATTEMPT, fact.path, str(fact.attempt)),
            parent=self._around(fact.path),
            name=fact.path.rpartition("/")[2],
            start=fact.dispatch.at if fact.dispatch is not None else opened.began_at,
            end=at,
            facts=(
                ("step", fact.path),
                ("attempt", fact.attempt),
                ("plugin", call.plugin_id),
                ("operation", call.operation),
            ),
            dispatch=fact.dispatch,
            failure=fact.failure if isinstance(fact, e.AttemptFailed) else None,
            links=(Link(earlier, "previous_attempt"),) if fact.attempt > 1 else (),
        )
        return [*spans, span]

    def _unblock(self, path: str, at: int) -> list[SpanFacts]:
        opened = self._open[path]
        blocked = opened.blocked
        if blocked is None:
            return []
        opened.blocked = None
        span = SpanFacts(
            key=(BLOCKED, path, str(opened.blocked_sequence)),
            parent=self._around(path),
            name="blocked",
            start=opened.blocked_at,
            end=at,
            facts=(("step", path), ("attempt", blocked.attempt), ("reason", blocked.reason)),
        )
        return [span]

    def _group(self, fact: e.GroupSucceeded | e.StepFailed | e.StepCancelled, at: int) -> list[SpanFacts]:
        group = self._groups.pop(fact.path, None)
        failure = fact.failure if isinstance(fact, e.StepFailed) else None
        if group is None and failure is None:
            return []
        began_at, branches = group or (at, ())
        span = SpanFacts(
            key=(GROUP, fact.path),
            parent=self._around(fact.path),
            name=fact.path.rpartition("/")[2],
            start=began_at,
            end=at,
            facts=(("step", fact.path), ("branches", ",".join(branches))),
            failure=failure,
        )
        return [span]

    def _skipped(self, fact: e.StepSkipped, at: int) -> list[SpanFacts]:
        span = SpanFacts(
            key=(GROUP, fact.path),
            parent=self._around(fact.path),
            name=fact.path.rpartition("/")[2],
            start=at,
            end=at,
            facts=(("step", fact.path), ("skipped", fact.reason)),
        )
        return [span]

    def _recovery(self, fact: e.ExecutionRecovered, at: int) -> list[SpanFacts]:
        span = SpanFacts(
            key=(RECOVER, str(self.sequence)),
            parent=(RUN,),
            name="recover",
            start=self.last_at,
            end=at,
            facts=(("orchestrator", fact.orchestrator_id), ("epoch", fact.epoch)),
            links=tuple(
                Link((ATTEMPT, path, str(opened.attempt)), "lost_attempt") for path, opened in self._open.items()
            ),
        )
        return [span]

    def _run(self, fact: e.ExecutionSucceeded | e.ExecutionFailed, at: int) -> list[SpanFacts]:
        failure = fact.failure if isinstance(fact, e.ExecutionFailed) else None
        span = SpanFacts(
            key=(RUN,),
            parent=None,
            name=f"run {self.definition.name}",
            start=self.started_at,
            end=at,
            facts=(("status", "failed" if failure else "succeeded"),),
            failure=failure,
        )
        return [span]

    def _around(self, path: str) -> tuple[str, ...]:
        """The group whose branch the step is in (its path without branch and id), or the run."""
        group = path.rsplit("/", 2)[0] if path.count("/") >= 2 else ""
        return (GROUP, group) if group else (RUN,)


_PROJECTIONS: Mapping[type, Callable[[ExecutionTrace, Any, int], list[SpanFacts]]] = {
    e.ExecutionStarted: ExecutionTrace._execution_started,
    e.AttemptStarted: ExecutionTrace._attempt_started,
    e.AttemptSucceeded: ExecutionTrace._attempt,
    e.AttemptFailed: ExecutionTrace._attempt,
    e.StepBlocked: ExecutionTrace._step_blocked,
    e.StepUnblocked: ExecutionTrace._step_unblocked,
    e.GroupStarted: ExecutionTrace._group_started,
    e.GroupSucceeded: ExecutionTrace._group,
    e.StepFailed: ExecutionTrace._group,
    e.StepCancelled: ExecutionTrace._group,
    e.StepSkipped: ExecutionTrace._skipped,
    e.ExecutionRecovered: ExecutionTrace._recovery,
    e.ExecutionSucceeded: ExecutionTrace._run,
    e.ExecutionFailed: ExecutionTrace._run,
}
