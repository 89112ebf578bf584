"""The spans of an execution: a fold of its events beside the state, so that any process derives the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.fate import is_in_doubt
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.workflow.definition import COMPENSATION, Call, Definition

RUN, START, ATTEMPT, GROUP, BLOCKED, RECOVER = "run", "start", "attempt", "group", "blocked", "recover"
_RUN = (RUN,)
WAIT, PAUSE, INCIDENT, COMPENSATE, ROUND = "wait", "pause", "incident", "compensate", "round"


@lru_cache(maxsize=8192)
def span_id(owner: str, key: tuple[str, ...]) -> bytes:
    """Derived (BLAKE2b), so that any orchestrator gives a span of an execution the same id; `owner` is that one."""
    return hashlib.blake2b("\x1f".join((owner, *key)).encode(), digest_size=8).digest()


def span_owner(started: e.ExecutionStarted, execution_id: str) -> str:
    """
    The execution to which spans belong. Its run is part of it, since executions of one trace may have the same id one
    after the other; old histories have none.
    """
    return f"{execution_id}@{started.run_id}" if started.run_id else execution_id


def traceparent(started: e.ExecutionStarted, execution_id: str, path: str, attempt: int) -> str:
    """Of an attempt's span (W3C), for the plugin that runs it."""
    own = span_id(span_owner(started, execution_id), attempt_key(path, attempt))
    return f"00-{started.trace_id.hex()}-{own.hex()}-{'01' if started.sampled else '00'}"


@lru_cache(maxsize=8192)
def attempt_key(path: str, attempt: int) -> tuple[str, ...]:
    """Of an attempt's span; the same object again and again."""
    return (ATTEMPT, path, str(attempt))


class Link(msgspec.Struct, frozen=True):
    """
    To another span of the same trace, by its key, or of any trace, by its `traceparent`; `kind` says what it is to us.
    """

    key: tuple[str, ...]
    kind: str
    traceparent: str = ""


class SpanFacts(msgspec.Struct, frozen=True, kw_only=True):
    """
    One span. `key` and `parent` are what span ids derive from, with the execution's id; parent None: the caller's span.

    Times are Unix nanoseconds. `left`: if it is an attempt, it was sent to somebody, or may have been.
    """

    key: tuple[str, ...]
    parent: tuple[str, ...] | None
    name: str
    start: int
    end: int
    facts: tuple[tuple[str, str | int], ...] = ()
    dispatch: Dispatch | None = None
    left: bool = True
    failure: Failure | None = None
    links: tuple[Link, ...] = ()


@dataclass(slots=True)
class _Open:
    attempt: int
    began_at: int
    blocked: e.StepBlocked | None = None
    blocked_at: int = 0
    blocked_sequence: int = 0
    child_id: str = ""


@dataclass(slots=True)
class _Gap:
    """Something that lasts and is no attempt: a span once it is over."""

    key: tuple[str, ...]
    parent: tuple[str, ...]
    name: str
    since: int
    facts: tuple[tuple[str, str | int], ...] = ()

    def over(self, at: int, failure: Failure | None = None) -> SpanFacts:
        return SpanFacts(
            key=self.key,
            parent=self.parent,
            name=self.name,
            start=self.since,
            end=at,
            facts=self.facts,
            failure=failure,
        )


