"""Definitions: immutable, by version."""

from __future__ import annotations

import pytest

from forgemesh.faults.service import DataCorrupted
from forgemesh.faults.workflow import DefinitionConflict
from forgemesh.orchestrator.execution.ports.store import Store
from tests.component.store_contract.adapters import Adapter
from tests.unit.orchestrator.workflows import call, of_steps, parsed


def definition(version: str = "", step: str = "a") -> str:
    line = f"version: {version}\n" if version else ""
    return f"name: w\n{line}steps: [{{id: {step}, call: {{plugin: p, operation: o}}}}]"


async def test_the_same_definition_again_is_the_same(store: Store) -> None:
    first, is_new = await store.keep_definition(parsed(definition("1.0.0")), 100)

    again, is_new_again = await store.keep_definition(parsed(definition("1.0.0") + "\n# a comment"), 200)

    assert (is_new, is_new_again) == (True, False)
    assert (first.created_at, again.created_at) == (100, 100)


async def test_other_content_under_a_version_is_refused_with_the_version_to_take(store: Store) -> None:
    await store.keep_definition(parsed(definition("1.2.3")), 100)

    with pytest.raises(DefinitionConflict) as conflict:
        await store.keep_definition(parsed(definition("1.2.3", step="b")), 200)

    assert conflict.value.metadata["next_version"] == "1.3.0"
    kept = await store.definition("default", "w", "1.2.3")
    assert kept is not None
    assert kept.definition.steps[0].id == "a"


async def test_the_highest_version_is_the_newest_of_equals(store: Store) -> None:
    for at, text in enumerate([definition(step="x"), definition(step="b"), definition(step="m"), definition(step="c")]):
        await store.keep_definition(parsed(text), at)

    newest = await store.definition("default", "w", "")

    assert newest is not None
    assert newest.definition.steps[0].id == "c"


async def test_versions_are_ordered_as_versions_are(store: Store) -> None:
    for at, version in enumerate(["1.10.0", "1.9.0", "2.0.0-rc.1", "1.10.0-rc.2", "0.1.0"]):
        await store.keep_definition(parsed(definition(version)), at)

    versions = [kept.definition.version for kept in await store.definitions("default", "w")]

    assert versions == ["2.0.0-rc.1", "1.10.0", "1.10.0-rc.2", "1.9.0", "0.1.0"]
    assert await store.definition("default", "w", "3.0.0") is None
    assert await store.definition("elsewhere", "w", "") is None
    assert await store.definition_names("default") == ["w"]


async def test_a_definition_that_cannot_be_read_is_left_out_of_lists_and_refused_by_name(
    adapter: Adapter, store: Store
) -> None:
    for name in ("a", "b"):
        await store.keep_definition(of_steps(call("x"), name=name), 1)
    await adapter.change("definition", "source", "a")

    assert [kept.definition.name for kept in await store.definitions("default", "")] == ["b"]
    assert [said.partition(" ")[0] for said in store.damaged] == ["definition"]
    with pytest.raises(DataCorrupted):
        await store.definition("default", "a", "")
