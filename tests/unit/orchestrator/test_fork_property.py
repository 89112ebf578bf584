"""Random workflows, ended at random, and forks of them and of their forks: every effect is undone once at most."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from forgemesh.faults.control import ExecutionState as Refused
from forgemesh.orchestrator.execution import control, facts as e, fold, forking
from forgemesh.orchestrator.execution.compensation import is_undone
from forgemesh.orchestrator.execution.control import Action, check
from forgemesh.orchestrator.execution.fork_names import name_in_fork, name_in_origin
from forgemesh.orchestrator.execution.forking import Holder, check_origin, lent, run_of, takeover
from forgemesh.orchestrator.values.payload import Payload, json_payload
from forgemesh.orchestrator.workflow.definition import COMPENSATION, Call, Definition
from tests.unit.orchestrator.forks import remembered
from tests.unit.orchestrator.histories import History, broken, host_lost
from tests.unit.orchestrator.random_workflows import Author
from tests.unit.orchestrator.workflows import of_steps

SEEDS = int(os.environ.get("FORGEMESH_FORKS", "60"))
FIRST = int(os.environ.get("FORGEMESH_SEED", "0"))


@dataclass
class Family:
    """One origin with its forks; `claims` is what the store keeps, `undone` what was undone, by whom it was made."""

    draw: random.Random
    members: dict[str, History] = field(default_factory=dict)
    claims: dict[tuple[str, str], str] = field(default_factory=dict)
    made_as: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    undone: set[tuple[str, str]] = field(default_factory=set)

    def maker(self, member: str, path: str) -> tuple[str, str]:
        """Who made the effect that a member knows by this name, and as which step."""
        return self.made_as.get((member, path), (member, path))

    def drive(self, member: str, actions: int) -> None:
        draw, history = self.draw, self.members[member]
        for _ in range(actions):
            if history.state.status.final:
                return
            for path in draw.sample(history.open, min(len(history.open), 2)):
                if path in history.open:
                    self.answer(member, history, path)
            if history.state.incidents:
                path = draw.choice(list(history.state.incidents))
                action = draw.choice(["retry", "complete", "fail"])
                history.turn(*control.resolve(history.state, path, action, None, "", ""))  # type: ignore[arg-type]
            elif not history.open:
                for name in list(history.state.listening)[:1]:
                    history.turn(*control.signal(history.state, e.SignalReceived(name, Payload(b"1"))))
                history.wait(draw.choice([0.1, 1]))

    def answer(self, member: str, history: History, path: str) -> None:
        chance = self.draw.random()
        if path.endswith(COMPENSATION) and chance < 0.8:
            made = self.maker(member, path.removesuffix(COMPENSATION))
            assert made not in self.undone, f"{made} is undone twice"
            self.undone.add(made)
            history.succeed(path)
        elif chance < 0.75:
            history.succeed(path, {"of": path})
        else:
            history.take_back(history.fail(path, broken() if chance < 0.9 else host_lost()))

    def holders(self, origin: str) -> dict[str, Holder]:
        found = {}
        for (giver, path), fork in self.claims.items():
            if giver != origin:
                continue
            run, name = fork, name_in_fork(path)
            while (run, name) in self.claims:
                run, name = self.claims[run, name], name_in_fork(name)
            state = self.members[run].state
            found[path] = Holder(run_of(state), not is_undone(state, name))
        return found

    def fork(self, origin: str, name: str, target: Definition, given: object) -> bool:
        history, draw = self.members[origin], self.draw
        state = remembered(history)
        try:
            check(state, Action.FORK)
            check_origin(state)
        except Refused:
            return False
        begun = [path for path, step in state.steps.items() if step.compensates is None]
        rerun = draw.sample(begun, 1) if begun and draw.random() < 0.3 else []
        lenders = {path: self.members[owner.partition("@")[0]].state for path, owner in lent(state).items()}
        undone = {path for path, lender in lenders.items() if lender.compensating}
        wanted = None if given is None else json_payload(given)
        facts = takeover(state, state, target, rerun, holders=self.holders(origin), undone=undone, given=wanted)
        own = state.started.input.value() if given is None and state.started is not None else given
        came_from = e.Origin(forked_from=origin, forked_run=origin)
        for fact in facts:
            if isinstance(fact, e.EffectTaken):
                there = name_in_origin(fact.path)
                assert (origin, there) not in self.claims, f"{there} of {origin} is claimed twice"
                self.claims[origin, there] = name
                self.made_as[name, fact.path] = self.maker(origin, there)
                assert self.maker(origin, there) not in self.undone, f"{there} of {origin} was undone before"
        self.check_results(origin, facts)
        self.members[name] = History(target, own, facts, came_from, name)
        return True

    def check_results(self, origin: str, facts: list[e.Fact]) -> None:
        """Of no result that is taken was an effect of the origin's own undone."""
        for fact in facts:
            if isinstance(fact, e.ResultTaken):
                for member, path in self.undone:
                    inside = path == fact.path or path.startswith(f"{fact.path}/")
                    assert not (member == origin and inside), f"{fact.path} was undone in {origin}"