@dataclass(slots=True)
class ExecutionTrace:
    """
    Turns events into finished spans; see docs/architecture.md for the model.

    An attempt is a span named after its step, below its group or the run; a group is a span, and so is each round of a
    loop, with its steps below it; so are a skipped step, a block, a wait, a pause, an incident, the compensation, and
    the gap that a dead orchestrator left.
    """

    execution_id: str
    definition: Definition
    started: e.ExecutionStarted | None = None
    owner: str = ""
    started_at: int = 0
    last_at: int = 0
    sequence: int = 0
    _open: dict[str, _Open] = field(default_factory=dict)
    _gaps: dict[tuple[str, str], _Gap] = field(default_factory=dict)

    def project(self, event: e.Event) -> list[SpanFacts]:
        """The spans that `event` finishes; to be called once for each event, in sequence."""
        self.sequence = event.sequence
        projection = _PROJECTIONS.get(type(event.fact))
        spans = projection(self, event.fact, event.at) if projection is not None else []
        self.last_at = event.at
        return spans

    def _execution_started(self, fact: e.ExecutionStarted, at: int) -> list[SpanFacts]:
        self.started, self.started_at = fact, at
        self.owner = span_owner(fact, self.execution_id)
        return [SpanFacts(key=(START,), parent=(RUN,), name=f"start {fact.workflow}", start=at, end=at)]

    def _attempt_started(self, fact: e.AttemptStarted, at: int) -> list[SpanFacts]:
        self._open[fact.path] = _Open(fact.attempt, at, child_id=fact.child_id)
        return []

    def _step_blocked(self, fact: e.StepBlocked, at: int) -> list[SpanFacts]:
        spans = self._unblock(fact.path, at)
        attempt = self._open[fact.path]
        attempt.blocked, attempt.blocked_at, attempt.blocked_sequence = fact, at, self.sequence
        return spans

    def _step_unblocked(self, fact: e.StepUnblocked, at: int) -> list[SpanFacts]:
        return self._unblock(fact.path, at)

    def _attempt_succeeded(self, fact: e.AttemptSucceeded, at: int) -> list[SpanFacts]:
        spans, opened = self._ended(fact.path, at)
        spans.append(self._attempt_span(fact.path, opened, at, fact.dispatch, None, left=True))
        return spans

    def _attempt_failed(self, fact: e.AttemptFailed, at: int) -> list[SpanFacts]:
        spans, opened = self._ended(fact.path, at)
        left = bool(opened.child_id) or fact.dispatch is not None or is_in_doubt(fact)
        spans.append(self._attempt_span(fact.path, opened, at, fact.dispatch, fact.failure, left=left))
        if fact.incident:
            self._begin_gap(INCIDENT, fact.path, "incident", at, (("reason", fact.incident),))
        return spans

    def _ended(self, path: str, at: int) -> tuple[list[SpanFacts], _Open]:
        """The attempt that has ended, and the span of what it was blocked by until then."""
        opened = self._open[path]
        spans = self._unblock(path, at) if opened.blocked is not None else []
        del self._open[path]
        return spans, opened

    def _attempt_span(
        self, path: str, opened: _Open, at: int, dispatch: Dispatch | None, failure: Failure | None, *, left: bool
    ) -> SpanFacts:
        attempt = opened.attempt
        key, name, facts = _named(path, attempt, self._called(path, opened, dispatch))
        return SpanFacts(
            key=key,
            parent=self._around(path),
            name=name,
            start=dispatch.at if dispatch is not None else opened.began_at,
            end=at,
            facts=facts,
            dispatch=dispatch,
            left=left,
            failure=failure,
            links=(Link((ATTEMPT, path, str(attempt - 1)), "previous_attempt"),) if attempt > 1 else (),
        )

    def _called(self, path: str, opened: _Open, dispatch: Dispatch | None) -> tuple[tuple[str, str | int], ...]:
        step = self.definition.step_at(path)
        if not isinstance(step, Call):
            return (("child", opened.child_id),)
        target = step.compensate.target if path.endswith(COMPENSATION) and step.compensate else step.target
        plugin = dispatch.plugin_id if dispatch is not None and dispatch.plugin_id else target.name
        return _target(plugin, target.operation)

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
            links=(Link((), "breaker_opened_by", blocked.opened_by),) if blocked.opened_by else (),
        )
        return [span]

    def _group_started(self, fact: e.GroupStarted, at: int) -> list[SpanFacts]:
        if not self.definition.step_at(fact.path).rounds:
            self._begin_gap(GROUP, fact.path, fact.path.rpartition("/")[2], at, (_branches(fact),))
            return []
        self._begin_gap(GROUP, fact.path, fact.path.rpartition("/")[2], at)
        return self._round_started(e.RoundStarted(fact.path, 0), at)

    def _round_started(self, fact: e.RoundStarted, at: int) -> list[SpanFacts]:
        key, facts = (ROUND, fact.path, str(fact.index)), (("step", fact.path), ("round", fact.index))
        self._gaps[ROUND, fact.path] = _Gap(key, (GROUP, fact.path), f"round {fact.index}", at, facts)
        return []

    def _round_judged(self, fact: e.RoundJudged, at: int) -> list[SpanFacts]:
        return self._end_gap(ROUND, fact.path, at)

    def _wait_started(self, fact: e.WaitStarted, at: int) -> list[SpanFacts]:
        name = f"wait {fact.signal}" if fact.signal else "wait"
        self._begin_gap(WAIT, fact.path, name, at)
        return []

    def _wait_ended(self, fact: e.WaitEnded, at: int) -> list[SpanFacts]:
        return self._end_gap(WAIT, fact.path, at)

    def _step_ended(self, fact: e.GroupSucceeded | e.StepFailed | e.StepCancelled, at: int) -> list[SpanFacts]:
        failure = fact.failure if isinstance(fact, e.StepFailed) else None
        spans = [
            span for kind in (ROUND, GROUP, WAIT, INCIDENT) for span in self._end_gap(kind, fact.path, at, failure)
        ]
        if spans or failure is None:
            return spans
        return [self._moment(fact.path, at, (("step", fact.path),), failure)]

    def _skipped(self, fact: e.StepSkipped, at: int) -> list[SpanFacts]:
        waited = self._end_gap(WAIT, fact.path, at)
        return waited or [self._moment(fact.path, at, (("step", fact.path), ("skipped", fact.reason)))]

    def _moment(
        self, path: str, at: int, facts: tuple[tuple[str, str | int], ...], failure: Failure | None = None
    ) -> SpanFacts:
        """The span of a step that ended where it would have begun."""
        return _Gap((GROUP, path), self._around(path), path.rpartition("/")[2], at, facts).over(at, failure)

    def _incident_opened(self, fact: e.IncidentOpened, at: int) -> list[SpanFacts]:
        self._begin_gap(INCIDENT, fact.path, "incident", at, (("reason", fact.failure.reason),))
        return []

    def _incident_resolved(self, fact: e.IncidentResolved, at: int) -> list[SpanFacts]:
        return self._end_gap(INCIDENT, fact.path, at)

    def _pause_requested(self, fact: e.PauseRequested, at: int) -> list[SpanFacts]:
        if (PAUSE, "") not in self._gaps:
            self._gaps[PAUSE, ""] = _Gap((PAUSE, str(self.sequence)), (RUN,), "pause", at)
        return []

    def _execution_resumed(self, fact: e.ExecutionResumed | e.CancelRequested, at: int) -> list[SpanFacts]:
        return self._end_gap(PAUSE, "", at)

    def _compensation_started(self, fact: e.CompensationStarted, at: int) -> list[SpanFacts]:
        self._gaps[COMPENSATE, ""] = _Gap((COMPENSATE,), (RUN,), "compensate", at)
        return []

    def _recovery(self, fact: e.ExecutionRecovered, at: int) -> list[SpanFacts]:
        span = SpanFacts(
            key=(RECOVER, str(self.sequence)),
            parent=(RUN,),
            name="recover",
            start=self.last_at,
            end=at,
            facts=(("orchestrator", fact.orchestrator_id), ("epoch", fact.epoch)),
            links=tuple(
                Link((ATTEMPT, path, str(opened.attempt)), "lost_attempt")
                for path, opened in self._open.items()
                if not opened.child_id and opened.blocked is None
            ),
        )
        return [span]

    def _run(self, fact: e.ExecutionSucceeded | e.ExecutionFailed, at: int) -> list[SpanFacts]:
        failure = fact.failure if isinstance(fact, e.ExecutionFailed) else None
        status = fact.status.lower() if isinstance(fact, e.ExecutionFailed) else "succeeded"
        undone = self._gaps.pop((COMPENSATE, ""), None)
        left = [span for path in list(self._open) for span in self._abandon(path, at, failure)]
        left += [gap.over(at, failure) for gap in self._gaps.values()]
        if undone is not None:
            left.append(undone.over(at, failure if status == "compensation_failed" else None))
        self._gaps.clear()
        span = SpanFacts(
            key=(RUN,),
            parent=None,
            name=f"run {self.definition.name}",
            start=self.started_at,
            end=at,
            facts=(("status", status),),
            failure=failure,
        )
        return [*left, span]

    def _abandon(self, path: str, at: int, failure: Failure | None) -> list[SpanFacts]:
        """Spans of an attempt that was open when the execution was terminated."""
        left = self._open[path].blocked is None
        spans = self._unblock(path, at)
        return [*spans, self._attempt_span(path, self._open.pop(path), at, None, failure, left=left)]

    def _begin_gap(
        self, kind: str, path: str, name: str, at: int, facts: tuple[tuple[str, str | int], ...] = ()
    ) -> None:
        key = (kind, path) if kind in (GROUP, WAIT) else (kind, path, str(self.sequence))
        self._gaps[kind, path] = _Gap(key, self._around(path), name, at, (("step", path), *facts))

    def _end_gap(self, kind: str, path: str, at: int, failure: Failure | None = None) -> list[SpanFacts]:
        gap = self._gaps.pop((kind, path), None)
        return [gap.over(at, failure)] if gap is not None else []

    def _around(self, path: str) -> tuple[str, ...]:
        """
        The group whose branch the step is in (its path without branch and id), of a loop the round, the compensation,
        or the run.
        """
        if path.endswith(COMPENSATION):
            return (COMPENSATE,)
        if path.count("/") < 2:
            return _RUN
        group, branch, _ = path.rsplit("/", 2)
        return (ROUND, group, branch) if self.definition.step_at(group).rounds else (GROUP, group)


