"""Places under concurrency keys: who has one, who waits for one, who has to give way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from forgemesh.faults import Fault
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.engine.turns import Turns
from forgemesh.orchestrator.execution.family import is_ending
from forgemesh.orchestrator.execution.ports.rows import SlotRow
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.workflow.definition import Concurrency, Definition

RoomKey: TypeAlias = tuple[str, str, str]
"""Namespace, workflow, concurrency key."""

BY = "concurrency key"


@dataclass(slots=True)
class Room:
    """The executions of one key by id: those that have a place, the oldest first, and those that wait, likewise."""

    holders: dict[str, None] = field(default_factory=dict)
    queue: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """How a new execution comes in: with a place, `queued`, or `refused`; those in `give_way` are to be cancelled."""

    queued: bool = False
    refused: bool = False
    give_way: tuple[str, ...] = ()


class ConcurrencySlots:
    """
    Who holds what follows from the open executions themselves, so that no place can leak: an execution that has ended
    has none. This is their picture in memory, read from the store at the start.
    """

    def __init__(self, turns: Turns, executions: OpenExecutions) -> None:
        self._turns = turns
        self._executions = executions
        self._rooms: dict[RoomKey, Room] = {}

    def load(self, rows: Iterable[SlotRow]) -> None:
        """What the open executions hold, in the order in which they came."""
        for row in rows:
            room = self._rooms.setdefault((row.namespace, row.workflow, row.concurrency_key), Room())
            (room.holders if row.granted else room.queue)[row.execution_id] = None

    def enter(self, definition: Definition, key: str, execution_id: str) -> SlotDecision:
        """Reserve a place, or one in the queue, for an execution that is about to be written."""
        rule = definition.concurrency
        assert rule is not None
        room = self._rooms.setdefault((definition.namespace, definition.name, key), Room())
        if len(room.holders) < rule.limit and not room.queue:
            room.holders[execution_id] = None
            return SlotDecision()
        if rule.on_conflict == "cancel_newest":
            return SlotDecision(refused=True)
        give_way = _give_way(room, rule)
        room.queue[execution_id] = None
        return SlotDecision(queued=True, give_way=give_way)

    def give_way(self, definition: Definition, entry: SlotDecision, reason: str) -> None:
        """Cancel those who have to make room for an execution that is durable now."""
        for execution_id in entry.give_way:
            running = self._executions.find(definition.namespace, execution_id)
            if running is not None:
                self._cancel(running, reason)

    def _cancel(self, running: Running, reason: str) -> None:
        try:
            facts = control.cancel(running.state, BY, reason)
            if facts:
                self._turns.turn(running, facts)
        except Fault:  # it is undoing what it did already
            return
        except Exception as error:  # noqa: BLE001 - gives way when it is taken up again
            self._turns.broke(running, error)

    def adopt(self, state: ExecutionState) -> bool:
        """
        Enter an open execution of another mesh; True if it had a place there, and all of them are taken here.

        One that is ending has one all the same: it only comes to its end.
        """
        key, rule = _room_of(state), state.definition.concurrency
        if key is None:
            return False
        room = self._rooms.setdefault(key, Room())
        full = rule is not None and (len(room.holders) >= rule.limit or bool(room.queue))
        if state.queued or (full and not is_ending(state)):
            room.queue[state.execution_id] = None
            return not state.queued
        room.holders[state.execution_id] = None
        return False

    def holders_of(self, state: ExecutionState) -> tuple[str, ...]:
        """The executions that hold the places of its concurrency key, the oldest first."""
        key = _room_of(state)
        room = self._rooms.get(key) if key is not None else None
        return tuple(room.holders) if room is not None else ()

    def forget(self, definition: Definition, key: str, execution_id: str) -> None:
        """The execution was not written after all."""
        self._remove((definition.namespace, definition.name, key), execution_id)

    def withdraw(self, state: ExecutionState) -> None:
        """An execution has ended: whoever waits the longest gets its place."""
        key = _room_of(state)
        if key is not None:
            self._remove(key, state.execution_id)

    def arrived(self, running: Running) -> None:
        """A new execution waits in the queue; whoever had its place may have gone while it was being written."""
        key = _room_of(running.state)
        room = self._rooms.get(key) if key is not None else None
        if room is not None and key is not None:
            self._admit(key, room)

    def taken_up(self, running: Running) -> None:
        """
        An execution was taken up after a crash: perhaps one between the end of another and its admission, or between
        the start of another and the end of its own.
        """
        key = _room_of(running.state)
        room = self._rooms.get(key) if key is not None else None
        if room is None or key is None:
            return
        self._give_way_again(running, room)
        if not running.open or not running.state.queued or is_ending(running.state):
            return
        if running.state.execution_id in room.holders:
            self._turns.turn(running, (e.ExecutionAdmitted(),))
        else:
            self._admit(key, room)

    def _give_way_again(self, running: Running, room: Room) -> None:
        rule = running.state.definition.concurrency
        if rule is None or not room.queue or not running.open:
            return
        newest = next((one for one in reversed(room.queue) if self._displaces(running, one)), None)
        if newest is None:
            return
        if running.state.execution_id in _give_way(room, rule) and running.state.execution_id != newest:
            self._cancel(running, f"execution {newest} took its place")

    def _displaces(self, running: Running, execution_id: str) -> bool:
        """Whether one that waits was started here: an import is no newer than those that run."""
        waiting = self._executions.known(running.state.namespace, execution_id)
        return waiting is None or not waiting.state.imported

    def ahead_of(self, state: ExecutionState) -> int:
        """How many go before a queued execution."""
        key = _room_of(state)
        room = self._rooms.get(key) if key is not None else None
        if room is None or state.execution_id not in room.queue:
            return 0
        return list(room.queue).index(state.execution_id) + len(room.holders)

    def leaked(self) -> int:
        """Places of executions that are neither open here nor being written; must be 0 once all were taken up."""
        return sum(
            self._executions.find(namespace, execution_id) is None
            and not self._executions.is_coming(namespace, execution_id)
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
        while (running := self._first(key, room)) is not None:
            rule = running.state.definition.concurrency
            if rule is not None and len(room.holders) >= rule.limit:
                return
            del room.queue[running.state.execution_id]
            room.holders[running.state.execution_id] = None
            try:
                self._turns.turn(running, (e.ExecutionAdmitted(),))
            except Exception as error:  # noqa: BLE001 - it is admitted when it is taken up again
                self._turns.broke(running, error)

    def _first(self, key: RoomKey, room: Room) -> Running | None:
        """
        Who waits the longest. One that ends or has ended is passed over, and stays until that is durable: it would wait
        on if the write failed. None also if the first is not in memory: it will come by itself.
        """
        for execution_id in room.queue:
            running = self._executions.find(key[0], execution_id)
            if running is None or (running.open and not is_ending(running.state)):
                return running
        return None


def _give_way(room: Room, rule: Concurrency) -> tuple[str, ...]:
    """Whoever holds a place the longest, and all that wait: only the newest is still wanted."""
    if rule.on_conflict != "cancel_in_progress":
        return ()
    held = list(room.holders)
    return (*held[: max(0, len(held) - rule.limit + 1)], *room.queue)


def _room_of(state: ExecutionState) -> RoomKey | None:
    started = state.started
    if started is None or not started.concurrency_key:
        return None
    return state.namespace, state.definition.name, started.concurrency_key
