"""The registry's durable memory in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.chassis.damages import Damages
from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.service import DataCorrupted
from forgemesh.registry.codec import instances, manifests
from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.changes import Change, Changed, Gone
from forgemesh.registry.domain.instance import Registration
from forgemesh.registry.domain.instances import Instances
from forgemesh.registry.domain.manifest import Manifest
from forgemesh.registry.domain.owners import Owners
from forgemesh.registry.domain.rules import Rules
from forgemesh.registry.ports import Stored

# A new database is a new history, hence the random epoch. The balancer epochs start at the time of its creation
# because they must grow even if the database is lost: subscribers refuse lower ones.
MIGRATIONS = (
    """
    CREATE TABLE history (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        epoch INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        balancer_epoch INTEGER NOT NULL
    );
    INSERT INTO history VALUES (1, 1 + (random() & 0xFFFFFFFFFFFF), 0, CAST(strftime('%s', 'now') AS INTEGER));
    CREATE TABLE registrations (
        instance_id TEXT PRIMARY KEY,
        instance BLOB NOT NULL,
        owner BLOB NOT NULL,
        ttl REAL NOT NULL
    );
    CREATE TABLE manifests (
        plugin_id TEXT NOT NULL,
        version TEXT NOT NULL,
        manifest BLOB NOT NULL,
        PRIMARY KEY (plugin_id, version)
    );
    """,
    """
    CREATE TABLE quarantines (
        plugin_id TEXT NOT NULL, version TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (plugin_id, version)
    );
    CREATE TABLE pins (plugin_id TEXT PRIMARY KEY, version_range TEXT NOT NULL);
    """,
    """
    CREATE TABLE owners (plugin_id TEXT PRIMARY KEY, digest BLOB NOT NULL);
    """,
)


class SqliteStore:
    """Registrations, manifests, the revision and the epochs. Leases are not in it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._damages = Damages()

    async def load(self) -> Stored:
        return await self._database.read(lambda connection: _load(connection, self._damages))

    async def save(self, changes: Sequence[Change], rules: Rules | None = None) -> None:
        def work(connection: sqlite3.Connection) -> None:
            for change in changes:
                _apply(connection, change)
            if rules is not None:
                _replace_rules(connection, rules)

        await self._database.write(work)

    async def publish(self, manifest: Manifest | None, owners: Owners | None = None) -> None:
        def work(connection: sqlite3.Connection) -> None:
            if manifest is not None:
                _insert_manifest(connection, (manifest.plugin_id, manifest.version, manifest.content))
            if owners is not None:
                connection.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", owners.digests.items())

        await self._database.write(work)

    async def next_balancer_epoch(self) -> int:
        return await self._database.write(_next_balancer_epoch)


def _load(connection: sqlite3.Connection, damages: Damages) -> Stored:
    """Without what is damaged: an instance registers again, a manifest is published again."""
    epoch, revision = connection.execute("SELECT epoch, revision FROM history").fetchone()
    rules = _rules(connection)
    stored = connection.execute("SELECT * FROM registrations")
    registrations = damages.sound(stored, lambda row: _registration(row, rules))
    published = damages.sound(connection.execute("SELECT * FROM manifests"), _manifest)
    return Stored(
        Instances(epoch, revision, {one.instance.instance_id: one for one in registrations}),
        Catalogue.of(published),
        rules,
        Owners({row["plugin_id"]: bytes(row["digest"]) for row in connection.execute("SELECT * FROM owners")}),
    )


def _rules(connection: sqlite3.Connection) -> Rules:
    quarantined = connection.execute("SELECT plugin_id, version, reason FROM quarantines")
    pins = connection.execute("SELECT plugin_id, version_range FROM pins")
    return Rules({(row[0], row[1]): row[2] for row in quarantined}, {row[0]: row[1] for row in pins})


def _replace_rules(connection: sqlite3.Connection, rules: Rules) -> None:
    """There are few of them."""
    connection.execute("DELETE FROM quarantines")
    connection.execute("DELETE FROM pins")
    rows = [(*key, reason) for key, reason in rules.quarantined.items()]
    connection.executemany("INSERT INTO quarantines VALUES (?, ?, ?)", rows)
    connection.executemany("INSERT INTO pins VALUES (?, ?)", rules.pins.items())


def _registration(row: sqlite3.Row, rules: Rules) -> Registration:
    try:
        message = instance_pb2.Instance.FromString(row["instance"])
    except DecodeError as error:
        raise DataCorrupted(f"registration {row['instance_id']}", str(error)) from error
    quarantine = rules.quarantined.get((message.plugin_id, message.plugin_version), "")
    return instances.from_stored(message, owner=row["owner"], ttl=row["ttl"], quarantine=quarantine)


def _manifest(row: sqlite3.Row) -> Manifest:
    try:
        message = manifest_pb2.Manifest.FromString(row["manifest"])
    except DecodeError as error:
        raise DataCorrupted(f"manifest {row['plugin_id']} {row['version']}", str(error)) from error
    return manifests.from_message(message)


def _apply(connection: sqlite3.Connection, change: Change) -> None:
    match change:
        case Changed(registration=registration):
            connection.execute(
                "INSERT OR REPLACE INTO registrations (instance_id, instance, owner, ttl) VALUES (?, ?, ?, ?)",
                (
                    change.instance_id,
                    instances.to_message(registration).SerializeToString(),
                    registration.owner,
                    registration.ttl,
                ),
            )
        case Gone(instance_id=instance_id):
            connection.execute("DELETE FROM registrations WHERE instance_id = ?", (instance_id,))
    connection.execute("UPDATE history SET revision = ?", (change.revision,))


def _insert_manifest(connection: sqlite3.Connection, row: tuple[str, str, bytes]) -> None:
    connection.execute("INSERT INTO manifests (plugin_id, version, manifest) VALUES (?, ?, ?)", row)


def _next_balancer_epoch(connection: sqlite3.Connection) -> int:
    (epoch,) = connection.execute(
        "UPDATE history SET balancer_epoch = balancer_epoch + 1 RETURNING balancer_epoch"
    ).fetchone()
    return int(epoch)
