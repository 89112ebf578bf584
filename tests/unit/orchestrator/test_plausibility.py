"""Histories that were edited by hand: refused, or an engine can go on with them to an end."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.decide import advance, record, recovered
from forgemesh.orchestrator.execution.fold import restore
from forgemesh.orchestrator.execution.plausibility import check_event, check_rest
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.values.payload import NULL, Payload
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Definition
from tests.unit.orchestrator.histories import START, History, broken, unavailable
from tests.unit.orchestrator.workflows import call, loop, of_steps, parallel
from tests.unit.orchestrator.world import World

SEEDS, WORLDS = 1_500, 150
MOST = 5_000
"""Events that follow at once in any of these; more is no end."""
UNDO = {"compensate": {"plugin": "p", "operation": "o"}}


def definition() -> Definition:
    branches = parallel("g", l=[call("x")], r=[{"id": "w", "wait": {"signal": "go"}}])
    inner = {"over": "${input.l}", "steps": [call("y", **UNDO)]}
    rounds = loop("o", "index == 1", call("z", set={"v": "${index}"}, **UNDO), limit=3, delay="1s")
    first = (call("a", set={"v": 2}, **UNDO), branches, {"id": "m", "map": inner}, rounds)
    return of_steps(*first, call("b", retry={"max_attempts": 2}), vars={"v": 1}, timeout="1h")


DEEDS: tuple[Callable[[History], object], ...] = (
    lambda history: history.succeed("a", 1),
    lambda history: history.succeed("g/l/x", 1),
    lambda history: history.turn(*control.signal(history.state, e.SignalReceived("go", Payload(b"1"), "s"))),
    lambda history: [history.succeed(path, 1) for path in ("m/0/y", "m/1/y")],
    lambda history: history.succeed("o/0/z", 1),
    lambda history: history.wait(1),
    lambda history: history.succeed("o/1/z", 1),
    lambda history: history.fail("b", unavailable()),
    lambda history: [history.wait(1), history.fail("b", broken())],
    lambda history: [history.succeed(f"{path}:compensate", 1) for path in ("o/1/z", "o/0/z", "m/1/y", "m/0/y", "a")],
)


def played() -> Iterator[History]:
    """One execution, at several points of its life."""
    for stop in range(len(DEEDS) + 1):
        history = History(definition(), {"l": [1, 2]})
        for deed in DEEDS[:stop]:
            deed(history)
        yield history


PATHS = (
    *("", "a", "b", "g", "g/l/x", "g/r/w", "m", "m/0/y", "m/7/y", "zz", "a:compensate", "zz:compensate", "m/x/y"),
    *("o", "o/0/z", "o/1/z", "o/2/z", "o/x/z"),
)
MAY_LACK = ("input", "payload", "items", "details")
NUMBERS = (0, 1, -1, 2, 2**31, 2**63 - 1, 1 - 2**63, 4 * 10**18)
PAYLOADS = tuple(map(Payload, (b"", b"null", b"[1,2,3]", b"{bad", b"NaN", b"[" * 3000, b"1" * 400)))
TEXTS = (*PATHS, "\x00", "x" * 5000, "TERMINATED", "RUNNING", "retry", "UPSTREAM_FAILED")


def other(drawn: random.Random, value: object) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return drawn.choice(NUMBERS)
        case str():
            return drawn.choice(TEXTS)
        case bytes():
            return b"t"
        case Payload():
            return drawn.choice(PAYLOADS)
        case tuple():
            return drawn.choice(((), value + value, ("l",), ("zz",)))
        case dict():
            return drawn.choice(({}, {"zz": Payload(b"1")}))
    return value


def foreign(drawn: random.Random) -> e.Fact:
    path, number = drawn.choice(PATHS), drawn.choice((0, 1, 2, 2**31 - 1))
    return drawn.choice(
        (
            *(e.ExecutionAdmitted(), e.ExecutionQueued(), e.ExecutionPaused(), e.ExecutionResumed()),
            *(e.CompensationStarted(broken()), e.PauseRequested(hold_clock=True), e.CancelRequested("me")),
            *(e.ExecutionFailed(broken(), "RUNNING"), e.ExecutionSucceeded(Payload(b"1"))),
            *(e.StepCancelled(path), e.StepSkipped(path, "X"), e.StepFailed(path, broken())),
            *(e.AttemptStarted(path, number, Payload(b"1")), e.AttemptStarted(path, number, child_id="c")),
            *(e.AttemptSucceeded(path, number, Payload(b"1"), None), e.StepUnblocked(path, number)),
            *(e.WaitStarted(path, 2**62, "go"), e.WaitEnded(path, Payload(b"1"), number)),
            *(e.IncidentOpened(path, broken()), e.IncidentResolved(path, "retry", None, "", "")),
            *(e.StopRequested(path, None), e.StopRequested(path, broken()), e.VariablesSet(path, {})),
            *(e.GroupStarted(path, ("l",)), e.GroupStarted(path, (), Payload(b"[1]"), number)),
            *(e.RoundStarted(path, number), e.RoundJudged(path, number, drawn.random() < 0.5, number)),
            *(e.GroupSucceeded(path), e.EffectTaken(path, path), e.ResultTaken(path, Payload(b"1"))),
        )
    )


def edited(drawn: random.Random, history: Sequence[e.Event]) -> list[e.Event]:
    events = list(history)
    for _ in range(drawn.choice((1, 1, 2, 3))):
        place = drawn.randrange(len(events))
        event = events[place]
        match drawn.randrange(6):
            case 0 if event.fact.__struct_fields__:
                name = drawn.choice(event.fact.__struct_fields__)
                value = getattr(event.fact, name)
                changed = {name: other(drawn, NULL if value is None and name in MAY_LACK else value)}
                events[place] = e.Event(0, event.at, msgspec.structs.replace(event.fact, **changed))
            case 1 if len(events) > 1:
                del events[place]
            case 2:
                elsewhere = drawn.randrange(len(events))
                events[place], events[elsewhere] = events[elsewhere], events[place]
            case 3:
                events.insert(drawn.randrange(len(events)), event)
            case 4:
                events[place] = e.Event(0, drawn.choice(NUMBERS), event.fact)
            case _:
                events.insert(place, e.Event(0, event.at, foreign(drawn)))
    return [e.Event(number, event.at, event.fact) for number, event in enumerate(events, start=1)]


def taken_over(known: Definition, events: Sequence[e.Event]) -> ExecutionState:
    state = ExecutionState("default", "e-1", known)
    for event in events:
        check_event(state, event)
        restore(state, event)
    check_rest(state)
    return state


def lived(state: ExecutionState) -> None:
    """What an engine does with one that was taken over, up to its end."""
    now = START + 3600 * SECOND
    left = iter(range(MOST))
    recovered(state, "o", 2, now, 0.5)
    for again in (False, True):
        if again and state.pause is not None and e.ExecutionResumed in state.follows:
            record(state, e.ExecutionResumed("me"), now)
        advance(state, now, enough=lambda: next(left, None) is None)
        assert not state.unfinished
        if state.ended is not None:
            return
    for fact in control.terminate(state, "", ""):
        record(state, fact, now)


def outlived(known: Definition, events: Sequence[e.Event]) -> bool:
    """Whether an engine could go on with it; False if it was refused."""
    try:
        state = taken_over(known, events)
    except (ValueError, KeyError, IndexError, AssertionError):
        return False
    if state.ended is None:
        lived(state)
    return True


@pytest.mark.parametrize("part", range(5))
def test_a_history_that_was_edited_is_refused_or_an_engine_can_go_on_with_it(part: int) -> None:
    known, histories = definition(), [history.events for history in played()]
    refused = 0
    for seed in range(part, SEEDS, 5):
        drawn = random.Random(seed)
        refused += not outlived(known, edited(drawn, drawn.choice(histories)))

    assert refused > SEEDS // 20


@pytest.mark.parametrize("part", range(5))
def test_that_is_so_of_any_workflow(part: int) -> None:
    for seed in range(part, WORLDS, 5):
        world, drawn = World(seed), random.Random(seed)
        world.run()
        for _ in range(10):
            outlived(world.definition, edited(drawn, world.events[: drawn.randint(1, len(world.events))]))


@pytest.mark.parametrize("part", range(5))
def test_what_an_engine_has_written_is_never_refused(part: int) -> None:
    for seed in range(part, WORLDS, 5):
        world = World(seed)
        world.run()

        assert taken_over(world.definition, world.events).ended is world.state.ended
