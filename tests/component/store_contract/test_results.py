"""Kept results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.values.payload import Payload
from tests.component.store_contract.adapters import Adapter

OLDER = KeptResult("p", "1.0.0", "ab", Payload(b"7", "text/plain", {"origin": "here"}))
NEWER = KeptResult("p", "1.0.0", "cd", Payload(b"8"))


async def test_results_are_kept_until_they_expire_one_of_each_provider(store: Store) -> None:
    await store.keep_result(b"k", replace(OLDER, output=Payload(b"6")), 90)
    await store.keep_result(b"k", OLDER, 100)
    await store.keep_result(b"k", NEWER, 101)

    assert await store.cached(b"k", 99) == [NEWER, OLDER]
    assert await store.cached(b"k", 100) == [NEWER]
    assert await store.cached(b"other", 99) == []


async def test_results_that_have_expired_are_dropped(store: Store) -> None:
    await store.keep_result(b"k", OLDER, 100)
    await store.keep_result(b"k", NEWER, 101)

    await store.drop_expired_results(100)

    assert await store.cached(b"k", 0) == [NEWER]


async def test_a_damaged_result_is_refused_and_those_of_other_questions_are_served(
    adapter: Adapter, store: Store
) -> None:
    await store.keep_result(b"k", OLDER, 100)
    await store.keep_result(b"other", replace(NEWER, plugin_id="q"), 100)
    await adapter.change("kept_result", "output", "p")

    with pytest.raises(DataCorrupted, match="kept result"):
        await store.cached(b"k", 0)
    assert await store.cached(b"other", 0) == [replace(NEWER, plugin_id="q")]
