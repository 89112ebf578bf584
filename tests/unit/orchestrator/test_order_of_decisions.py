"""Which of two things that happen to an execution comes first: the table of docs/executions.md, pair by pair."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

import pytest

from forgemesh.faults import Fault
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.liveness import is_stuck
from forgemesh.orchestrator.execution.standing import derived_status
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.retry import SECOND
from tests.unit.orchestrator.histories import History, broken, picture
from tests.unit.orchestrator.workflows import call, of_steps

UNDO = {"plugin": "p", "operation": "o"}
FLOW = of_steps(call("a", compensate=UNDO), call("b"), timeout="60s")
GOING_ON = {"QUEUED", "RUNNING", "PAUSING", "PAUSED"}
ENDS = {"SUCCEEDED", "CANCELLED", "TIMED_OUT", "TERMINATED", "COMPENSATED"}


@dataclass
class Model:
    """What a reader of the table expects, without a fold."""

    left: list[str] = field(default_factory=lambda: ["a", "b"])
    flying: str = ""
    done: list[str] = field(default_factory=list)
    queued: bool = False
    paused: bool = False
    stopped: str = ""
    doubtful: bool = False
    undoing: bool = False
    end: str = ""

    @property
    def status(self) -> str:
        if self.end:
            return self.end
        if self.undoing:
            return "COMPENSATING"
        if self.stopped:
            return "CANCELLING"
        if self.paused:
            return "PAUSING" if self.flying else "PAUSED"
        return "QUEUED" if self.queued else "RUNNING"

    def pause(self) -> None:
        self.paused = self.paused or self.status in GOING_ON

    def resume(self) -> None:
        self.paused = self.paused and self.status not in GOING_ON

    def cancel(self) -> None:
        self._stop("CANCELLED")

    def timeout(self) -> None:
        self._stop("TIMED_OUT")

    def terminate(self) -> None:
        self.end, self.flying = self.end or "TERMINATED", ""

    def slot(self) -> None:
        self.queued = False

    def settle(self) -> None:
        while self.flying:
            if self.undoing:
                self.end, self.flying = "COMPENSATED", ""
                return
            self.done.append(self.flying)
            self.flying = ""
            self.go_on()

    def crash(self) -> None:
        self.doubtful = self.doubtful or self.flying == "a"
        if self.flying and self.stopped and not self.undoing:
            self.flying = ""
        elif self.flying and self.paused:
            self.left.insert(0, self.flying)
            self.flying = ""

    def _stop(self, kind: str) -> None:
        if not self.end and not self.undoing:
            self.stopped, self.paused, self.left = self.stopped or kind, False, []

    def go_on(self) -> None:
        if self.end or self.undoing or self.flying:
            return
        if self.stopped and ("a" in self.done or self.doubtful):
            self.undoing, self.flying = True, "a:compensate"
        elif self.stopped:
            self.end = self.stopped
        elif not self.paused and not self.queued:
            self.flying = self.left.pop(0) if self.left else ""
            self.end = "" if self.flying else "SUCCEEDED"


class Real:
    """The same things, done to the engine's own core."""

    def __init__(self, *, queued: bool) -> None:
        self.history = History(FLOW, queued=queued)

    def pause(self) -> None:
        self._ask(lambda state: control.pause(state, e.PauseRequested("me")))

    def resume(self) -> None:
        self._ask(lambda state: control.resume(state, "me"))

    def cancel(self) -> None:
        self._ask(lambda state: control.cancel(state, "me", ""))

    def terminate(self) -> None:
        self._ask(lambda state: control.terminate(state, "me", ""))

    def timeout(self) -> None:
        self.history.now = max(self.history.now, self.history.state.deadline)
        self.history.turn()

    def slot(self) -> None:
        if self.history.state.queued:
            self.history.turn(e.ExecutionAdmitted())

    def settle(self) -> None:
        while self.history.state.open_attempts:
            self.history.succeed(next(iter(self.history.state.open_attempts)))

    def crash(self) -> None:
        if not self.history.state.status.final:
            self.history.crash()

    def _ask(self, ask: Callable[..., tuple[e.Fact, ...]]) -> None:
        try:
            facts = ask(self.history.state)
        except Fault:
            return
        if facts:
            self.history.turn(*facts)


