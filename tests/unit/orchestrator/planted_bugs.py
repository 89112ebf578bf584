"""Mistakes that an engine like this can have, each to be switched on by a test that wants to see it caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from forgemesh.orchestrator.execution import (
    attempts,
    beginning,
    bindings,
    branch_count,
    compensation,
    decide,
    ending,
    facts as e,
    fold,
    rounds,
    scopes,
    triggers,
)
from forgemesh.orchestrator.execution.state import ExecutionState, Status, StepState, StepStatus
from forgemesh.orchestrator.values.payload import json_payload
from tests.unit.orchestrator.world import World

Plant = Callable[[pytest.MonkeyPatch], None]


def calls_before_it_is_on_record(patch: pytest.MonkeyPatch) -> None:
    def queued(world: World, events: list[e.Event]) -> None:
        for event in events:
            if isinstance(event.fact, e.AttemptStarted):
                world.call(event.fact)

    patch.setattr(World, "_queued", queued)


def loses_a_write_that_was_acknowledged(patch: pytest.MonkeyPatch) -> None:
    crash = World._crash

    def forget(world: World) -> None:
        del world.stored[len(world.stored) - 1 :]
        crash(world)

    patch.setattr(World, "_crash", forget)


def undoes_in_order_of_completion(patch: pytest.MonkeyPatch) -> None:
    start = fold._compensation_started

    def reversed_start(state: ExecutionState, fact: e.CompensationStarted, at: int) -> None:
        start(state, fact, at)
        state.undoable.reverse()

    patch.setitem(fold._FOLDS, e.CompensationStarted, reversed_start)


def repeats_what_is_in_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attempts, "_doubted", lambda state, step, fact: fact)


def ignores_triggers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scopes, "may_run", lambda scope, before, trigger: True)


def lets_groups_succeed_whatever_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ending, "outcome", lambda group: None)
    patch.setattr(ending, "must_stop", lambda group: None)
    patch.setattr(scopes, "must_stop", lambda group: None)


def ignores_the_limit_of_open_attempts(patch: pytest.MonkeyPatch) -> None:
    def everything(state: ExecutionState, now: int) -> Iterator[e.Fact]:
        for path, (scope, index) in state.ready.items():
            known = state.steps.get(path)
            yield (
                beginning.begin(state, path, scope, index, now)
                if known is None
                else attempts.next_attempt(state, known)
            )

    patch.setattr(decide, "_fill_places", everything)


def ignores_pauses(patch: pytest.MonkeyPatch) -> None:
    def barely(state: ExecutionState, fact: e.PauseRequested, at: int) -> None:
        state.status = Status.RUNNING

    patch.setitem(fold._FOLDS, e.PauseRequested, barely)


def takes_late_answers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attempts, "_is_open", lambda state, path, attempt: path in state.steps)


def gives_a_signal_to_everybody(patch: pytest.MonkeyPatch) -> None:
    def kept(state: ExecutionState, fact: e.WaitEnded, at: int) -> None:
        fold._wait_ended(state, e.WaitEnded(fact.path, fact.output), at)

    patch.setitem(fold._FOLDS, e.WaitEnded, kept)


def forgets_calls_that_a_crash_cut_off(patch: pytest.MonkeyPatch) -> None:
    def recovered(state: ExecutionState, orchestrator_id: str, epoch: int, now: int, draw: float) -> list[e.Event]:
        return [decide.record(state, e.ExecutionRecovered(orchestrator_id, epoch), now)]

    patch.setattr(decide, "recovered", recovered)


def forgets_effects_that_are_not_certain(patch: pytest.MonkeyPatch) -> None:
    remember = scopes._remember_effect

    def only_certain(state: ExecutionState, step: StepState) -> None:
        if not step.doubtful:
            remember(state, step)

    patch.setattr(scopes, "_remember_effect", only_certain)


def gives_up_undoing_at_the_first_failure_and_calls_it_done(patch: pytest.MonkeyPatch) -> None:
    undo = compensation.next_compensation

    def done(state: ExecutionState) -> Iterator[e.Fact]:
        for fact in undo(state):
            if isinstance(fact, e.ExecutionFailed) and fact.status == "COMPENSATION_FAILED":
                yield e.ExecutionFailed(fact.failure, "COMPENSATED")
            else:
                yield fact

    patch.setattr(decide, "next_compensation", done)


def opens_all_branches_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scopes, "max_open", lambda group: 0)


def calls_a_quorum_too_early(patch: pytest.MonkeyPatch) -> None:
    def hasty(group: StepState) -> Any:
        if branch_count.join_of(group).mode == "quorum" and group.branches is not None and group.branches.succeeded:
            return branch_count.ENOUGH
        return branch_count.must_stop(group)

    patch.setattr(scopes, "must_stop", hasty)
    patch.setattr(ending, "must_stop", hasty)


def takes_a_step_that_was_skipped_for_one_that_was_done(patch: pytest.MonkeyPatch) -> None:
    for module in (scopes, triggers):
        patch.setattr(module, "was_done", lambda step: step.status in (StepStatus.SUCCEEDED, StepStatus.SKIPPED))


def forgets_the_failure_behind_a_step_that_was_skipped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(triggers, "leads_from_failure", lambda scope, index: False)


def goes_on_beyond_the_last_round(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rounds, "_end", lambda loop, verdict: e.RoundStarted(loop.path, verdict.index + 1))


def takes_a_round_that_failed_for_a_good_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rounds, "outcome", lambda loop: None)


def judges_the_round_that_comes_next(patch: pytest.MonkeyPatch) -> None:
    judge = bindings.reader

    def ahead(state: ExecutionState, scope: Any) -> Any:
        read = judge(state, scope)
        return lambda variable: json_payload(scope.index + 1) if variable == "index" else read(variable)

    patch.setattr(rounds, "reader", ahead)


PLANTED: Mapping[str, Plant] = {
    plant.__name__: plant
    for plant in (
        calls_before_it_is_on_record,
        loses_a_write_that_was_acknowledged,
        undoes_in_order_of_completion,
        repeats_what_is_in_doubt,
        ignores_triggers,
        lets_groups_succeed_whatever_failed,
        ignores_the_limit_of_open_attempts,
        ignores_pauses,
        takes_late_answers,
        gives_a_signal_to_everybody,
        forgets_calls_that_a_crash_cut_off,
        forgets_effects_that_are_not_certain,
        gives_up_undoing_at_the_first_failure_and_calls_it_done,
        opens_all_branches_at_once,
        calls_a_quorum_too_early,
        takes_a_step_that_was_skipped_for_one_that_was_done,
        forgets_the_failure_behind_a_step_that_was_skipped,
        goes_on_beyond_the_last_round,
        takes_a_round_that_failed_for_a_good_one,
        judges_the_round_that_comes_next,
    )
}
