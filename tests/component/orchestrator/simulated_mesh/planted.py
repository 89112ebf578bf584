"""Mistakes that a mesh can make, each to be switched on by a test that wants to see it caught by its law."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pytest

from forgemesh.orchestrator.application.places import Places, Room, RoomKey
from forgemesh.orchestrator.application.results import Results
from forgemesh.orchestrator.application.running import Running
from forgemesh.orchestrator.domain import beginning, decide, events as e, fold, scopes
from forgemesh.orchestrator.domain.cache_key import cache_key
from forgemesh.orchestrator.domain.definition import Target
from forgemesh.orchestrator.domain.payload import Payload
from forgemesh.orchestrator.domain.state import ExecutionState
from forgemesh.orchestrator.ports import KeptResult

Plant = Callable[[pytest.MonkeyPatch], None]


def admits_who_has_ended(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits the longest is opened again by its key, even if it has ended meanwhile."""

    def first(self: Places, key: RoomKey, room: Room) -> Running | None:
        return next((self._engine.running(key[0], execution_id) for execution_id in room.queue), None)

    def apply(state: ExecutionState, event: e.Event) -> None:
        state.sequence, state.last_at = event.sequence, event.at
        fold._FOLDS[type(event.fact)](state, event.fact, event.at)
        if state.to_take:
            scopes.end_taken(state, event.at)

    patch.setattr(Places, "_first", first)
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


def keeps_outputs_of_plugins_that_are_gone(patch: pytest.MonkeyPatch) -> None:
    def newest(self: Results, kept: Iterable[KeptResult], target: Target) -> KeptResult | None:
        return next(iter(kept), None)

    patch.setattr(Results, "_counting", newest)


PLANTED: Mapping[Plant, str] = {
    admits_who_has_ended: "no event after the end",
    keeps_outputs_whoever_was_asked: "a kept output answers the same question",
    keeps_outputs_for_every_namespace: "kept outputs stay in their namespace",
    keeps_outputs_of_plugins_that_are_gone: "a kept output does not outlive its plugin",
}
"""With the law that each of them breaks."""