THINGS = ("pause", "resume", "cancel", "terminate", "timeout", "slot", "settle")
STARTS: Mapping[str, tuple[str, ...]] = {
    "queued": (),
    "queued and paused": ("pause",),
    "running": ("slot",),
    "pausing": ("slot", "pause"),
    "paused": ("slot", "pause", "settle"),
    "paused at its end": ("slot", "answer", "pause", "settle"),
    "cancelling": ("slot", "answer", "cancel"),
    "timing out": ("slot", "answer", "timeout"),
    "compensating": ("slot", "answer", "cancel", "settle"),
}


def answer(model: Model, real: Real) -> None:
    """Step `a` ends, and `b` is called."""
    real.history.succeed("a")
    model.done.append("a")
    model.flying = ""


def happened(things: tuple[str, ...]) -> tuple[Model, Real]:
    model, real = Model(queued=True), Real(queued=True)
    for thing in things:
        if thing == "answer":
            answer(model, real)
        else:
            getattr(model, thing)()
            getattr(real, thing)()
            if thing == "settle" and model.undoing:
                continue
        model.go_on()
    return model, real


def pairs() -> Iterator[tuple[str, tuple[str, ...]]]:
    for start, (one, other) in product(STARTS, product(THINGS, THINGS)):
        yield start, (one, other)
        yield start, (one, "crash", other)
        yield start, (one, other, "crash")


@pytest.mark.parametrize("start", STARTS)
def test_every_pair_in_both_orders_ends_as_the_table_says(start: str) -> None:
    for begun, things in pairs():
        if begun != start:
            continue
        model, real = happened((*STARTS[start], *things))
        state = real.history.state
        assert state.status.value == model.status, f"{start}: {' then '.join(things)}"
        assert state.status is derived_status(state)
        assert state.status.final or not is_stuck(state)
        assert picture(real.history.refolded()) == picture(state)


@pytest.mark.parametrize("start", STARTS)
def test_whatever_happens_it_comes_to_an_end_with_everything_undone_or_kept(start: str) -> None:
    for begun, things in pairs():
        if begun != start:
            continue
        model, real = happened((*STARTS[start], *things, "resume", "slot", "settle", "settle"))
        assert model.status in ENDS, f"{start}: {' then '.join(things)}"
        assert real.history.state.status.value == model.status, f"{start}: {' then '.join(things)}"


@pytest.mark.parametrize("stop", ["cancel", "timeout"])
def test_what_is_stopped_while_it_is_paused_at_its_end_is_undone(stop: str) -> None:
    _, real = happened((*STARTS["paused at its end"], stop))

    assert real.history.state.status is Status.COMPENSATING
    assert real.history.open == ["a:compensate"]


def test_what_was_started_paused_behind_a_key_takes_its_place_and_stays_paused() -> None:
    _, real = happened(("pause", "slot"))

    assert real.history.state.status is Status.PAUSED
    assert not real.history.state.queued
    real.resume()
    assert real.history.open == ["a"]


def test_who_resumes_what_waits_for_its_place_lets_it_wait_on() -> None:
    _, real = happened(("pause", "resume"))

    assert real.history.state.status is Status.QUEUED
    assert real.history.open == []


def test_the_timeout_of_what_waits_for_its_place_runs() -> None:
    _, real = happened(("timeout",))

    assert real.history.state.status is Status.TIMED_OUT


def test_the_first_that_stops_it_says_how_it_ended() -> None:
    for first, second, status in (("timeout", "cancel", "TIMED_OUT"), ("cancel", "timeout", "CANCELLED")):
        _, real = happened(("slot", first, second, "settle", "settle"))
        failure = real.history.state.failure
        assert failure is not None
        assert failure.reason == {"TIMED_OUT": "EXECUTION_TIMEOUT", "CANCELLED": "EXECUTION_CANCELLED"}[status]


