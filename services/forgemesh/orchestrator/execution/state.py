"""The state of an execution, as it follows from its events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.doubt import Doubt
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import NULL, Payload, json_payload
from forgemesh.orchestrator.workflow.definition import (
    Definition,
    Group,
    Loop,
    Map,
    Parallel,
    Sequence,
    Step,
    Switch,
)

_ENDS = {"SUCCEEDED", "FAILED", "CANCELLED", "TERMINATED", "TIMED_OUT", "COMPENSATED", "COMPENSATION_FAILED"}
_ENDS_OF_STEPS = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"}
"""By value: the hash of a member is worked out in Python each time."""


class Status(Enum):
    """Where an execution stands."""

    __hash__ = object.__hash__  # that of Enum is a call of Python, several for every step

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    COMPENSATING = "COMPENSATING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"
    TIMED_OUT = "TIMED_OUT"
    COMPENSATED = "COMPENSATED"
    COMPENSATION_FAILED = "COMPENSATION_FAILED"

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self._value_ in _ENDS


class StepStatus(Enum):
    """Where a step stands."""

    __hash__ = object.__hash__  # as above

    RUNNING = "RUNNING"
    BLOCKED = "BLOCKED"
    WAITING = "WAITING"
    INCIDENT = "INCIDENT"
    IN_DOUBT = "IN_DOUBT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self._value_ in _ENDS_OF_STEPS


@dataclass(slots=True, eq=False)
class Scope:
    """
    A sequence of steps that runs; `group` is None for the definition's own sequence.

    `open` counts its steps whose turn has come and that have not ended; `behind` counts, of steps with several before
    them, those that have not ended; `vars` are the variables that its own steps have set; `item` and `index` only in
    an iteration of a map or, without an item, in a round of a loop.
    """

    path: str
    steps: Sequence
    group: StepState | None
    outer: Scope | None
    begun: dict[str, StepState] = field(default_factory=dict)
    open: int = 0
    source: str | None = None
    """In a fork, the sequence of the origin that this one stands for."""
    turned: set[int] | None = None
    behind: dict[int, int] | None = None
    failed: bool = False
    vars: dict[str, Payload] = field(default_factory=dict)
    item: Payload | None = None
    index: int = -1

    def path_of(self, index: int) -> str:
        """The path of one of its steps."""
        return f"{self.path}/{self.steps[index].id}" if self.path else self.steps[index].id

    @property
    def name(self) -> str:
        """The branch's name."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Branches:
    """
    How the branches of a group stand. `outputs` are by name, of those that ended well, as values or as the steps that
    have them; `failures` in order of time; `next` is the first branch that has not been opened. `skipped` counts those
    in which nothing was done.
    """

    count: int
    limit: int
    tolerated: int = 0
    next: int = 0
    open: int = 0
    succeeded: int = 0
    skipped: int = 0
    outputs: dict[str, Payload | StepState] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """How many have come to their own end."""
        return self.succeeded + self.skipped + len(self.failures)


@dataclass(slots=True, eq=False)
class StepState:
    """
    A step that has begun; times in Unix nanoseconds, 0 for not yet.

    `lost` counts attempts that say nothing about the call, `unmade` those of them that were put off, and `spent` those
    before the count began anew.
    """

    path: str
    step: Step
    scope: Scope
    began_at: int
    index: int = 0
    status: StepStatus = StepStatus.RUNNING
    ended_at: int = 0
    attempts: int = 0
    lost: int = 0
    unmade: int = 0
    spent: int = 0
    attempted_at: int = 0
    """When the newest attempt began."""
    next_at: int = 0
    close_at: int = 0
    input: Payload | None = None
    output: Payload | None = None
    failure: Failure | None = None
    dispatch: Dispatch | None = None
    tried: tuple[str, ...] = ()
    """The instances on which it failed last, since it began anew."""
    blocked: e.StepBlocked | None = None
    blocked_at: int = 0
    started: e.AttemptStarted | None = None
    """The newest attempt."""
    details: Payload | None = None
    """What an attempt last said of itself, for the next one."""
    branch_names: tuple[str, ...] = ()
    branches: Branches | None = None
    items: tuple[Payload, ...] = ()
    merged: dict[str, Payload] = field(default_factory=dict)
    """Variables that the branches of a group have set; of a loop, what its ended rounds have left."""
    verdict: e.RoundJudged | None = None
    """Of a loop, on the newest round; None while it runs, and until it is judged."""
    stopping: e.StopRequested | None = None
    waits: e.WaitStarted | None = None
    skipped: str = ""
    idle: bool = False
    """A group that ended well, and in which nothing was done."""
    astray: bool = False
    """It did nothing, and behind it is a failure that has not been taken up."""
    taken: bool = False
    owner: str = ""
    """Who owns effects of a step whose result was taken, if this execution does not."""
    view: Mapping[str, Payload] | None = None
    """Of an effect that was taken over: what its compensation sees, where it is not what it would see here."""
    sources: Mapping[int, int] | None = None
    """In a fork, the iterations of the origin that those of a map stand for."""
    compensates: StepState | None = None
    """The step whose effect this one undoes."""
    doubts: tuple[Doubt, ...] = ()
    """Where attempts may have taken effect that did not end well, since it began anew."""
    doubtful: bool = False
    """An attempt that did not end well may have taken effect all the same."""


