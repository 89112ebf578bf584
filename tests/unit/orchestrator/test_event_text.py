from typing import get_args

import pytest

from forgemesh.faults import Code
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.event_text import kind_of, told
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import NULL
from forgemesh.orchestrator.values.retry import SECOND

BROKEN = Failure(Code.INTERNAL, "BROKEN", "does not work")
WHERE = Dispatch(instance_id="p-1", incarnation=1, plugin_version="1.0.0", at=1)
STARTED = e.ExecutionStarted(workflow="w", workflow_version="1.0.0", content_hash="", input=NULL, trace_id=b"")
NOW = 2 * SECOND

TOLD: list[tuple[e.Fact, str]] = [
    (STARTED, "execution of w 1.0.0 started"),
    (e.ExecutionAdmitted(), "execution admitted"),
    (e.ExecutionSucceeded(NULL), "execution succeeded"),
    (e.ExecutionFailed(BROKEN), "execution ended as FAILED: BROKEN, does not work"),
    (
        e.ExecutionFailed(BROKEN, "COMPENSATION_FAILED", ("b", "a")),
        "execution ended as COMPENSATION_FAILED: BROKEN, does not work; not undone: b, a",
    ),
    (e.ExecutionRecovered("o-2", 2), "orchestrator o-2 took it up again"),
    (e.PauseRequested("ada"), "pause asked for by ada"),
    (e.ExecutionPaused(), "execution paused"),
    (e.ExecutionResumed(), "execution resumed"),
    (e.CancelRequested("ada"), "cancellation asked for by ada"),
    (e.SignalReceived("approve", NULL), "signal 'approve' received"),
    (e.VariablesSet("x", {"a": NULL, "b": NULL}), "set a, b"),
    (e.ResultTaken("x", NULL, owner="e-7@r"), "result taken from the origin; its effect is that of e-7@r"),
    (e.EffectTaken("x", "x"), "its effect is this execution's from now on"),
    (e.AttemptStarted("x", 2), "attempt 2 started"),
    (e.AttemptStarted("x", 1, child_id="e.x.1"), "attempt 1 started: execution e.x.1"),
    (e.AttemptSucceeded("x", 1, NULL, WHERE), "attempt 1 succeeded at p-1"),
    (e.AttemptSucceeded("x", 1, NULL, None), "attempt 1 succeeded"),
    (e.AttemptFailed("x", 2, BROKEN, None), "attempt 2 failed: BROKEN, does not work"),
    (e.AttemptFailed("x", 2, BROKEN, None, 5 * SECOND), "attempt 2 failed: BROKEN, does not work; next in 3 s"),
    (
        e.AttemptFailed("x", 2, BROKEN, None, 0, "IN_DOUBT"),
        "attempt 2 failed: BROKEN, does not work; waits for a person (IN_DOUBT)",
    ),
    (e.StepBlocked("x", 1, "ALL_FULL", "no room"), "attempt 1 waits: ALL_FULL, no room"),
    (e.StepUnblocked("x", 1), "attempt 1 goes on"),
    (e.IncidentOpened("x", BROKEN), "waits for a person: BROKEN, does not work"),
    (e.IncidentResolved("x", "retry", by="ada"), "incident resolved (retry) by ada"),
    (e.GroupStarted("x", ("a", "b")), "group started: a, b"),
    (e.GroupStarted("x", count=100), "group started: 100"),
    (e.GroupStarted("x"), "loop started"),
    (e.RoundStarted("x", 3), "round 3 started"),
    (e.RoundJudged("x", 3, next_at=NOW + 5 * SECOND), "round 3 judged: the next one in 5 s"),
    (e.RoundJudged("x", 3, done=True), "round 3 judged: it is the last"),
    (e.RoundJudged("x", 3), "round 3 judged: there may be no further one"),
    (e.GroupSucceeded("x"), "group succeeded"),
    (e.WaitStarted("x", 5 * SECOND), "waits, until a moment in 3 s"),
    (e.WaitStarted("x", 0, "approve"), "waits for the signal 'approve'"),
    (e.WaitEnded("x", NULL, 7), "got the signal of event 7"),
    (e.WaitEnded("x", NULL), "its time has come"),
    (e.StepFailed("x", BROKEN), "failed: BROKEN, does not work"),
    (e.StepSkipped("x", "CONDITION_FALSE"), "skipped: CONDITION_FALSE"),
    (e.StepCancelled("x"), "cancelled"),
    (e.StopRequested("x", BROKEN), "ends early: BROKEN, does not work"),
    (e.StopRequested("x", None), "ends early: enough has succeeded"),
    (e.PauseRequested("ada", inherited=True), "pause asked for by its parent"),
    (e.ExecutionResumed("ada", inherited=True), "execution resumed by its parent"),
    (e.ChildCommandRefused("x", "e.x.1", "cancel", BROKEN), "its child e.x.1 refused to cancel: does not work"),
    (e.ExecutionQueued(), "waits for a place under its concurrency key again"),
    (e.CompensationStarted(BROKEN), "compensation started: BROKEN, does not work"),
]


@pytest.mark.parametrize(("fact", "text"), TOLD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fact_is_told_in_a_few_words(fact: e.Fact, text: str) -> None:
    assert told(e.Event(1, NOW, fact)) == text


def test_every_kind_of_fact_is_told() -> None:
    assert {type(fact) for fact, _ in TOLD} == set(get_args(e.Fact))


def test_a_kind_is_named_as_the_wire_names_it() -> None:
    assert kind_of(e.WaitEnded("x", NULL)) == "wait_ended"