@pytest.mark.parametrize("hold", ["first", "second", "both"])
def test_a_clock_that_one_of_two_pauses_holds_stands_still_from_that_one_on(hold: str) -> None:
    history = History(FLOW)
    history.turn(*control.pause(history.state, e.PauseRequested("me", hold_clock=hold in ("first", "both"))))
    history.wait(20)
    history.turn(*control.pause(history.state, e.PauseRequested("you", hold_clock=hold in ("second", "both"))))
    history.wait(100)
    assert not history.state.status.final
    history.turn(*control.resume(history.state, "me"))

    held = 100 if hold == "second" else 120
    assert history.state.deadline == history.state.started_at + (60 + held) * SECOND


def commands(history: History) -> Mapping[str, Callable[..., tuple[e.Fact, ...]]]:
    state = history.state
    return {
        "pause": lambda **words: control.pause(state, e.PauseRequested(**words)),
        "resume": lambda **words: control.resume(state, words.get("by", "")),
        "cancel": lambda **words: control.cancel(state, words.get("by", ""), words.get("reason", "")),
    }


@pytest.mark.parametrize(
    ("command", "first", "other"),
    [
        ("pause", {"by": "a"}, {"by": "b"}),
        ("pause", {"reason": "x"}, {"reason": "y"}),
        ("pause", {}, {"interrupt": True}),
        ("pause", {"interrupt": True}, {}),
        ("pause", {}, {"hold_clock": True}),
        ("pause", {"hold_clock": True}, {}),
        ("resume", {"by": "a"}, {"by": "b"}),
        ("cancel", {"by": "a"}, {"by": "b"}),
        ("cancel", {"reason": "x"}, {"reason": "y"}),
        ("cancel", {}, {"reason": "y"}),
    ],
)
def test_a_command_in_other_words_is_on_record_and_in_the_same_words_it_is_not(
    command: str, first: dict[str, object], other: dict[str, object]
) -> None:
    history = History(FLOW)
    ask = commands(history)[command]
    history.turn(*ask(**first))
    assert ask(**first) == ()

    again = ask(**other)

    assert len(again) == 1
    history.turn(*again)
    assert ask(**other) == ()


@pytest.mark.parametrize("where", ["cancelling", "compensating", "compensated"])
def test_a_cancellation_whose_answer_was_lost_is_answered_and_another_one_is_not_swallowed(where: str) -> None:
    things = {"cancelling": (), "compensating": ("settle",), "compensated": ("settle", "settle")}[where]
    _, real = happened((*STARTS["cancelling"], *things))
    state = real.history.state

    assert control.cancel(state, "me", "") == ()
    if where == "cancelling":
        assert control.cancel(state, "you", "") == (e.CancelRequested("you", ""),)
    else:
        with pytest.raises(Fault, match="cannot be cancelled"):
            control.cancel(state, "you", "")


def test_a_termination_in_other_words_is_refused_and_in_the_same_words_answered() -> None:
    history = History(FLOW)
    history.turn(*control.terminate(history.state, "me", "stuck"))

    assert control.terminate(history.state, "me", "stuck") == ()
    for by, reason in (("me", ""), ("you", "stuck")):
        with pytest.raises(Fault, match="is TERMINATED and cannot be terminated"):
            control.terminate(history.state, by, reason)


def test_a_decision_about_a_step_whose_answer_was_lost_is_answered_and_another_one_refused() -> None:
    history = History(of_steps(call("a", on_exhausted="incident", retry={"max_attempts": 1}), call("b")))
    history.fail("a", broken())
    decided = control.resolve(history.state, "a", "complete", None, "me", "")
    history.turn(*decided)

    assert control.resolve(history.state, "a", "complete", None, "me", "") == ()
    with pytest.raises(Fault, match="does not wait for a person"):
        control.resolve(history.state, "a", "fail", None, "me", "")
    history.succeed("b")
    assert control.resolve(history.state, "a", "complete", None, "me", "") == ()