@lru_cache(maxsize=8192)
def _named(
    path: str, attempt: int, called: tuple[tuple[str, str | int], ...]
) -> tuple[tuple[str, ...], str, tuple[tuple[str, str | int], ...]]:
    """Key, name and facts of an attempt's span: the same objects again and again, which are told apart in no time."""
    return attempt_key(path, attempt), path.rpartition("/")[2], (("step", path), ("attempt", attempt), *called)


@lru_cache(maxsize=1024)
def _target(plugin: str, operation: str) -> tuple[tuple[str, str | int], ...]:
    return (("plugin", plugin), ("operation", operation))


def _branches(fact: e.GroupStarted) -> tuple[str, str | int]:
    return ("branches", ",".join(fact.branches)) if fact.items is None else ("items", fact.count)


_PROJECTIONS: Mapping[type, Callable[[ExecutionTrace, Any, int], list[SpanFacts]]] = {
    e.ExecutionStarted: ExecutionTrace._execution_started,
    e.AttemptStarted: ExecutionTrace._attempt_started,
    e.AttemptSucceeded: ExecutionTrace._attempt_succeeded,
    e.AttemptFailed: ExecutionTrace._attempt_failed,
    e.StepBlocked: ExecutionTrace._step_blocked,
    e.StepUnblocked: ExecutionTrace._step_unblocked,
    e.GroupStarted: ExecutionTrace._group_started,
    e.RoundStarted: ExecutionTrace._round_started,
    e.RoundJudged: ExecutionTrace._round_judged,
    e.GroupSucceeded: ExecutionTrace._step_ended,
    e.StepFailed: ExecutionTrace._step_ended,
    e.StepCancelled: ExecutionTrace._step_ended,
    e.StepSkipped: ExecutionTrace._skipped,
    e.WaitStarted: ExecutionTrace._wait_started,
    e.WaitEnded: ExecutionTrace._wait_ended,
    e.IncidentOpened: ExecutionTrace._incident_opened,
    e.IncidentResolved: ExecutionTrace._incident_resolved,
    e.PauseRequested: ExecutionTrace._pause_requested,
    e.ExecutionResumed: ExecutionTrace._execution_resumed,
    e.CancelRequested: ExecutionTrace._execution_resumed,
    e.CompensationStarted: ExecutionTrace._compensation_started,
    e.ExecutionRecovered: ExecutionTrace._recovery,
    e.ExecutionSucceeded: ExecutionTrace._run,
    e.ExecutionFailed: ExecutionTrace._run,
}