@dataclass(slots=True)
class ExecutionState:
    """
    What is known about one execution. Folding an event in (see fold.py) is all that changes it.

    `run_id` tells it from every other execution that has had, or will have, its id. It is the one that its first event
    names, unless whoever made the state knows better: the store, for an import and for what an older release wrote.

    What has to be decided next is kept beside it, in order: `to_begin` (steps whose turn has come), `ready` (the same,
    of those that need one of the execution's own places), `to_skip` (steps that cannot run any more), `to_settle`
    (groups with an ended branch; "" is the execution itself), `to_set` (steps whose variables are to be set), and
    `wakes` as a heap of when something is due: (moment, path). A wake counts only as long as the step at the path says
    the same.
    """

    namespace: str
    execution_id: str
    definition: Definition
    status: Status = Status.RUNNING
    """Follows from the facts below, see standing.py; folding keeps it up to date."""
    ended: Status | None = None
    """How it has ended. Nothing is folded into an execution that has."""
    follows: frozenset[type] = frozenset({e.ExecutionStarted})
    """The kinds of facts that may follow, by where it stands; see legality.py."""
    sequence: int = 0
    started: e.ExecutionStarted | None = None
    rules: int = e.RULES
    started_at: int = 0
    ended_at: int = 0
    last_at: int = 0
    deadline: int = 0
    output: Payload | None = None
    failure: Failure | None = None
    stopping: e.StopRequested | None = None
    pause: e.PauseRequested | None = None
    """What holds it: its own pauses and its parent's, as one."""
    own_pause: e.PauseRequested | None = None
    """All that was asked of itself since it was last resumed, as one."""
    inherited_pause: e.PauseRequested | None = None
    """All that its parent's pauses asked of it since that was last resumed, as one."""
    pause_asked: e.PauseRequested | None = None
    """The newest request to itself."""
    resumed: e.ExecutionResumed | None = None
    rests: bool = False
    """Nothing has been in flight since it was paused."""
    paused_at: int = 0
    held_at: int = 0
    """Since when its timeout has stood still."""
    queued: bool = False
    cancels: tuple[e.CancelRequested, ...] = ()
    """Every one that was asked for; the first has stopped it, unless its timeout had."""
    compensating: bool = False
    left_to_do: tuple[str, ...] = ()
    left_by_children: dict[str, Failure] = field(default_factory=dict)
    """Workflow steps whose child could not undo all that it had done, and how it ended."""
    handed_over: Mapping[str, str] = field(default_factory=dict)
    """Of those, what forks own since, and which; known of an execution that somebody looks at."""
    vars_set: bool = False
    scopes: dict[str, Scope] = field(default_factory=dict)
    steps: dict[str, StepState] = field(default_factory=dict)
    to_begin: dict[str, tuple[Scope, int]] = field(default_factory=dict)
    ready: dict[str, tuple[Scope, int]] = field(default_factory=dict)
    to_skip: dict[str, tuple[Scope, int]] = field(default_factory=dict)
    to_settle: dict[str, None] = field(default_factory=dict)
    to_set: dict[str, StepState] = field(default_factory=dict)
    open_attempts: dict[str, StepState] = field(default_factory=dict)
    waiting: dict[str, StepState] = field(default_factory=dict)
    """Whose next attempt is due later."""
    waits: dict[str, StepState] = field(default_factory=dict)
    """Wait steps that have begun, and loops between two rounds."""
    listening: dict[str, dict[str, StepState]] = field(default_factory=dict)
    """Those of them that wait for a signal, by its name."""
    incidents: dict[str, StepState] = field(default_factory=dict)
    wakes: list[tuple[int, str]] = field(default_factory=list)
    moments: list[tuple[int, str]] = field(default_factory=list)
    """The same of waits until a moment, which is one of the wall clock."""
    signals: dict[str, list[tuple[int, e.SignalReceived]]] = field(default_factory=dict)
    """By name, the oldest first: those that no step has taken, each with its event's sequence number."""
    signal_ids: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Every signal id that has come, with which event, and what tells its content, see events.content_of."""
    resolved: dict[str, e.IncidentResolved] = field(default_factory=dict)
    """What people last decided about a step, by its path."""
    taken: dict[str, e.ResultTaken] = field(default_factory=dict)
    to_take: list[tuple[str, e.ResultTaken]] = field(default_factory=list)
    """Steps whose turn has come and whose results were taken over; empty between events."""
    taken_items: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of maps of the origin, which iteration was for which item."""
    effects: dict[str, StepState] = field(default_factory=dict)
    """Effects that were taken over, by where they were in the origin."""
    undoable: list[StepState] = field(default_factory=list)
    """Steps whose effect may have to be undone, in order of their end; while compensating, those that are left."""
    undoing: StepState | None = None
    """The compensation that runs."""
    ended_steps: int = 0
    run_id: str = ""
    unfinished: bool = False
    """There is more to decide at once than was enough for one turn."""
    remember: bool = False
    """Keep ended iterations of maps: whoever looks back needs them."""

    @property
    def cancel(self) -> e.CancelRequested | None:
        """Why it was cancelled, if it was."""
        return self.cancels[0] if self.cancels else None

    @property
    def clock_held(self) -> bool:
        """Whether its timeout stands still."""
        return self.pause is not None and self.pause.hold_clock

    @property
    def imported(self) -> bool:
        """Whether its history began as that of another run, on this mesh or another one."""
        return self.started is not None and self.started.run_id not in ("", self.run_id)

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self.started.trace_id.hex() if self.started is not None else ""

    def source_of(self, step: StepState) -> str | None:
        """In a fork, the path of the step of the origin that this one stands for."""
        source = step.scope.source
        return source if source is None else f"{source}/{step.step.id}" if source else step.step.id

    def is_stopping(self, scope: Scope | None) -> bool:
        """Whether something around `scope` is ending early, so that nothing new starts in it."""
        if self.stopping is not None:
            return True
        while scope is not None:
            if scope.group is not None and scope.group.stopping is not None:
                return True
            scope = scope.outer
        return False

    def scopes_from(self, scope: Scope | None) -> Iterator[Scope]:
        """`scope` and those around it, the innermost first."""
        while scope is not None:
            yield scope
            scope = scope.outer

    def output_of(self, state: StepState) -> Payload:
        """What later steps see of an ended step; that of a group is worked out when it is first asked for."""
        if state.output is None:
            if state.branches is None:
                return NULL
            state.output = self._group_output(state)
        return state.output

    def _group_output(self, group: StepState) -> Payload:
        assert group.branches is not None
        assert isinstance(group.step, Group)
        match group.step:
            case Map():
                return json_payload([self._part(group.branches, str(index)) for index in range(group.branches.count)])
            case Parallel():
                return json_payload({name: self._part(group.branches, name) for name in group.branch_names})
            case Switch() | Loop():
                return next((self._of_branch(output) for output in group.branches.outputs.values()), NULL)

    def _part(self, branches: Branches, name: str) -> object:
        output = branches.outputs.get(name)
        if output is None:
            return None
        try:
            return self._of_branch(output).raw()
        except ValueError as error:
            raise ValueError(f"branch {name!r}: {error}") from error

    def _of_branch(self, output: Payload | StepState) -> Payload:
        return self.output_of(output) if isinstance(output, StepState) else output


def max_open(group: Group) -> int:
    """How many branches of the group run at once; 0 is all of them."""
    return group.max_concurrency
