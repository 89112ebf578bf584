"""Definitions in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import msgspec
import semantic_version

from forgemesh.chassis.damages import Damages
from forgemesh.chassis.sqlite.database import Database, Work
from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import DefinitionConflict, DefinitionInvalid
from forgemesh.orchestrator.store.sqlite.schema import check, checksum
from forgemesh.orchestrator.workflow.definition import Definition, Published
from forgemesh.orchestrator.workflow.ports import StoredDefinition

_COLUMNS = ("namespace", "name", "version", "content_hash", "source", "created_at", "published")


class DefinitionRows:
    """The part of the store that keeps definitions; each is compiled once."""

    _database: Database
    fence: Work[None]
    _parse: Callable[[str, str], Definition]
    damages: Damages
    _compiled: dict[tuple[str, str, str, str], Definition]

    async def keep_definition(self, definition: Definition, created_at: int) -> tuple[StoredDefinition, bool]:
        """See ports.Store."""
        d = definition
        published = msgspec.json.encode(dict(d.published), order="sorted").decode()
        values = (d.namespace, d.name, d.version, d.content_hash, d.source, created_at, published)

        def work(connection: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = connection.execute(
                "SELECT * FROM definition WHERE namespace = ? AND name = ? AND version = ?",
                (d.namespace, d.name, d.version),
            ).fetchone()
            if row is None:
                names = ", ".join((*_COLUMNS, "checksum"))
                marks = ", ".join("?" * (len(_COLUMNS) + 1))
                sql = f"INSERT INTO definition ({names}) VALUES ({marks})"  # noqa: S608
                connection.execute(sql, (*values, checksum(values)))
            elif row["content_hash"] != d.content_hash:
                raise DefinitionConflict(d.name, d.version, str(semantic_version.Version(d.version).next_minor()))
            return row

        kept = await self._database.write(work, guard=self.fence)
        if kept is not None:
            return StoredDefinition(self._compile(kept), kept["created_at"]), False
        self._compiled[d.namespace, d.name, d.version, d.content_hash] = d
        return StoredDefinition(d, created_at), True

    async def definition(self, namespace: str, name: str, version: str) -> StoredDefinition | None:
        """See ports.Store."""
        rows = await self._definition_rows(namespace, name, version)
        return StoredDefinition(self._compile(rows[0]), rows[0]["created_at"]) if rows else None

    async def definitions(self, namespace: str, name: str) -> list[StoredDefinition]:
        """See ports.Store."""
        rows = await self._definition_rows(namespace, name, "", damages=self.damages)
        return self.damages.sound(rows, lambda row: StoredDefinition(self._compile(row), row["created_at"]))

    async def definition_names(self, namespace: str) -> list[str]:
        """See ports.Store."""

        def work(connection: sqlite3.Connection) -> list[str]:
            sql = "SELECT DISTINCT name FROM definition WHERE namespace = ? ORDER BY name"
            return [row["name"] for row in connection.execute(sql, (namespace,))]

        return await self._database.read(work)

    async def _definition_rows(
        self, namespace: str, name: str, version: str, damages: Damages | None = None
    ) -> list[sqlite3.Row]:
        """
        By name, highest version first; of those that differ in their build alone, the newest.

        Raises DataCorrupted for a damaged one, unless `damages` are told of it.
        """

        def sound(row: sqlite3.Row) -> sqlite3.Row:
            check(row, _COLUMNS, "checksum", _record(row))
            return row

        def work(connection: sqlite3.Connection) -> list[sqlite3.Row]:
            where, values = "namespace = ?", [namespace]
            for column, value in (("name", name), ("version", version)):
                if value:
                    where, values = f"{where} AND {column} = ?", [*values, value]
            sql = f"SELECT * FROM definition WHERE {where}"  # noqa: S608
            rows = connection.execute(sql, values).fetchall()
            return damages.sound(rows, sound) if damages is not None else [sound(row) for row in rows]

        rows = await self._database.read(work)
        rows.sort(key=lambda row: row["created_at"], reverse=True)
        rows.sort(key=lambda row: semantic_version.Version(row["version"]), reverse=True)
        return sorted(rows, key=lambda row: row["name"])

    def _compile(self, row: sqlite3.Row) -> Definition:
        key = (row["namespace"], row["name"], row["version"], row["content_hash"])
        if key not in self._compiled:
            try:
                definition = self._parse(row["namespace"], row["source"])
            except DefinitionInvalid as error:
                raise DataCorrupted(_record(row), error.message) from error
            if definition.content_hash != row["content_hash"]:
                raise DataCorrupted(_record(row), "its content does not fit its hash")
            self._compiled[key] = replace(definition, published=_published(row["published"]))
        return self._compiled[key]


def _published(text: str) -> dict[str, Published]:
    """An earlier release kept whether a call is idempotent, and nothing else."""
    said = msgspec.json.decode(text, type=dict[str, Published | bool])
    return {path: Published(one) if isinstance(one, bool) else one for path, one in said.items()}


def _record(row: sqlite3.Row) -> str:
    return f"definition {row['name']!r} {row['version']}"
