"""An independent account of what a history may say, kept event by event beside the real fold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.workflow.definition import (
    COMPENSATION,
    Call,
    Definition,
    Loop,
    Map,
    Parallel,
    Sequence,
    Step,
    Switch,
    Trigger,
)

GOOD = ("SUCCEEDED", "SKIPPED")
_SENT = ("ORCHESTRATOR_LOST", "SCHEDULE_TO_CLOSE_TIMEOUT")
UNKNOWN = {"HOST_LOST", "ORCHESTRATOR_LOST", "START_TO_CLOSE_TIMEOUT", "SCHEDULE_TO_CLOSE_TIMEOUT", "INTERRUPTED"}


@dataclass
class HistoryModel:
    """Raises AssertionError for an event that must not come now."""

    definition: Definition
    sequence: int = 0
    at: int = 0
    begun: dict[str, None] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    backing_off: set[str] = field(default_factory=set)
    incidents: set[str] = field(default_factory=set)
    stopping: set[str] = field(default_factory=set)
    branches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    verdicts: dict[str, e.RoundJudged] = field(default_factory=dict)
    """Of loops, on the newest round, once it is judged."""
    undoable: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    signals: set[int] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    astray: set[str] = field(default_factory=set)
    """Steps that did nothing, with a failure behind them."""
    taken: dict[str, e.ResultTaken] = field(default_factory=dict)
    """What a fork has from its origin."""
    queued: bool = False
    paused: bool = False
    compensating: bool = False
    over: str = ""

    def enter(self, event: e.Event) -> None:
        assert not self.over, "an ended execution goes on"
        assert event.sequence == self.sequence + 1
        assert event.at >= self.at
        self.sequence, self.at = event.sequence, event.at
        self._about_the_whole(event)
        self._about_an_attempt(event.fact)
        self._about_a_step(event.fact)
        self._check_limits()

    def _about_the_whole(self, event: e.Event) -> None:
        match event.fact:
            case e.ExecutionSucceeded():
                self._check_over()
                self.over = "SUCCEEDED"
                assert not self.compensating
                assert self._branch_is_good(""), "a failure that nobody has taken up is told as a success"
            case e.ExecutionFailed(_, status, left):
                self._check_bad_end(status, list(left))
            case e.SignalReceived():
                self.signals.add(event.sequence)
            case e.ExecutionStarted(queued=queued):
                self.queued = queued
            case e.ExecutionQueued():
                assert not self.queued, "queued twice"
                self.queued = True
            case e.ExecutionAdmitted():
                assert self.queued, "admitted without having waited"
                self.queued = False
            case e.ResultTaken() | e.EffectTaken():
                self._take(event.fact)
            case e.CompensationStarted():
                self._check_over()
                self.compensating = True
            case e.PauseRequested() | e.ExecutionPaused() | e.ExecutionResumed() | e.CancelRequested():
                self._about_a_pause(event.fact)

    def _take(self, fact: e.ResultTaken | e.EffectTaken) -> None:
        assert not self.attempts, "a fork takes over before it does anything"
        if isinstance(fact, e.EffectTaken):
            self.undoable.append(fact.path)
            return
        self.taken[fact.path] = fact
        self.begun[fact.path] = None
        self.ended[fact.path] = "FAILED" if fact.failure else f"SKIPPED:{fact.skipped}" if fact.skipped else "SUCCEEDED"

    def _about_a_pause(self, fact: e.Fact) -> None:
        self.paused = isinstance(fact, e.PauseRequested | e.ExecutionPaused)
        if isinstance(fact, e.ExecutionPaused):
            assert not [path for path in self.open if isinstance(self._step(path), Call)], "paused in flight"

    def _check_bad_end(self, status: str, left: list[str]) -> None:
        self.over = status
        if status == "TERMINATED":
            return
        self._check_over()
        if status == "COMPENSATION_FAILED":
            assert left == self.undoable[::-1]
        else:
            assert not self.undoable, f"{self.undoable} should have been undone"

    def _check_over(self) -> None:
        left = [path for path in self.begun if path not in self.ended and not path.endswith(COMPENSATION)]
        assert not left, f"steps were left open: {left}"
        assert not self.open

    def _about_an_attempt(self, fact: e.Fact) -> None:
        match fact:
            case e.AttemptStarted(path, attempt):
                self._attempt(path, attempt)
            case e.AttemptSucceeded(path, attempt):
                self._close(path, attempt)
                self._end(path, "SUCCEEDED")
            case e.AttemptFailed(path, attempt, failure, dispatch, next_at, incident):
                self._close(path, attempt)
                said = failure.metadata.get("sent", "").lower()
                sent = dispatch is not None or (said != "false" if failure.reason in _SENT else said == "true")
                self._fail(path, failure.reason, sent, next_at, incident)
            case e.StepBlocked(path, attempt) | e.StepUnblocked(path, attempt):
                assert self.open[path] == attempt
            case e.IncidentOpened(path):
                if path in self.begun:  # its time is over between two attempts
                    self.backing_off.remove(path)
                else:
                    self._begin(path)
                self.incidents.add(path)
            case e.IncidentResolved(path, action):
                self._resolve(path, action)

    def _fail(self, path: str, reason: str, sent: bool, next_at: int, incident: str) -> None:
        step = self._step(path)
        doubtful = reason == "IN_DOUBT" or (sent and reason in UNKNOWN | {"CANCELLED"})
        if doubtful:
            self.doubtful.add(path)
        if next_at:
            careful = isinstance(step, Call) and step.idempotent is False and step.in_doubt != "retry"
            assert not (careful and doubtful) or path.endswith(COMPENSATION), f"{path} is repeated in doubt"
            self.backing_off.add(path)
        elif incident:
            self.incidents.add(path)
        else:
            self._end(path, "CANCELLED" if reason == "CANCELLED" and self._is_stopping(path) else "FAILED")

    def _resolve(self, path: str, action: str) -> None:
        self.incidents.remove(path)
        if action == "complete":
            self.doubtful.discard(path)
            self._end(path, "SUCCEEDED")
        elif action == "fail":
            self._end(path, "FAILED")
        elif self.attempts[path]:
            self.backing_off.add(path)
        else:
            del self.begun[path]

    def _about_a_step(self, fact: e.Fact) -> None:
        match fact:
            case e.GroupStarted() | e.RoundStarted() | e.RoundJudged() | e.GroupSucceeded():
                self._about_a_group(fact)
            case e.WaitStarted(path):
                self._begin(path)
            case e.WaitEnded(path, _, signal):
                if signal:
                    self.signals.remove(signal)
                self._end(path, "SUCCEEDED")
            case e.StepSkipped(path, reason):
                self._check_skip(path, reason)
                self._give_up(path, f"SKIPPED:{reason}")
            case e.StepFailed(path):
                self._give_up(path, "FAILED")
            case e.StepCancelled(path):
                self._give_up(path, "CANCELLED")
            case e.StopRequested(path):
                assert path not in self.stopping, "stopped twice"
                assert not path or (path in self.begun and path not in self.ended)
                self.stopping.add(path)
                self.paused = self.paused and bool(path)

    def _about_a_group(self, fact: e.GroupStarted | e.RoundStarted | e.RoundJudged | e.GroupSucceeded) -> None:
        match fact:
            case e.GroupStarted(path, branches, items, count):
                self._begin(path)
                self.branches[path] = branches if items is None else tuple(str(n) for n in range(count))
                if isinstance(self._step(path), Loop):
                    self.branches[path] = ("0",)
            case e.RoundStarted(path, index):
                self._begin_round(path, index)
            case e.RoundJudged(path):
                self._judge(path, fact)
            case e.GroupSucceeded(path):
                self._check_join(path)
                self._end(path, "SUCCEEDED")

    def _begin_round(self, path: str, index: int) -> None:
        verdict = self.verdicts.pop(path)  # none is run without a verdict on the one before it
        assert path in self.begun
        assert path not in self.ended
        assert not self.paused, f"a round of {path} begins during a pause"
        assert not self.queued
        assert not self.compensating
        assert not self._is_stopping(path), f"a round of {path} begins in what stops"
        assert index == verdict.index + 1 == len(self.branches[path])
        assert 0 < verdict.next_at <= self.at, f"round {index} of {path} begins too early"
        self.branches[path] += (str(index),)

    def _judge(self, path: str, verdict: e.RoundJudged) -> None:
        loop = self._step(path)
        assert isinstance(loop, Loop)
        assert path not in self.verdicts, f"round {verdict.index} of {path} is judged twice"
        assert path not in self.ended
        assert verdict.index == len(self.branches[path]) - 1
        assert self._branch_is_good(f"{path}/{verdict.index}"), "a round is judged that has not ended well"
        assert verdict.index < loop.max_iterations
        last = verdict.done or verdict.index + 1 == loop.max_iterations
        assert last is (verdict.next_at == 0)
        wanted = loop.until.program.source.removeprefix("index == ")
        assert not wanted.isdigit() or verdict.done is (verdict.index == int(wanted)), f"{path} misjudges a round"
        self.verdicts[path] = verdict

    def _check_join(self, path: str) -> None:
        group = self._step(path)
        if isinstance(group, Loop):
            verdict = self.verdicts[path]
            assert verdict.done or (group.on_limit == "succeed" and verdict.index + 1 == group.max_iterations)
        if not isinstance(group, Parallel | Map):
            return
        good = [name for name in self.branches[path] if self._branch_is_good(f"{path}/{name}")]
        count = len(self.branches[path])
        if group.join.mode == "quorum":
            done = [name for name in good if self._branch_did_something(f"{path}/{name}")]
            assert len(done) >= group.join.quorum, f"{path} has its quorum by branches that did nothing"
        else:
            assert count - len(good) <= group.join.tolerated(count)

    def _branch_is_good(self, path: str) -> bool:
        steps = self._sequence(f"{path}/x" if path else "x")
        statuses = [self.ended.get(_below(path, step.id)) for step in steps]
        return None not in statuses and not any(
            status == "CANCELLED" or (status == "FAILED" and not self._is_handled(path, steps, index))
            for index, status in enumerate(statuses)
        )

    def _is_handled(self, path: str, steps: Sequence, index: int) -> bool:
        for following in steps.following[index]:
            tolerant = steps[following].trigger in (Trigger.ALL_DONE, Trigger.ANY_SUCCEEDED)
            if tolerant and self._did_something(_below(path, steps[following].id)):
                return True
            if self._is_handled(path, steps, following):
                return True
        return False

    def _did_something(self, path: str) -> bool:
        if self.ended.get(path) != "SUCCEEDED":
            return False
        if path in self.taken:
            return not self.taken[path].idle
        if not isinstance(self._step(path), Switch | Parallel | Map | Loop):
            return True
        return any(self._branch_did_something(f"{path}/{name}") for name in self.branches[path])

    def _branch_did_something(self, path: str) -> bool:
        inside = [f"{path}/{step.id}" for step in self._sequence(f"{path}/x")]
        return any(self.ended.get(inner) == "FAILED" or self._did_something(inner) for inner in inside)

    def _before(self, path: str) -> list[str]:
        steps = self._sequence(path)
        prefix = path.rpartition("/")[0]
        return [_below(prefix, steps[source].id) for source in steps.before[self._index(path)]]

    def _leads_from_failure(self, path: str) -> bool:
        status = self.ended.get(path, "")
        taken = self.taken.get(path)
        if taken is not None and (taken.skipped or taken.idle):
            return any(self._leads_from_failure(one) for one in self._before(path))
        return path in self.astray or status in ("FAILED", "CANCELLED", "SKIPPED:UPSTREAM_FAILED")

    def _check_skip(self, path: str, reason: str) -> None:
        if reason.startswith("UPSTREAM_"):
            steps, index = self._sequence(path), self._index(path)
            assert not _may_run(steps[index].trigger, [self._status_before(one) for one in self._before(path)])
            failed = any(self._leads_from_failure(one) for one in self._before(path))
            assert failed == (reason == "UPSTREAM_FAILED"), f"{path} is skipped by {reason}"

    def _status_before(self, path: str) -> str:
        return "SKIPPED:UPSTREAM_FAILED" if path in self.astray else self.ended.get(path, "")

    def _begin(self, path: str) -> None:
        assert path not in self.begun, f"{path} begins twice"
        if path.endswith(COMPENSATION):
            self._begin_undoing(path)
            return
        assert not self.compensating
        steps, index = self._sequence(path), self._index(path)
        before = [self._status_before(one) for one in self._before(path)]
        assert _may_run(steps[index].trigger, before), f"{path} begins after {before} by {steps[index].trigger}"
        group = _group_of(path)
        assert not group or (group in self.begun and group not in self.ended)
        if group:
            assert path.split("/")[-2] in self.branches[group], "in a branch that was not chosen"
        assert not self._is_stopping(path), f"{path} begins in what stops"
        self.begun[path] = None

    def _begin_undoing(self, path: str) -> None:
        assert self.compensating
        assert self.undoable, f"{path} has nothing to undo"
        assert path == f"{self.undoable[-1]}{COMPENSATION}", f"{path} is undone before {self.undoable[-1]}"
        self.begun[path] = None

    def _attempt(self, path: str, attempt: int) -> None:
        assert not self.paused or path.endswith(COMPENSATION), "an attempt starts during a pause"
        assert not self.queued or path.endswith(COMPENSATION), "an attempt starts without a place"
        if path not in self.begun:
            self._begin(path)
        assert attempt == 1 or path in self.backing_off
        self.backing_off.discard(path)
        assert path not in self.open
        assert path not in self.ended
        assert path not in self.incidents
        assert attempt == self.attempts[path] + 1
        assert path.endswith(COMPENSATION) or not self._is_stopping(path)
        self.attempts[path] = self.open[path] = attempt

    def _close(self, path: str, attempt: int) -> None:
        assert self.open.pop(path) == attempt

    def _give_up(self, path: str, status: str) -> None:
        if path not in self.begun:
            self.begun[path] = None  # it ends without having begun
            if path.endswith(COMPENSATION):
                assert path == f"{self.undoable[-1]}{COMPENSATION}"
        if status == "FAILED" and self.ended.get(path) == "SUCCEEDED":
            self.ended[path] = status  # its variables could not be set
            return
        assert path not in self.open
        self.incidents.discard(path)
        self.backing_off.discard(path)
        self._end(path, status)

    def _end(self, path: str, status: str) -> None:
        assert path in self.begun
        assert path not in self.ended, f"{path} ends twice"
        inside = [inner for inner in self.begun if inner.startswith(f"{path}/") and inner not in self.ended]
        assert not inside, f"{path} ends before {inside}"
        self.ended[path] = status
        if path.endswith(COMPENSATION):
            if status == "SUCCEEDED":
                self.undone.append(self.undoable.pop())
            return
        if status.startswith("SKIPPED") or (status == "SUCCEEDED" and not self._did_something(path)):
            self.astray |= {path} if any(self._leads_from_failure(one) for one in self._before(path)) else set()
        step = self._step(path)
        effect = status == "SUCCEEDED" or path in self.doubtful
        if effect and isinstance(step, Call) and step.compensate is not None:
            self.undoable.append(path)

    def _check_limits(self) -> None:
        limit = self.definition.max_concurrency
        if limit and not self.compensating:
            assert len(self.open) <= limit, "more attempts are open than the execution may have"
        busy: Counter[str] = Counter()
        for path in {path.rpartition("/")[0] for path in self.open if "/" in path}:
            parts = path.split("/")
            for end in range(2, len(parts) + 1, 2):
                busy["/".join(parts[:end])] = 1
        by_group: Counter[str] = Counter(branch.rpartition("/")[0] for branch in busy)
        for group, count in by_group.items():
            step = self._step(group)
            most = step.max_concurrency if isinstance(step, Parallel | Map) else 0
            assert not most or count <= most, f"{group} runs {count} branches"

    def _step(self, path: str) -> Step:
        return self.definition.step_at(path)

    def _sequence(self, path: str) -> Sequence:
        group = _group_of(path)
        if not group:
            return self.definition.steps
        step = self._step(group)
        if isinstance(step, Map | Loop):
            return step.steps
        assert isinstance(step, Switch | Parallel)
        return next(branch.steps for branch in step.branches if branch.name == path.split("/")[-2])

    def _index(self, path: str) -> int:
        return [step.id for step in self._sequence(path)].index(path.rpartition("/")[2])

    def _is_stopping(self, path: str) -> bool:
        group = _group_of(path)
        while group:
            if group in self.stopping:
                return True
            group = _group_of(group)
        return "" in self.stopping


def _below(path: str, step_id: str) -> str:
    return f"{path}/{step_id}" if path else step_id


def _group_of(path: str) -> str:
    return path.rsplit("/", 2)[0] if path.count("/") >= 2 else ""


def _may_run(trigger: Trigger, before: list[str]) -> bool:
    if trigger is Trigger.ANY_SUCCEEDED:
        return not before or "SUCCEEDED" in before
    if not all(before):
        return False
    if trigger is Trigger.ALL_DONE:
        return True
    if trigger is Trigger.NONE_FAILED:
        return not any(status in ("FAILED", "CANCELLED") for status in before)
    return all(status.startswith(GOOD) and status != "SKIPPED:UPSTREAM_FAILED" for status in before)
