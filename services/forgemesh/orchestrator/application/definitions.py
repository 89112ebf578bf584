"""Registering definitions and finding them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import semantic_version

from forgemesh.faults import Violation
from forgemesh.faults.workflow import DefinitionInvalid, DefinitionNotFound
from forgemesh.orchestrator.application.identifiers import check_ids
from forgemesh.orchestrator.domain.definition import Call, Definition
from forgemesh.orchestrator.domain.fields import suggestion
from forgemesh.orchestrator.ports import Catalogue, Store, StoredDefinition


class Definitions:
    """`parse` turns a namespace and a text into a checked definition or raises DefinitionInvalid."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        parse: Callable[[str, str], Definition],
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._parse = parse
        self._clock = clock
        self._known: dict[tuple[str, str, str], StoredDefinition] = {}

    async def register(self, namespace: str, source: str) -> tuple[StoredDefinition, bool]:
        """Check, also against the registry, and keep; the second value is False if it was kept before."""
        check_ids(namespace=namespace)
        definition = await asyncio.to_thread(self._parse, namespace, source)  # a large one takes a while
        await self._check_plugins(definition)
        stored, created = await self._store.keep_definition(definition, self._clock())
        if created:
            self._known.clear()
        return stored, created

    async def find(self, namespace: str, name: str, version: str) -> StoredDefinition:
        """The highest version if `version` is empty; raises DefinitionNotFound."""
        key = (namespace, name, version)
        if key not in self._known:
            stored = await self._store.definition(namespace, name, version)
            if stored is None:
                raise DefinitionNotFound(name, version, await self._store.definition_names(namespace))
            self._known[key] = stored
        return self._known[key]

    async def known(self, namespace: str, name: str) -> list[StoredDefinition]:
        """By name, highest version first."""
        return await self._store.definitions(namespace, name)

    async def _check_plugins(self, definition: Definition) -> None:
        violations: list[Violation] = []
        published: dict[str, dict[str, frozenset[str]] | None] = {}
        for path, call in definition.calls():
            if call.plugin_id not in published:
                published[call.plugin_id] = await self._catalogue.operations(call.plugin_id)
            message = _lack(call, published[call.plugin_id])
            if message:
                violations.append(Violation(path, f"{call.where}{message}"))
        if violations:
            raise DefinitionInvalid(definition.name, violations)


def _lack(call: Call, versions: dict[str, frozenset[str]] | None) -> str:
    """What is missing for the call, or nothing."""
    if versions is None:
        return f"no plugin {call.plugin_id!r} was ever published; see `forgemesh plugin list`"
    wanted = semantic_version.NpmSpec(call.version_range or "*")
    fitting = {v: operations for v, operations in versions.items() if wanted.match(semantic_version.Version(v))}
    if not fitting:
        return f"no version of {call.plugin_id!r} fits {call.version_range!r}; published: {', '.join(versions)}"
    operations = frozenset[str]().union(*fitting.values())
    if call.operation not in operations:
        return f"{call.plugin_id!r} has no operation {call.operation!r}{suggestion(call.operation, operations)}"
    return ""
