"""
The facts of an execution's history; what each guarantees stands in orchestrator/v1/event.proto.

They are structs and not dataclasses because several are made for every step, and a frozen dataclass takes ten times
as long to make. Moments are Unix time in nanoseconds, 0 for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.values.digest import digest
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload, content_of_payload

RULES = 1
"""
By which rules triggers, joins and the taking up of failures work; an execution keeps those that it began with. 0: a
step that was skipped counted as done, and a share of branches was a binary fraction.
"""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where an execution comes from, as far as that applies: the step of a parent that waits for it, the execution and
    event that it was forked from, the schedule that started it. Ids can be given again: `parent_run`, `forked_run` and
    `schedule_incarnation` tell which execution and which schedule of that id it was. They are empty in histories of
    releases that did not know them.

    `root_run` and `generation` say which family it belongs to and how deep in it it stands, the root being the first;
    they are unset for a root. `on_close` is what its parent's step says of its end.
    """

    parent_id: str = ""
    parent_path: str = ""
    parent_attempt: int = 0
    forked_from: str = ""
    forked_sequence: int = 0
    forked_trace: str = ""
    schedule_id: str = ""
    parent_run: str = ""
    root_run: str = ""
    generation: int = 0
    on_close: str = ""
    forked_run: str = ""
    schedule_incarnation: str = ""


class ExecutionStarted(msgspec.Struct, frozen=True, kw_only=True):
    """
    `trace_id` and `parent_span_id` are raw bytes; `queued`: it waits for a place under its concurrency key; `rules`:
    see RULES.

    `run_id` is the run that began with this event. An import is another run with the same history, so that whoever
    wants to know which execution a state is asks ExecutionState.run_id.
    """

    workflow: str
    workflow_version: str
    content_hash: str
    input: Payload
    trace_id: bytes
    parent_span_id: bytes = b""
    sampled: bool = True
    linked_span: str = ""
    deadline: int = 0
    priority: int = 0
    concurrency_key: str = ""
    queued: bool = False
    origin: Origin | None = None
    run_id: str = ""
    rules: int = RULES


class ExecutionAdmitted(msgspec.Struct, frozen=True):
    """It has got its place under its concurrency key."""


class ExecutionSucceeded(msgspec.Struct, frozen=True):
    output: Payload


class ExecutionFailed(msgspec.Struct, frozen=True):
    """
    It ended badly, as `status` says (the name of a final Status other than SUCCEEDED).

    `left_to_do`: steps whose effects were not undone, the next one to undo first.
    """

    failure: Failure
    status: str = "FAILED"
    left_to_do: tuple[str, ...] = ()


class ExecutionRecovered(msgspec.Struct, frozen=True):
    orchestrator_id: str
    epoch: int


class PauseRequested(msgspec.Struct, frozen=True):
    """
    `interrupt`: open attempts are taken back, else they end; `hold_clock`: the timeout stands still meanwhile.

    `inherited`: its parent has paused. That and a pause of its own stand beside each other, and it goes on once both
    are lifted.
    """

    by: str = ""
    reason: str = ""
    interrupt: bool = False
    hold_clock: bool = False
    inherited: bool = False


class ExecutionPaused(msgspec.Struct, frozen=True):
    """Nothing is in flight any more."""


class ExecutionResumed(msgspec.Struct, frozen=True):
    """`inherited`: its parent has resumed, and a pause of its own stays; otherwise every pause is lifted."""

    by: str = ""
    inherited: bool = False


class CancelRequested(msgspec.Struct, frozen=True):
    by: str = ""
    reason: str = ""


class SignalReceived(msgspec.Struct, frozen=True):
    """Kept until a step waits for it; `signal_id` tells a repetition."""

    name: str
    payload: Payload
    signal_id: str = ""
    by: str = ""


def content_of(signal: SignalReceived) -> bytes:
    """Equal for signals that say the same, whoever sent them."""
    return digest("signal", signal.name, content_of_payload(signal.payload))


class VariablesSet(msgspec.Struct, frozen=True):
    """By the step at `path`, or by the definition."""

    path: str
    values: Mapping[str, Payload]


class ResultTaken(msgspec.Struct, frozen=True):
    """
    In a fork: the step at `path` had ended so in the origin and will not run again.

    `variables` are what the branches of a group had set; `failure`: it had failed, and a later step had taken that up;
    `idle`: see StepState; `owner` is the run ("ID@RUN") that owns effects of it, if this one does not. `items` tell
    which items of maps it was for, the outermost first: its iterations are found by them, and not by their indexes.
    """

    path: str
    output: Payload
    skipped: str = ""
    variables: Mapping[str, Payload] = {}
    failure: Failure | None = None
    idle: bool = False
    owner: str = ""
    items: tuple[str, ...] = ()


class EffectTaken(msgspec.Struct, frozen=True):
    """
    In a fork: the effect of the step that was at `origin_path` in the origin is this execution's from now on.

    `path` is its name here, see fork_names.py; `view` is what its compensation sees where that differs from what it
    would see here.
    """

    path: str
    origin_path: str
    view: Mapping[str, Payload] = {}


