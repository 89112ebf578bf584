from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, report_pb2, snapshot_pb2
from forgemesh.routing.policy import PluginPolicy, Policy
from tests.component.balancer.meshes import PLUGIN, subscribed
from tests.component.balancer.test_circuits import CLOSED, LONG, OPEN, guarded

MOST = 2**64 - 1


@pytest.mark.parametrize(
    "nonsense",
    [
        {"succeeded": MOST, "started": MOST, "slow": MOST},
        {"failed": MOST, "failures_in_a_row": MOST},
        {"started": 1, "in_flight": 2**32 - 1},
        {"plugin_id": "another.plugin", "failed": 5, "failures_in_a_row": 5},
    ],
)
async def test_counts_that_cannot_be_change_nothing_for_anybody(tmp_path: Path, nonsense: dict[str, Any]) -> None:
    async with (
        guarded(tmp_path, LONG) as mesh,
        subscribed(mesh.served, subscriber_id="odd") as odd,
        subscribed(mesh.served, subscriber_id="odd as well") as odd_too,
        subscribed(mesh.served) as feed,
    ):
        mesh.served.balancer.ruled(PLUGIN, PluginPolicy(pick=Policy.LEAST_CONNECTIONS, circuit=LONG))
        for one in (odd, odd_too):
            await one.taken(one.report(mesh.counts(**nonsense)))
        feed.report(mesh.counts(started=2, succeeded=1, in_flight=1))
        while "a" not in feed.loads or not feed.loads["a"].in_flight:
            await feed.hear()
        listed = await mesh.served.stub.ListCircuits(pb.ListCircuitsRequest())

    (circuit,) = listed.circuits
    assert (circuit.calls, circuit.failed, circuit.in_flight) == (1, 0, 1)
    assert circuit.circuit.state == CLOSED


async def test_what_a_failure_says_is_shortened(tmp_path: Path) -> None:
    failure = report_pb2.CallFailure(code=14, message="m" * 90_000, reason="r" * 90_000, traceparent="t" * 70_000)
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served) as feed:
        feed.report(mesh.counts(started=5, failed=5, failures_in_a_row=5, last_failure=failure))
        await feed.until_circuit(OPEN)
        listed = await mesh.served.stub.ListCircuits(pb.ListCircuitsRequest())

    assert listed.ByteSize() < 2000
    assert feed.snapshots[PLUGIN].ByteSize() < 2000


async def test_a_circuit_of_a_generation_that_cannot_be_is_not_taken_over(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as mesh:
        known = report_pb2.KnownCircuit(
            plugin_id=PLUGIN,
            instance_id="a",
            incarnation=mesh.incarnation,
            circuit=snapshot_pb2.Circuit(state=OPEN, generation=MOST),
        )
        async with subscribed(mesh.served, circuits=[known]) as feed:
            await feed.taken(feed.report())
            (found,) = mesh.served.balancer.circuits

    assert found.circuit.generation == 0


async def test_a_circuit_is_taken_over_for_no_longer_than_its_rule_keeps_it_open(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as mesh:
        known = report_pb2.KnownCircuit(
            plugin_id=PLUGIN,
            instance_id="a",
            incarnation=mesh.incarnation,
            circuit=snapshot_pb2.Circuit(state=OPEN, generation=7, open_for_millis=2**62, cause="c" * 10_000),
        )
        async with subscribed(mesh.served, circuits=[known]) as feed:
            circuit = await feed.until_circuit(OPEN)

    assert circuit.open_for_millis <= 66_000
    assert len(circuit.cause) <= 512


async def test_a_report_of_ten_thousand_instances_is_read(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served) as feed:
        many = [mesh.counts(instance_id=f"another-instance-{n:05}", started=10, succeeded=10) for n in range(10_000)]

        await feed.taken(feed.report(*many, mesh.counts(started=3, succeeded=3)))
        listed = await mesh.served.stub.ListCircuits(pb.ListCircuitsRequest())

    assert listed.circuits[0].calls == 3


async def test_a_subscriber_that_refuses_every_snapshot_is_complained_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served) as feed:
        await feed.until_circuit(CLOSED)
        for number in range(100):
            revision = snapshot_pb2.FeedRevision(epoch=1, revision=number)
            nack = pb.SnapshotNack(plugin_id=PLUGIN, revision=revision, reason="no " * 1000)
            feed.say(pb.SubscribeRequest(nack=nack))
        await feed.taken(feed.report())

    (complaint,) = [one.getMessage() for one in caplog.records if "cannot use snapshot" in one.getMessage()]
    assert len(complaint) < 1000


@pytest.mark.parametrize("hello", [{"subscriber_id": "s" * 129}, {"boot_id": "b" * 129}])
async def test_a_subscriber_with_an_endless_name_is_refused(tmp_path: Path, hello: dict[str, str]) -> None:
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served, **hello) as feed:
        with pytest.raises(Exception, match="1 to 128 characters"):
            await feed.hear()
