"""The tables of the orchestrator's database, and how their rows are told damaged."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping, Sequence

import msgspec

from forgemesh.chassis.sqlite.database import Bulk
from forgemesh.faults.service import DataCorrupted

REOPENED = "ended_at > 0 AND status IN ('QUEUED', 'RUNNING', 'PAUSING', 'PAUSED', 'CANCELLING', 'COMPENSATING')"
"""Rows of executions that an older release opened again after their end."""

MIGRATIONS = (
    """
    CREATE TABLE definition (
        namespace TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
        content_hash TEXT NOT NULL, source TEXT NOT NULL, created_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, name, version)
    ) WITHOUT ROWID;
    CREATE TABLE execution (
        key INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, execution_id TEXT NOT NULL,
        workflow TEXT NOT NULL, workflow_version TEXT NOT NULL,
        status TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
        trace_id TEXT NOT NULL, request_id TEXT NOT NULL, request_hash TEXT NOT NULL,
        UNIQUE (namespace, execution_id)
    );
    CREATE INDEX execution_open ON execution (key) WHERE status = 'RUNNING';
    CREATE INDEX execution_workflow ON execution (namespace, workflow, key);
    CREATE UNIQUE INDEX execution_request ON execution (namespace, request_id) WHERE request_id <> '';
    CREATE TABLE event (
        position INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL,
        UNIQUE (execution, sequence)
    );
    CREATE TRIGGER event_in_order BEFORE INSERT ON event
    WHEN NEW.sequence > 1
        AND NOT EXISTS (SELECT 1 FROM event WHERE execution = NEW.execution AND sequence = NEW.sequence - 1)
    BEGIN
        SELECT RAISE (ABORT, 'the event before it was not kept');
    END;
    CREATE TABLE progress (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
    INSERT INTO owner VALUES (1, 0);
    """,
    """
    ALTER TABLE definition ADD COLUMN idempotence TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE definition ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE execution ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE execution ADD COLUMN concurrency_key TEXT NOT NULL DEFAULT '';
    ALTER TABLE execution ADD COLUMN parent_id TEXT NOT NULL DEFAULT '';
    ALTER TABLE execution ADD COLUMN schedule_id TEXT NOT NULL DEFAULT '';
    ALTER TABLE execution ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE execution ADD COLUMN incidents INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE execution ADD COLUMN standing_checksum INTEGER NOT NULL DEFAULT 0;
    DROP INDEX execution_open;
    CREATE INDEX execution_start ON execution (namespace, key);
    CREATE INDEX execution_open ON execution (namespace, key) WHERE ended_at = 0;
    CREATE INDEX execution_status ON execution (namespace, status, key);
    CREATE INDEX execution_end ON execution (
        namespace, CASE ended_at WHEN 0 THEN 4611686018427387904 ELSE ended_at END, key
    );
    CREATE INDEX execution_past ON execution (ended_at, key) WHERE ended_at > 0;
    CREATE INDEX execution_incident ON execution (namespace, key) WHERE incidents > 0;
    CREATE INDEX execution_parent ON execution (namespace, parent_id, key) WHERE parent_id <> '';
    CREATE INDEX execution_schedule ON execution (namespace, schedule_id, key) WHERE schedule_id <> '';
    CREATE INDEX execution_concurrency ON execution (namespace, concurrency_key, key) WHERE concurrency_key <> '';
    CREATE TABLE blob (hash BLOB PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE blob_use (
        execution INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (execution, hash)
    ) WITHOUT ROWID;
    CREATE INDEX blob_use_hash ON blob_use (hash);
    CREATE TABLE kept_result (
        key BLOB PRIMARY KEY, plugin_version TEXT NOT NULL, media_type TEXT NOT NULL, output BLOB NOT NULL,
        expires_at INTEGER NOT NULL, checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX kept_result_expiry ON kept_result (expires_at);
    """,
    """
    CREATE TABLE schedule (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        namespace TEXT NOT NULL, schedule_id TEXT NOT NULL, plan BLOB NOT NULL,
        revision INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        cursor INTEGER NOT NULL,
        paused_at INTEGER NOT NULL, paused_by TEXT NOT NULL, paused_reason TEXT NOT NULL,
        used INTEGER NOT NULL, last_number INTEGER NOT NULL,
        first_started_at INTEGER NOT NULL, last_started_at INTEGER NOT NULL,
        started INTEGER NOT NULL, skipped INTEGER NOT NULL, missed INTEGER NOT NULL, refused INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (namespace, schedule_id)
    );
    CREATE TABLE schedule_run (
        key INTEGER PRIMARY KEY,
        schedule INTEGER NOT NULL, moment INTEGER NOT NULL, occasion TEXT NOT NULL, number INTEGER NOT NULL,
        state TEXT NOT NULL, overlap TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
        decided_at INTEGER NOT NULL, request_id TEXT NOT NULL, linked_span TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (schedule, moment, occasion, number)
    );
    CREATE INDEX schedule_run_open ON schedule_run (schedule, key) WHERE state IN ('WAITING', 'STARTING');
    CREATE INDEX schedule_run_over ON schedule_run (schedule, decided_at, key)
        WHERE state NOT IN ('WAITING', 'STARTING');
    CREATE INDEX schedule_run_request ON schedule_run (schedule, request_id) WHERE request_id <> '';
    """,
    """
    ALTER TABLE definition RENAME COLUMN idempotence TO published;
    """,
    """
    ALTER TABLE execution ADD COLUMN run_id TEXT NOT NULL DEFAULT '';
    ALTER TABLE execution ADD COLUMN parent_run TEXT NOT NULL DEFAULT '';
    ALTER TABLE execution ADD COLUMN schedule_incarnation TEXT NOT NULL DEFAULT '';
    ALTER TABLE execution ADD COLUMN identity_checksum INTEGER NOT NULL DEFAULT 0;
    UPDATE execution SET run_id = printf('%026d', key);
    UPDATE execution SET parent_run = coalesce((
        SELECT parent.run_id FROM execution AS parent
        WHERE parent.namespace = execution.namespace AND parent.key < execution.key AND (
            parent.execution_id = execution.parent_id
            OR parent.execution_id BETWEEN execution.parent_id || '~0' AND execution.parent_id || '~:'
        ) ORDER BY parent.key DESC LIMIT 1
    ), '') WHERE parent_id <> '';
    UPDATE execution SET schedule_incarnation = coalesce((
        SELECT printf('%026d', schedule.key) FROM schedule
        WHERE schedule.namespace = execution.namespace AND schedule.schedule_id = execution.schedule_id
            AND schedule.created_at <= execution.started_at
    ), '') WHERE schedule_id <> '' AND request_id LIKE 'schedule-%';
    CREATE UNIQUE INDEX execution_run ON execution (run_id) WHERE run_id <> '';
    """,
    # What was kept under keys that left something out is worth nothing.
    """
    DROP TABLE kept_result;
    CREATE TABLE kept_result (
        key BLOB NOT NULL,
        plugin_id TEXT NOT NULL, plugin_version TEXT NOT NULL, manifest_digest TEXT NOT NULL,
        media_type TEXT NOT NULL, metadata TEXT NOT NULL, output BLOB NOT NULL,
        expires_at INTEGER NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (key, plugin_id, plugin_version, manifest_digest)
    ) WITHOUT ROWID;
    CREATE INDEX kept_result_expiry ON kept_result (expires_at);
    """,
    f"CREATE INDEX execution_reopened ON execution (key) WHERE {REOPENED};",
    """
    CREATE TABLE effect_claim (
        origin_run TEXT NOT NULL, path TEXT NOT NULL, fork_run TEXT NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (origin_run, path)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE answer (
        namespace TEXT NOT NULL, request_id TEXT NOT NULL, content TEXT NOT NULL,
        execution INTEGER NOT NULL, schedule INTEGER NOT NULL, given_at INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (namespace, request_id)
    ) WITHOUT ROWID;
    CREATE INDEX answer_execution ON answer (execution) WHERE execution > 0;
    CREATE INDEX answer_schedule ON answer (schedule, request_id) WHERE schedule > 0;
    CREATE INDEX answer_age ON answer (given_at) WHERE schedule > 0;
    """,
    """
    CREATE TABLE shard (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, spans_sent INTEGER NOT NULL);
    INSERT INTO shard VALUES (
        0, coalesce((SELECT epoch FROM owner), 0), coalesce((SELECT position FROM progress WHERE name = 'spans'), 0)
    );
    DROP TABLE owner;
    DELETE FROM progress WHERE name = 'spans';
    ALTER TABLE execution ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;
    """,
)

FACTS = (
    "key",
    "namespace",
    "execution_id",
    "workflow",
    "workflow_version",
    "started_at",
    "trace_id",
    "request_id",
    "request_hash",
    "priority",
    "concurrency_key",
    "parent_id",
    "schedule_id",
)
"""Columns of an execution that `checksum` covers; they change when it is renamed."""
IDENTITY = ("key", "run_id", "parent_run", "schedule_incarnation")
"""Columns that `identity_checksum` covers, with `shard` unless that is 0: rows of older releases have none."""
STANDING = ("key", "status", "ended_at", "incidents")
"""Columns that `standing_checksum` covers."""

NEW_EXECUTION = Bulk(
    f"INSERT INTO execution ({', '.join(FACTS)}, checksum, status, ended_at, incidents, standing_checksum,"
    f" {', '.join(IDENTITY[1:])}, shard, identity_checksum) VALUES",
    f"({', '.join('?' * (len(FACTS) + 6 + len(IDENTITY)))})",
)
ANSWER = ("namespace", "request_id", "content", "execution", "schedule", "given_at")
"""Columns of an answer that its `checksum` covers."""
NEW_ANSWER = Bulk("INSERT OR IGNORE INTO answer VALUES", "(?, ?, ?, ?, ?, ?, ?)")
NEW_EVENT = Bulk("INSERT INTO event VALUES", "(?, ?, ?, ?)")
CLAIM = ("origin_run", "path", "fork_run")
NEW_CLAIM = Bulk("INSERT INTO effect_claim VALUES", "(?, ?, ?, ?)")
"""Each effect can be claimed once."""
NEW_BLOB = Bulk("INSERT OR IGNORE INTO blob VALUES", "(?, ?)")
NEW_BLOB_USE = Bulk("INSERT OR IGNORE INTO blob_use VALUES", "(?, ?)")
STANDING_CHANGED = Bulk(
    "WITH told (turn, key, status, ended_at, incidents, checksum) AS (VALUES",
    "(?, ?, ?, ?, ?, ?)",
    ") UPDATE execution SET status = last.status, ended_at = last.ended_at, incidents = last.incidents,"
    " standing_checksum = last.checksum"
    " FROM (SELECT max(turn), key, status, ended_at, incidents, checksum FROM told GROUP BY key) AS last"
    " WHERE execution.key = last.key",
)
"""One execution may change several times in one transaction: the change of the last turn counts."""


def checksum(values: Sequence[object]) -> int:
    """CRC-32 over a row's columns; never 0, which stands for a row of a release that did not know checksums."""
    return (
        zlib.crc32(msgspec.json.encode([value.hex() if isinstance(value, bytes) else value for value in values])) or 1
    )


def check(row: sqlite3.Row | Mapping[str, object], columns: Sequence[str], told: str, record: str) -> None:
    """Raises DataCorrupted if the columns do not fit the checksum in the column `told`."""
    if row[told] and row[told] != checksum([row[column] for column in columns]):
        raise DataCorrupted(record, "its checksum is wrong")
