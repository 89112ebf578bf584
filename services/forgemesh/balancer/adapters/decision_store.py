"""What outlives the balancer, in SQLite, or not at all."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from forgemesh.api.balancer.v1 import policy_pb2, snapshot_pb2
from forgemesh.balancer.domain.decisions import Decisions, Forced, LastCircuit
from forgemesh.balancer.domain.events import Author
from forgemesh.balancer.domain.policies import PolicyRecord
from forgemesh.chassis.damages import Damages
from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.service import DataCorrupted
from forgemesh.feed.policies import policy_from_message, policy_to_message
from forgemesh.feed.snapshots import CIRCUIT, circuit_from_message, circuit_to_message
from forgemesh.routing.endpoint import CircuitState

Kept = TypeVar("Kept")

_log = logging.getLogger(__name__)

MOST_CIRCUITS = 20_000
"""Circuits that are kept over a start of the balancer, those that moved last."""

MIGRATIONS = (
    """
    CREATE TABLE policies (
        plugin_id TEXT PRIMARY KEY,
        policy BLOB NOT NULL,
        version INTEGER NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE forced (
        instance_id TEXT PRIMARY KEY,
        plugin_id TEXT NOT NULL,
        state INTEGER NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE circuits (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        instance_id TEXT NOT NULL UNIQUE,
        plugin_id TEXT NOT NULL,
        incarnation INTEGER NOT NULL,
        circuit BLOB NOT NULL,
        open_until REAL NOT NULL
    );
    """,
    "ALTER TABLE forced ADD COLUMN tenure TEXT NOT NULL DEFAULT ''",
)

_STATES = {CIRCUIT[state]: state for state in (*CircuitState,)}


class SqliteDecisions:
    """Policies, forced circuits, and where the circuits stood."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._damages = Damages()
        self._notes: set[asyncio.Future[None]] = set()

    async def load(self) -> Decisions:
        await self._database.write(_prune)
        return await self._database.read(lambda connection: _load(connection, self._damages))

    async def save_policy(self, record: PolicyRecord) -> None:
        content = policy_to_message(record.policy, record.plugin_id).SerializeToString(deterministic=True)
        row = (record.plugin_id, content, record.version, record.author.actor, record.author.reason)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO policies VALUES (?, ?, ?, ?, ?)", row)

        await self._database.write(work)

    async def save_forced(self, decided: Collection[Forced]) -> None:
        rows = [
            (one.instance_id, one.plugin_id, CIRCUIT[one.state], one.author.actor, one.author.reason, one.tenure)
            for one in decided
        ]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO forced VALUES (?, ?, ?, ?, ?, ?)", rows)

        await self._database.write(work)

    async def forget_forced(self, instance_ids: Collection[str]) -> None:
        rows = [(instance_id,) for instance_id in instance_ids]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM forced WHERE instance_id = ?", rows)

        await self._database.write(work)

    def note(self, circuit: LastCircuit) -> None:
        content = circuit_to_message(circuit.circuit, circuit.circuit.open_until).SerializeToString()
        row = (circuit.instance_id, circuit.plugin_id, circuit.incarnation, content, circuit.circuit.open_until)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO circuits (instance_id, plugin_id, incarnation, circuit, open_until)"
                " VALUES (?, ?, ?, ?, ?)",
                row,
            )

        self._write_soon(work)

    def forget_circuits(self, instance_keys: Collection[tuple[str, int]]) -> None:
        rows = list(instance_keys)

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM circuits WHERE instance_id = ? AND incarnation = ?", rows)

        self._write_soon(work)

    def _write_soon(self, work: Callable[[sqlite3.Connection], None]) -> None:
        writing = self._database.write(work)
        self._notes.add(writing)
        writing.add_done_callback(self._noted)

    def _noted(self, writing: asyncio.Future[None]) -> None:
        self._notes.discard(writing)
        if not writing.cancelled() and (error := writing.exception()) is not None:
            _log.warning("where a circuit stands is not kept over a restart: %s", error)


class NoDecisions:
    """Keeps nothing: what people decide lasts as long as the balancer."""

    async def load(self) -> Decisions:
        return Decisions()

    async def save_policy(self, record: PolicyRecord) -> None:
        return None

    async def save_forced(self, decided: Collection[Forced]) -> None:
        return None

    async def forget_forced(self, instance_ids: Collection[str]) -> None:
        return None

    def note(self, circuit: LastCircuit) -> None:
        return None

    def forget_circuits(self, instance_keys: Collection[tuple[str, int]]) -> None:
        return None


def _prune(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM circuits WHERE number <= (SELECT coalesce(max(number), 0) FROM circuits) - ?", (MOST_CIRCUITS,)
    )


def _load(connection: sqlite3.Connection, damages: Damages) -> Decisions:
    """Without what is damaged: a circuit begins closed, and what people had decided they decide again."""
    policies = connection.execute("SELECT plugin_id, policy, version, actor, reason FROM policies").fetchall()
    forced = connection.execute("SELECT plugin_id, instance_id, state, actor, reason, tenure FROM forced").fetchall()
    circuits = connection.execute(
        "SELECT plugin_id, instance_id, incarnation, circuit, open_until FROM circuits ORDER BY number"
    ).fetchall()
    return Decisions(
        tuple(damages.sound(policies, _read("policy of plugin", _policy))),
        tuple(damages.sound(forced, _read("forced circuit of plugin", _forced))),
        tuple(damages.sound(circuits, _read("circuit of plugin", _circuit))),
    )


def _read(what: str, read: Callable[..., Kept]) -> Callable[[Sequence[Any]], Kept]:
    def row(values: Sequence[Any]) -> Kept:
        try:
            return read(*values)
        except (DecodeError, KeyError, ValueError, TypeError) as error:
            cause = f"no release has written it so: {error}"
            raise DataCorrupted(f"{what} {values[0]!r}", cause, "decide it again") from error

    return row


def _policy(plugin_id: str, content: bytes, version: int, actor: str, reason: str) -> PolicyRecord:
    policy = policy_from_message(policy_pb2.PluginPolicy.FromString(content))
    return PolicyRecord(plugin_id, policy, version, Author(actor, reason))


def _forced(plugin_id: str, instance_id: str, state: Any, actor: str, reason: str, tenure: str) -> Forced:
    return Forced(plugin_id, instance_id, _STATES[state], Author(actor, reason), tenure)


def _circuit(plugin_id: str, instance_id: str, incarnation: int, content: bytes, open_until: float) -> LastCircuit:
    view = circuit_from_message(snapshot_pb2.Circuit.FromString(content), open_until)
    return LastCircuit(plugin_id, instance_id, incarnation, view)
