"""Random workflows under random fates, with crashes between any two commits."""

from __future__ import annotations

import json
import random

from forgemesh.faults.workflow import Cancelled
from forgemesh.orchestrator.codec.events import stored_event
from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.decide import next_wake
from forgemesh.orchestrator.domain.ending import open_below
from forgemesh.orchestrator.domain.failure import failure_of
from forgemesh.orchestrator.domain.state import Status
from tests.unit.orchestrator.histories import (
    START,
    History,
    broken,
    facts_of,
    host_lost,
    kept,
    picture,
    unavailable,
)
from tests.unit.orchestrator.ledger import Ledger
from tests.unit.orchestrator.workflows import call, case, of_steps, otherwise, parallel, switch

MAX_ACTIONS = 2_000


def random_sequence(draw: random.Random, depth: int, visible: tuple[str, ...]) -> list[dict[str, object]]:
    steps = []
    for number in range(draw.randint(1, 3)):
        step = random_step(draw, f"s{depth}{number}", depth, visible)
        steps.append(step)
        visible = (*visible, str(step["id"]))
    return steps


def random_step(draw: random.Random, step_id: str, depth: int, visible: tuple[str, ...]) -> dict[str, object]:
    kind = draw.random() if depth < 4 else 1.0
    if kind < 0.2:
        branches = {f"b{n}": random_sequence(draw, depth + 1, visible) for n in range(draw.randint(1, 4))}
        return parallel(step_id, **branches)
    if kind < 0.35:
        cases = [
            case(random_condition(draw, visible), *random_sequence(draw, depth + 1, visible))
            for _ in range(draw.randint(1, 2))
        ]
        if draw.random() < 0.5:
            cases.append(otherwise(*random_sequence(draw, depth + 1, visible)))
        return switch(step_id, *cases, no_match=draw.choice(["fail", "skip", "skip"]))
    retry = {"max_attempts": draw.randint(1, 3), "initial": "100ms"}
    return call(step_id, input=random_template(draw, visible), retry=retry)


def random_condition(draw: random.Random, visible: tuple[str, ...]) -> str:
    if visible and draw.random() < 0.5:
        return f"steps.{draw.choice(visible)}.status == '{draw.choice(['SUCCEEDED', 'SKIPPED'])}'"
    return f"input.n > {draw.randint(0, 9)}"


def random_template(draw: random.Random, visible: tuple[str, ...]) -> object:
    if draw.random() < 0.03:
        return "${input.absent}"
    if visible and draw.random() < 0.7:
        step = draw.choice(visible)
        return draw.choice(
            [f"${{steps.{step}.output}}", {"x": [f"${{steps.{step}.output}}"]}, f"${{steps.{step}.status}}"]
        )
    return {"n": "${input.n}"}


class Simulation:
    """Runs one seed to its end; whatever must not happen raises AssertionError."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        timeout: dict[str, object] = {"timeout": "3s"} if self.draw.random() < 0.2 else {}
        definition = of_steps(*random_sequence(self.draw, 0, ()), output={"n": "${input.n}"}, **timeout)
        self.history = History(definition, {"n": self.draw.randint(0, 9)})
        self.ledger = Ledger(definition)
        self.stored: list[bytes] = []
        self.taken_back: set[str] = set()
        self.crashes = 0
        self._commit(self.history.events)

    def run(self) -> None:
        for _ in range(MAX_ACTIONS):
            if self.history.state.status is not Status.RUNNING:
                self._check_end()
                return
            self._check_not_stuck()
            self._act()
        raise AssertionError("it never ends")

    def _act(self) -> None:
        history, chance = self.history, self.draw.random()
        if chance < 0.08:
            self._crash()
        elif chance < 0.16 and history.open:
            self._ask_late()
        elif history.open and (chance < 0.8 or next_wake(history.state) is None):
            self._commit(self._answer(self.draw.choice(history.open)))
        else:
            wake = next_wake(history.state)
            if wake is not None:
                history.now = max(history.now, wake - self.draw.choice([0, 0, 1]))
            self._commit(history.turn())

    def _answer(self, path: str) -> list[e.Event]:
        history, chance = self.history, self.draw.random()
        if path in self.taken_back and chance < 0.7:
            return history.fail(path, failure_of(Cancelled(path), step_path=path))
        if chance < 0.62:
            return history.succeed(path, {"of": path})
        if chance < 0.72:
            return history.fail(path, unavailable(), draw=self.draw.random())
        if chance < 0.8:
            return history.fail(path, broken())
        if chance < 0.9:
            return history.fail(path, host_lost(), draw=self.draw.random())
        return history.block(path) if chance < 0.96 else history.unblock(path)

    def _ask_late(self) -> None:
        path = self.draw.choice(self.history.open)
        attempt = self.history.step(path).attempts + self.draw.choice([-1, 1])
        before = self.history.state.sequence

        assert self.history.succeed(path, 1, attempt=attempt or 99) == []
        assert self.history.state.sequence == before

    def _crash(self) -> None:
        self.crashes += 1
        before = picture(self.history.state)
        self.history.events = [kept(body, "event") for body in self.stored]
        assert picture(self.history.refolded()) == before
        self.taken_back.clear()
        self._commit(self.history.crash(self.draw.random()))

    def _commit(self, events: list[e.Event]) -> None:
        for event in events:
            self.ledger.enter(event)
            body = stored_event(event)[0]
            assert kept(body, "event") == event
            self.stored.append(body)
        for stop in facts_of(events, e.StopRequested):
            self.taken_back |= {step.path for step in open_below(self.history.state, stop.path)}

    def _check_not_stuck(self) -> None:
        state = self.history.state
        assert not state.to_begin
        assert not state.to_settle
        assert state.open_attempts or next_wake(state) is not None, "nothing will ever happen again"
        assert set(state.open_attempts) == set(self.ledger.open)

    def _check_end(self) -> None:
        history = self.history
        assert self.ledger.over
        assert picture(history.refolded()) == picture(history.state)
        assert all(
            step.status.final and step.ended_at >= step.began_at >= START for step in history.state.steps.values()
        )
        assert next_wake(history.state) is None
        assert not history.state.open_attempts
        assert not history.state.waiting
        assert not history.state.wakes
        assert history.turn() == []
        for path, step in history.state.steps.items():
            if step.branches and step.status.value == "SUCCEEDED" and step.step.kind == "parallel":
                output = json.loads(history.state.output_of(step).data)
                assert list(output) == [branch.name for branch in history.step(path).step.branches]  # type: ignore[union-attr]
