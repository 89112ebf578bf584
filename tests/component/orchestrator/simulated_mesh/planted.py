"""Mistakes that a mesh can make, each to be switched on by a test that wants to see it caught by its law."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from forgemesh.faults.workflow import OrchestratorLost
from forgemesh.orchestrator.dispatch.dispatch import Dispatch
from forgemesh.orchestrator.dispatch.session.open_calls import OpenCalls
from forgemesh.orchestrator.execution import attempts, beginning, decide, facts as e, fate, fold, scopes
from forgemesh.orchestrator.execution.cache_key import cache_key
from forgemesh.orchestrator.execution.commands.starts import StartRequest, Starts
from forgemesh.orchestrator.execution.engine import engine
from forgemesh.orchestrator.execution.engine.arrivals import Arrivals
from forgemesh.orchestrator.execution.engine.children import Children
from forgemesh.orchestrator.execution.engine.concurrency_slots import ConcurrencySlots, Room, RoomKey
from forgemesh.orchestrator.execution.engine.results import Results
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Target

Plant = Callable[[pytest.MonkeyPatch], None]


def admits_who_has_ended(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits the longest is opened again by its key, even if it has ended meanwhile."""

    def first(self: ConcurrencySlots, key: RoomKey, room: Room) -> Running | None:
        return next((self._executions.find(key[0], execution_id) for execution_id in room.queue), None)

    def apply(state: ExecutionState, event: e.Event) -> None:
        state.sequence, state.last_at = event.sequence, event.at
        fold._FOLDS[type(event.fact)](state, event.fact, event.at)
        if state.to_take:
            scopes.end_taken(state, event.at)

    patch.setattr(ConcurrencySlots, "_first", first)
    patch.setattr(decide, "apply", apply)


def keeps_outputs_whoever_was_asked(patch: pytest.MonkeyPatch) -> None:
    """What a step selects is no part of the key."""

    def key(namespace: str, target: Target, asked: Payload, *, named: bool) -> str:
        anybody = Target(operation=target.operation, plugin_id=target.plugin_id, interface=target.interface)
        return cache_key(namespace, anybody, asked, named=named)

    def newest(self: Results, kept: Iterable[KeptResult], target: Target) -> KeptResult | None:
        return next(iter(kept), None)

    patch.setattr(beginning, "cache_key", key)
    patch.setattr(Results, "_counting", newest)


def keeps_outputs_for_every_namespace(patch: pytest.MonkeyPatch) -> None:
    def key(namespace: str, target: Target, asked: Payload, *, named: bool) -> str:
        return cache_key("", target, asked, named=named)

    patch.setattr(beginning, "cache_key", key)


def takes_a_missing_receipt_for_proof(patch: pytest.MonkeyPatch) -> None:
    def unknown(failure: Failure, dispatch: Dispatch | None, *, told: bool) -> bool:
        return fate.is_unknown(failure, dispatch, told=told) and (dispatch is None or dispatch.accepted)

    patch.setattr(attempts, "is_unknown", unknown)


def counts_what_was_never_sent(patch: pytest.MonkeyPatch) -> None:
    """After a crash every open call is lost, also one that waited for somebody to call."""

    def recovered(
        state: ExecutionState,
        orchestrator_id: str,
        epoch: int,
        now: int,
        draw: float,
        unsent: Mapping[str, int] | None = None,
    ) -> list[e.Event]:
        events = [decide.record(state, e.ExecutionRecovered(orchestrator_id, epoch), now)]
        for step in decide.in_flight(state):
            lost = failure_of(OrchestratorLost(step.path, step.attempts), retryable=True)
            fact = attempts.failed(state, step.path, step.attempts, lost, None, now, draw)
            events += [decide.record(state, fact, now)] if fact is not None else []
        return events

    patch.setattr(engine, "recovered", recovered)


def takes_results_of_calls_that_were_not_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OpenCalls, "sent", lambda self, call_id, what: self.get(call_id))


def takes_results_whose_effects_are_nobodys(patch: pytest.MonkeyPatch) -> None:
    """A fork takes over what its origin has done, and not that it is to be undone."""
    append = Starts._facts

    def facts(self: Starts, definition: Any, request: StartRequest, *rest: Any) -> list[e.Fact]:
        return [fact for fact in append(self, definition, request, *rest) if not isinstance(fact, e.EffectTaken)]

    patch.setattr(Starts, "_facts", facts)


def takes_whoever_is_paused_for_a_holder(patch: pytest.MonkeyPatch) -> None:
    async def granted(self: SqliteStore, row: ExecutionRow) -> bool:
        return row.status is not Status.QUEUED

    patch.setattr(SqliteStore, "_is_granted", granted)


def forgets_to_whom_it_pointed_a_request(patch: pytest.MonkeyPatch) -> None:
    """That a request was answered with an execution that existed is not recorded."""
    decided = Starts._decide

    async def forgetful(self: Starts, request: StartRequest, hold: Any) -> Any:
        if request.conflict == "use_existing":
            request = replace(request, request_id="")
        return await decided(self, request, hold)

    patch.setattr(Starts, "_decide", forgetful)


def tells_no_child_that_its_parent_has_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Children, "_cut", lambda self, running: None)
    patch.setattr(Children, "settle_in", lambda self, child, *, fresh: None)


def lets_imports_in_by_a_door_of_their_own(patch: pytest.MonkeyPatch) -> None:
    """What comes from another mesh has the place that it had there."""
    patch.setattr(Arrivals, "_arrival", lambda self, running: iter(()))


PLANTED: Mapping[Plant, tuple[int, Collection[str]]] = {
    admits_who_has_ended: (10, {"no event after the end", "nothing raises but faults"}),
    takes_a_missing_receipt_for_proof: (
        60,
        {"what must not be repeated happens once", "every effect is undone or named"},
    ),
    counts_what_was_never_sent: (12, {"what was never sent was never tried"}),
    takes_results_of_calls_that_were_not_sent: (36, {"outputs come from plugins"}),
    takes_results_whose_effects_are_nobodys: (525, {"a result comes with the owner of its effect"}),
    keeps_outputs_whoever_was_asked: (24, {"a kept output answers the same question"}),
    keeps_outputs_for_every_namespace: (24, {"kept outputs stay in their namespace"}),
    takes_whoever_is_paused_for_a_holder: (116, {"no more holders than places", "the queue is kept"}),
    forgets_to_whom_it_pointed_a_request: (0, {"a request signals once", "a request has one answer"}),
    tells_no_child_that_its_parent_has_ended: (66, {"no step begins behind an ended ancestor"}),
    lets_imports_in_by_a_door_of_their_own: (52, {"no more holders than places", "the queue is kept"}),
}
"""A seed shortly before the first in which it shows, and the laws of which it breaks one."""
