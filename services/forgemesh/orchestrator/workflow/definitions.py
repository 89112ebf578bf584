"""Registering definitions and finding them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import semantic_version

from forgemesh.faults.workflow import DefinitionConflict, DefinitionNotFound
from forgemesh.orchestrator.values.identifiers import check_ids
from forgemesh.orchestrator.workflow.definition import Definition, Published
from forgemesh.orchestrator.workflow.ports import Catalogue, DefinitionStore, Instances, StoredDefinition
from forgemesh.orchestrator.workflow.publication import Publication


class Definitions:
    """`parse` turns a namespace and a text into a checked definition or raises DefinitionInvalid."""

    def __init__(
        self,
        store: DefinitionStore,
        catalogue: Catalogue,
        hosts: Instances,
        parse: Callable[[str, str], Definition],
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._hosts = hosts
        self._parse = parse
        self._clock = clock
        self._known: dict[tuple[str, str, str], StoredDefinition] = {}
        """What was looked up since the newest definition came, after which it is another one."""

    async def register(self, namespace: str, source: str) -> tuple[StoredDefinition, bool]:
        """
        Check, also against the registry, and keep; the second value is False if it was kept before.

        What the registry says about what it calls is kept with it: it counts as long as the definition is there.
        """
        definition, _ = await self._checked(namespace, source)
        stored, created = await self._store.keep_definition(definition, self._clock())
        if created:
            self._known = {}
        return stored, created

    async def validate(self, namespace: str, source: str) -> tuple[Definition, list[str], bool]:
        """
        Check as `register` does, and keep nothing: the definition as it would be kept, what is allowed and looks like a
        mistake, and whether the same is registered already. Raises DefinitionConflict if something else is.
        """
        definition, warnings = await self._checked(namespace, source)
        stored = await self._store.definition(namespace, definition.name, definition.version)
        if stored is not None and stored.definition.content_hash != definition.content_hash:
            following = semantic_version.Version(definition.version).next_minor()
            raise DefinitionConflict(definition.name, definition.version, str(following))
        return definition, warnings, stored is not None

    async def read(self, namespace: str, source: str, published: Mapping[str, Published]) -> Definition:
        """A definition that another mesh had checked against its registry; it is not kept yet."""
        return replace(await asyncio.to_thread(self._parse, namespace, source), published=published)

    async def keep(self, definition: Definition) -> Definition:
        """Keep what was read, unless the same is kept already: then that one."""
        stored, _ = await self._store.keep_definition(definition, self._clock())
        self._known = {}
        return stored.definition

    async def find(self, namespace: str, name: str, version: str) -> StoredDefinition:
        """The highest version if `version` is empty; raises DefinitionNotFound."""
        key, known = (namespace, name, version), self._known
        if key not in known:
            stored = await self._store.definition(namespace, name, version)
            if stored is None:
                raise DefinitionNotFound(name, version, await self._store.definition_names(namespace))
            known[key] = stored  # if a higher version has come meanwhile, nobody looks there any more
        return known[key]

    async def renewed(self, definition: Definition) -> Definition:
        """
        The definition for an execution of which nobody knows which versions were called: what any of them says counts.

        Raises ServiceUnreachable.
        """
        return (await Publication.read(definition, self._catalogue)).renewed()

    async def known(self, namespace: str, name: str) -> list[StoredDefinition]:
        """By name, highest version first."""
        return await self._store.definitions(namespace, name)

    async def _checked(self, namespace: str, source: str) -> tuple[Definition, list[str]]:
        check_ids(namespace=namespace)
        definition = await asyncio.to_thread(self._parse, namespace, source)  # a large one takes a while
        published = await Publication.read(definition, self._catalogue)
        return await asyncio.to_thread(published.checked), published.warnings(self._hosts)
