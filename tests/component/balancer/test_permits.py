from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from forgemesh.balancer.application.circuits import permits
from forgemesh.routing.circuit_rule import CircuitRule
from tests.component.balancer.meshes import DEADLINE, subscribed
from tests.component.balancer.test_circuits import HALF_OPEN, guarded


async def test_a_caller_that_lets_its_permits_run_out_comes_after_all_others(tmp_path: Path) -> None:
    rule = CircuitRule(open=0.05, max_open=0.05, permit_lease=0.1)
    async with (
        guarded(tmp_path, rule) as mesh,
        subscribed(mesh.served) as hung,
        subscribed(mesh.served, subscriber_id="second") as second,
    ):
        second.report(waiting=1)
        hung.report(mesh.failures(5), waiting=100)
        await hung.permit()
        async with asyncio.timeout(DEADLINE):
            permit = await second.permit()
        (known,) = mesh.served.balancer.circuits

    assert permit.instance_id == "a"
    assert known.circuit.opened == 1


async def test_a_caller_is_given_hardly_more_permits_than_it_has_calls_for(tmp_path: Path) -> None:
    rule = CircuitRule(open=0.05, max_open=0.05, permits=1000)
    async with guarded(tmp_path, rule) as mesh, subscribed(mesh.served) as feed:
        feed.report(mesh.failures(5), waiting=30)
        await feed.until_circuit(HALF_OPEN)
        await feed.taken(feed.report(waiting=30))
        first = len(feed.permits)
        await feed.taken(feed.report(waiting=40))

    assert first == 30
    assert len({permit.permit_id for permit in feed.permits}) == 40


async def test_a_thousand_permits_are_dealt_in_a_moment(tmp_path: Path) -> None:
    rule = CircuitRule(open=0.05, max_open=0.05, permits=1000)
    async with guarded(tmp_path, rule) as mesh, subscribed(mesh.served) as feed:
        feed.report(mesh.failures(5), waiting=1000)
        await feed.until_circuit(HALF_OPEN)
        async with asyncio.timeout(DEADLINE):
            await feed.taken(feed.report(waiting=1000))

    assert len({permit.permit_id for permit in feed.permits}) == 1000


async def test_a_caller_that_has_fallen_silent_is_given_no_permit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permits, "SILENT", 0.1)
    rule = CircuitRule(open=0.2, max_open=0.2, permit_lease=60.0)
    async with (
        guarded(tmp_path, rule) as mesh,
        subscribed(mesh.served) as hung,
        subscribed(mesh.served, subscriber_id="second") as second,
    ):
        hung.report(mesh.failures(5), waiting=100)
        await second.until_circuit(HALF_OPEN)
        second.report(waiting=1)
        async with asyncio.timeout(DEADLINE):
            permit = await second.permit()

    assert permit.instance_id == "a"
    assert hung.permits == []