def changed(tree: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The same workflow, in which one outermost step may do something else."""
    steps = [dict(step) for step in tree["steps"]]
    step = draw.choice(steps)
    if "call" in step and draw.random() < 0.5:
        step["input"] = {"changed": True}
    return tree | {"steps": steps}


def play(seed: int) -> int:
    draw = random.Random(seed)
    tree = Author(draw).definition()
    tree.pop("timeout", None)
    family = Family(draw)
    family.members["o"] = History(of_steps(*tree["steps"], **_more(tree)), {"n": draw.randint(0, 9)}, (), None, "o")
    family.drive("o", draw.randint(1, 12))
    forks = 0
    for number in range(4):
        origin = draw.choice(list(family.members))
        history = family.members[origin]
        if not history.state.status.final and draw.random() < 0.7:
            history.turn(*control.terminate(history.state, "somebody", ""))
        other = changed(tree, draw)
        given = {"n": draw.randint(0, 9)} if draw.random() < 0.3 else None
        if family.fork(origin, f"f{number}", of_steps(*other["steps"], **_more(other)), given):
            forks += 1
            family.drive(f"f{number}", draw.randint(1, 12))
    for member in family.members:
        family.drive(member, 400)
    check_ends(family)
    return forks


def _more(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key != "steps"}


def check_ends(family: Family) -> None:
    for member, history in family.members.items():
        state = history.refolded()
        assert state.status == history.state.status
        if state.status.value == "COMPENSATED":
            own = [path for path, step in state.steps.items() if isinstance(step.step, Call) and not step.taken]
            owned = [effect.path for effect in state.effects.values()]
            for path in (*own, *owned):
                step = state.steps.get(path)
                made = path in owned or (step is not None and step.status.value == "SUCCEEDED")
                call = history.definition.step_at(path)
                if made and isinstance(call, Call) and call.compensate is not None and not path.endswith(COMPENSATION):
                    assert family.maker(member, path) in family.undone, f"{path} of {member} was not undone"


def test_every_effect_has_one_owner_who_undoes_it_once() -> None:
    forks = 0
    for seed in range(FIRST, FIRST + SEEDS):
        try:
            forks += play(seed)
        except Exception as error:
            error.add_note(f"FORGEMESH_SEED={seed} FORGEMESH_FORKS=1")
            raise

    assert forks > SEEDS


def takes_what_was_undone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forking, "_stands", lambda *known: True)


def gives_what_it_has_given_before(patch: pytest.MonkeyPatch) -> None:
    handed_over: Any = forking._handed_over

    def again(*known: Any, same_input: bool) -> e.EffectTaken | None:
        fact: e.EffectTaken | None = handed_over(*known[:-1], {}, same_input=same_input)
        return fact

    patch.setattr(forking, "_handed_over", again)


def forgets_what_it_took(patch: pytest.MonkeyPatch) -> None:
    def forget(state: Any, fact: e.EffectTaken, at: int) -> None:
        _FOLDS_OF_EFFECTS(state, fact, at)
        state.undoable.clear()

    patch.setitem(fold._FOLDS, e.EffectTaken, forget)


_FOLDS_OF_EFFECTS = fold._FOLDS[e.EffectTaken]
ENOUGH = 200
"""Seeds within which a planted bug must show."""


@pytest.mark.parametrize("plant", [takes_what_was_undone, gives_what_it_has_given_before, forgets_what_it_took])
def test_a_fork_that_does_it_wrong_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    def caught(seed: int) -> bool:
        try:
            play(seed)
        except Exception:  # noqa: BLE001 - however it shows
            return True
        return False

    assert any(caught(seed) for seed in range(ENOUGH))
