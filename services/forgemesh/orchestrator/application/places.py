"""Places under concurrency keys: who has one, who waits for one, who has to give way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from forgemesh.faults import Fault
from forgemesh.orchestrator.application.running import Running
from forgemesh.orchestrator.domain import control, events as e
from forgemesh.orchestrator.domain.definition import Concurrency, Definition
from forgemesh.orchestrator.domain.state import ExecutionState
from forgemesh.orchestrator.ports import SlotRow

if TYPE_CHECKING:
    from forgemesh.orchestrator.application.engine import Engine

RoomKey: TypeAlias = tuple[str, str, str]
"""Namespace, workflow, concurrency key."""

BY = "concurrency key"


@dataclass(slots=True)
class Room:
    """The executions of one key by id: those that have a place, the oldest first, and those that wait, likewise."""

    holders: dict[str, None] = field(default_factory=dict)
    queue: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """How a new execution comes in: with a place, `queued`, or `refused`; those in `give_way` are to be cancelled."""

    queued: bool = False
    refused: bool = False
    give_way: tuple[str, ...] = ()


class Places:
    """
    Who holds what follows from the open executions themselves, so that no place can leak: an execution that has ended
    has none. This is their picture in memory, read from the store at the start.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rooms: dict[RoomKey, Room] = {}

    def load(self, rows: Iterable[SlotRow]) -> None:
        """What the open executions hold, in the order in which they came."""
        for row in rows:
            room = self._rooms.setdefault((row.namespace, row.workflow, row.concurrency_key), Room())
            (room.holders if row.granted else room.queue)[row.execution_id] = None

    def enter(self, definition: Definition, key: str, execution_id: str) -> Entry:
        """Reserve a place, or one in the queue, for an execution that is about to be written."""
        rule = definition.concurrency
        assert rule is not None
        room = self._rooms.setdefault((definition.namespace, definition.name, key), Room())
        if len(room.holders) < rule.limit and not room.queue:
            room.holders[execution_id] = None
            return Entry()
        if rule.on_conflict == "cancel_newest":
            return Entry(refused=True)
        give_way = _give_way(room, rule)
        room.queue[execution_id] = None
        return Entry(queued=True, give_way=give_way)

    def give_way(self, definition: Definition, entry: Entry, reason: str) -> None:
        """Cancel those who have to make room for an execution that is durable now."""
        for execution_id in entry.give_way:
            running = self._engine.running(definition.namespace, execution_id)
            if running is not None:
                self._cancel(running, reason)

    def _cancel(self, running: Running, reason: str) -> None:
        try:
            facts = control.cancel(running.state, BY, reason)
        except Fault:  # it is undoing what it did already
            return
        if facts:
            self._engine.turn(running, facts)

    def forget(self, definition: Definition, key: str, execution_id: str) -> None:
        """The execution was not written after all."""
        self._remove((definition.namespace, definition.name, key), execution_id)

    def leave(self, running: Running) -> None:
        """An execution has ended: whoever waits the longest gets its place."""
        key = _room_of(running.state)
        if key is not None:
            self._remove(key, running.state.execution_id)

    def taken_up(self, running: Running) -> None:
        """An execution was taken up after a crash, perhaps one between the end of another and its admission."""
        key = _room_of(running.state)
        room = self._rooms.get(key) if key is not None else None
        if room is None or key is None or not running.state.queued:
            return
        if running.state.execution_id in room.holders:
            self._engine.turn(running, (e.ExecutionAdmitted(),))
        else:
            self._admit(key, room)

    def ahead_of(self, state: ExecutionState) -> int:
        """How many go before a queued execution."""
        key = _room_of(state)
        room = self._rooms.get(key) if key is not None else None
        if room is None or state.execution_id not in room.queue:
            return 0
        return list(room.queue).index(state.execution_id) + len(room.holders)

    def leaked(self) -> int:
        """Places of executions that are not open here; must be 0 once all were taken up."""
        return sum(
            self._engine.running(namespace, execution_id) is None
            for (namespace, _, _), room in self._rooms.items()
            for execution_id in room.holders
        )

    def _remove(self, key: RoomKey, execution_id: str) -> None:
        room = self._rooms.get(key)
        if room is None:
            return
        room.holders.pop(execution_id, None)
        room.queue.pop(execution_id, None)
        self._admit(key, room)
        if not room.holders and not room.queue:
            self._rooms.pop(key, None)

    def _admit(self, key: RoomKey, room: Room) -> None:
        while room.queue:
            first = next(iter(room.queue))
            running = self._engine.running(key[0], first)
            if running is None:  # it will come by itself once it is taken up
                return
            rule = running.state.definition.concurrency
            if rule is not None and len(room.holders) >= rule.limit:
                return
            del room.queue[first]
            room.holders[first] = None
            self._engine.turn(running, (e.ExecutionAdmitted(),))


def _give_way(room: Room, rule: Concurrency) -> tuple[str, ...]:
    """Whoever holds a place the longest, and all that wait: only the newest is still wanted."""
    if rule.on_conflict != "cancel_in_progress":
        return ()
    held = list(room.holders)
    return (*held[: len(held) - rule.limit + 1], *room.queue)


def _room_of(state: ExecutionState) -> RoomKey | None:
    started = state.started
    if started is None or not started.concurrency_key:
        return None
    return state.namespace, state.definition.name, started.concurrency_key
