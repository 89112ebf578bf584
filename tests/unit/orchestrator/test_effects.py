"""What a turn asks of the world is known before anybody performs it."""

from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.effects import (
    CutChildren,
    ForgetCall,
    HoldCalls,
    PauseChildren,
    ReleaseCall,
    ResumeChildren,
    StartCall,
    StartChild,
    StopChildren,
    TakeBackCalls,
    child_orders_of,
    effects_of,
    unsent_in,
)
from tests.unit.orchestrator.histories import History, broken
from tests.unit.orchestrator.workflows import call, child, of_steps


def test_what_begins_starts_and_calls_are_told_apart_from_children() -> None:
    history = History(of_steps(call("a", after=[]), child("b", "other", after=[]), call("c", after=[])))

    effects = effects_of(history.events)

    assert effects == [StartCall("a", 1), StartChild("b", 1), StartCall("c", 1)]
    assert unsent_in(effects[1:]) == {"c": 1}


def test_a_step_that_ends_asks_for_the_next_one_only() -> None:
    history = History(of_steps(call("a"), call("b")))

    assert effects_of(history.succeed("a")) == [StartCall("b", 1)]
    assert effects_of(history.succeed("b")) == []


def test_a_call_that_waited_is_released_once_that_is_on_record() -> None:
    history = History(of_steps(call("a")))

    assert effects_of(history.block("a")) == []
    assert effects_of(history.unblock("a")) == [ReleaseCall("a", 1)]


def test_an_attempt_that_never_left_is_forgotten_when_it_fails() -> None:
    failed = [e.Event(1, 1, e.AttemptFailed("a", 1, broken(), None))]

    assert effects_of(failed) == [ForgetCall("a")]


def test_a_pause_holds_calls_and_children_and_its_end_lets_them_go_on() -> None:
    history = History(of_steps(call("a")))
    asked = e.PauseRequested(by="me", interrupt=True)

    paused = history.turn(*control.pause(history.state, asked))
    resumed = history.turn(*control.resume(history.state, "you"))

    assert effects_of(paused) == [HoldCalls(interrupt=True)]
    assert child_orders_of(paused) == [PauseChildren(asked)]
    assert effects_of(resumed) == []
    assert child_orders_of(resumed) == [ResumeChildren("you")]


def test_a_cancelled_execution_takes_back_its_calls_and_lets_go_of_its_children() -> None:
    history = History(of_steps(call("a")))

    cancelled = history.turn(*control.cancel(history.state, "me", "enough"))

    assert effects_of(cancelled) == [TakeBackCalls("")]
    assert child_orders_of(cancelled) == [StopChildren("")]


def test_a_terminated_execution_cuts_its_children_off() -> None:
    history = History(of_steps(call("a")))

    terminated = history.turn(*control.terminate(history.state, "me", "now"))

    assert child_orders_of(terminated) == [CutChildren()]