class AttemptStarted(msgspec.Struct, frozen=True):
    """
    `input` is set at the first try, and when it was edited; so are `cache_key` and `affinity`.

    `child_id` names the execution that a workflow step starts.
    """

    path: str
    attempt: int
    input: Payload | None = None
    cache_key: str = ""
    affinity: str = ""
    child_id: str = ""


class AttemptSucceeded(msgspec.Struct, frozen=True):
    """`dispatch` is None for a child execution."""

    path: str
    attempt: int
    output: Payload
    dispatch: Dispatch | None


class AttemptFailed(msgspec.Struct, frozen=True):
    """
    `next_at` is when the next try is due; 0 without `incident` means that the step has ended.

    `incident` is "EXHAUSTED" or "IN_DOUBT": the step waits for a person. `details` are what the attempt last said of
    itself, for the next one. `fate_unknown`: the call may have taken effect all the same; None in events of releases
    that did not say so.
    """

    path: str
    attempt: int
    failure: Failure
    dispatch: Dispatch | None
    next_at: int = 0
    incident: str = ""
    details: Payload | None = None
    fate_unknown: bool | None = None


class StepBlocked(msgspec.Struct, frozen=True):
    """`until` is when it may go on, if that is known; `opened_by` the traceparent of the call that opened a circuit."""

    path: str
    attempt: int
    reason: str
    message: str
    until: int = 0
    opened_by: str = ""


class StepUnblocked(msgspec.Struct, frozen=True):
    path: str
    attempt: int


class IncidentOpened(msgspec.Struct, frozen=True):
    """A step cannot begin, or its time is over between two attempts, and it waits for a person."""

    path: str
    failure: Failure


class IncidentResolved(msgspec.Struct, frozen=True):
    """`payload` is the edited input of a retry, or the output of a completion."""

    path: str
    action: Literal["retry", "complete", "fail"]
    payload: Payload | None = None
    by: str = ""
    reason: str = ""


class GroupStarted(msgspec.Struct, frozen=True):
    """`items` (a JSON list) and `count` only for a map, whose branches are named by index."""

    path: str
    branches: tuple[str, ...] = ()
    items: Payload | None = None
    count: int = 0


class RoundStarted(msgspec.Struct, frozen=True):
    """Round `index` of a loop begins, which is not its first: that one begins with the loop."""

    path: str
    index: int


class RoundJudged(msgspec.Struct, frozen=True):
    """
    Round `index` of a loop has ended, and its condition was evaluated, once for all.

    `done`: it is true, and the loop ends. `next_at` is when the next round begins; 0 if none does.
    """

    path: str
    index: int
    done: bool = False
    next_at: int = 0


class GroupSucceeded(msgspec.Struct, frozen=True):
    path: str


class WaitStarted(msgspec.Struct, frozen=True):
    path: str
    until: int = 0
    signal: str = ""


class WaitEnded(msgspec.Struct, frozen=True):
    """`signal` is the sequence number of the event that brought the signal, 0 for a timer."""

    path: str
    output: Payload
    signal: int = 0


class StepFailed(msgspec.Struct, frozen=True):
    path: str
    failure: Failure


class StepSkipped(msgspec.Struct, frozen=True):
    """`reason` is CONDITION_FALSE, NO_CASE_MATCHED, UPSTREAM_FAILED, UPSTREAM_SKIPPED or WAIT_TIMEOUT."""

    path: str
    reason: str


class StepCancelled(msgspec.Struct, frozen=True):
    path: str


class StopRequested(msgspec.Struct, frozen=True):
    """`path` names a group, or is empty for the whole execution; no failure: enough branches have succeeded."""

    path: str
    failure: Failure | None


class ChildCommandRefused(msgspec.Struct, frozen=True):
    """The child of the step at `path` may not do what it was asked for, as `failure` says, and goes on as it was."""

    path: str
    child_id: str
    command: str
    failure: Failure


class ExecutionQueued(msgspec.Struct, frozen=True):
    """It has given up its place under its concurrency key: it was imported, and others held all of them."""


class CompensationStarted(msgspec.Struct, frozen=True):
    """Everything has ended and `failure` is why the effects of steps are undone now."""

    failure: Failure


Fact: TypeAlias = (
    ExecutionStarted
    | ExecutionAdmitted
    | ExecutionSucceeded
    | ExecutionFailed
    | ExecutionRecovered
    | PauseRequested
    | ExecutionPaused
    | ExecutionResumed
    | CancelRequested
    | SignalReceived
    | VariablesSet
    | ResultTaken
    | EffectTaken
    | AttemptStarted
    | AttemptSucceeded
    | AttemptFailed
    | StepBlocked
    | StepUnblocked
    | IncidentOpened
    | IncidentResolved
    | GroupStarted
    | RoundStarted
    | RoundJudged
    | GroupSucceeded
    | WaitStarted
    | WaitEnded
    | StepFailed
    | StepSkipped
    | StepCancelled
    | StopRequested
    | CompensationStarted
    | ChildCommandRefused
    | ExecutionQueued
)


class Event(msgspec.Struct, frozen=True):
    """A fact with its place in the history: `sequence` from 1 without gaps, `at` in Unix nanoseconds."""

    sequence: int
    at: int
    fact: Fact
