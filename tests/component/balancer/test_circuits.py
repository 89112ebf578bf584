from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.balancer.v1 import report_pb2 as pb, snapshot_pb2
from forgemesh.balancer.application.events.events import Watched
from forgemesh.balancer.domain.events import Change, CircuitChange, HealthChange, LoadChange
from forgemesh.chassis.health import Health
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState
from forgemesh.routing.policy import PluginPolicy, Policy
from tests.component.balancer.meshes import (
    PLUGIN,
    ServedBalancer,
    Subscriber,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)

CLOSED = snapshot_pb2.CIRCUIT_STATE_CLOSED
OPEN = snapshot_pb2.CIRCUIT_STATE_OPEN
HALF_OPEN = snapshot_pb2.CIRCUIT_STATE_HALF_OPEN

BRIEF = CircuitRule(open=0.05, max_open=0.05, permit_lease=5.0)
"""Opens like the default, and soon lets somebody try."""
LONG = CircuitRule(open=60.0)


@dataclass(frozen=True)
class Guarded:
    """A mesh with one healthy instance."""

    served: ServedBalancer
    health: Health
    incarnation: int

    def counts(self, generation: int = 0, **counts: Any) -> pb.CallCounts:
        known: dict[str, Any] = {
            "plugin_id": PLUGIN,
            "instance_id": "a",
            "incarnation": self.incarnation,
            "generation": generation,
        }
        return pb.CallCounts(**(known | counts))

    def failures(self, count: int, generation: int = 0) -> pb.CallCounts:
        failure = pb.CallFailure(code=14, message="no route", traceparent="00-11-22-01")
        return self.counts(generation, started=count, failed=count, failures_in_a_row=count, last_failure=failure)

    async def changes(self) -> list[Change]:
        """Everything that has happened, in order."""
        watch = self.served.balancer.events.watch(None, Watched(history_only=True))
        async with contextlib.aclosing(watch) as told:
            return [one.entry.event.change async for one in told if one.entry is not None]

    async def circuit_changes(self) -> list[tuple[CircuitState, CircuitState]]:
        return [(one.before, one.after.state) for one in await self.changes() if isinstance(one, CircuitChange)]


@contextlib.asynccontextmanager
async def guarded(tmp_path: Path, rule: CircuitRule, **facts: Any) -> AsyncIterator[Guarded]:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (health, address),
    ):
        registered = await register(stub, "a", address, **facts)
        async with balancer_of(registry.address) as served:
            served.balancer.ruled(PLUGIN, PluginPolicy(circuit=rule))
            await served.warm()
            yield Guarded(served, health, registered.instance.incarnation)


async def tripped(mesh: Guarded, feed: Subscriber, generation: int = 0) -> snapshot_pb2.Circuit:
    """Report as many failures as it takes."""
    feed.report(mesh.failures(5, generation))
    return await feed.until_circuit(OPEN)


async def test_failures_that_callers_report_open_the_circuit_and_everybody_is_told_why(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, LONG) as mesh,
        subscribed(mesh.served) as feed,
        subscribed(mesh.served, subscriber_id="another") as other,
    ):
        feed.report(mesh.failures(3))
        other.report(mesh.failures(2))
        circuit = await other.until_circuit(OPEN)
        changes = await mesh.circuit_changes()

    assert circuit.generation == 1
    assert circuit.cause == "5 failures in a row, last UNAVAILABLE: no route"
    assert circuit.cause_traceparent == "00-11-22-01"
    assert 0 < circuit.open_for_millis <= 66_000
    assert changes == [(CircuitState.CLOSED, CircuitState.OPEN)]


async def test_reports_that_come_twice_late_or_not_at_all_count_once(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served) as feed:
        feed.report(mesh.failures(2), sequence=1)
        feed.report(mesh.failures(2), sequence=1)
        feed.report(mesh.failures(4), sequence=3)
        feed.report(mesh.failures(3), sequence=2)
        feed.report(mesh.failures(4), sequence=4)
        await feed.taken(4)
        (before,) = mesh.served.balancer.circuits
        row = before.circuit.failures_in_a_row
        feed.report(mesh.failures(5), sequence=5)
        await feed.until_circuit(OPEN)

    assert row == 4


async def test_what_was_sent_before_a_circuit_moved_changes_nothing(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served) as feed:
        await tripped(mesh, feed)
        await feed.taken(feed.report(mesh.counts(0, started=100, succeeded=95, failed=5)))
        changes = await mesh.circuit_changes()

    assert changes == [(CircuitState.CLOSED, CircuitState.OPEN)]


async def test_counts_of_other_incarnations_and_of_unknown_instances_change_nothing(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served) as feed:
        old = mesh.failures(50)
        old.incarnation -= 1
        unknown = mesh.failures(50)
        unknown.instance_id = "nobody"
        await feed.taken(feed.report(old, unknown))
        changes = await mesh.circuit_changes()

    assert changes == []


async def test_a_caller_that_reports_to_a_balancer_for_the_first_time_begins_with_what_it_had_counted(
    tmp_path: Path,
) -> None:
    async with (
        guarded(tmp_path, LONG) as mesh,
        subscribed(mesh.served, baseline=[mesh.failures(50)]) as feed,
    ):
        await feed.taken(feed.report(mesh.failures(52)))
        (known,) = mesh.served.balancer.circuits
        row = known.circuit.failures_in_a_row

    assert row == 2


async def test_the_caller_with_calls_waiting_gets_the_one_permit_and_its_success_closes_the_circuit(
    tmp_path: Path,
) -> None:
    async with (
        guarded(tmp_path, BRIEF) as mesh,
        subscribed(mesh.served) as busy,
        subscribed(mesh.served, subscriber_id="idle") as idle,
    ):
        await tripped(mesh, busy)
        busy.report(waiting=3)
        permit = await busy.permit()
        half_open = await busy.until_circuit(HALF_OPEN)
        busy.report(waiting=3, permits=[pb.PermitOutcome(permit_id=permit.permit_id, use=pb.PERMIT_USE_SUCCEEDED)])
        closed = await busy.until_circuit(CLOSED)
        await idle.until_circuit(CLOSED)
        changes = await mesh.circuit_changes()

    assert permit.instance_id == "a"
    assert permit.generation == half_open.generation == 2
    assert closed.generation == 3
    assert not busy.permits
    assert not idle.permits
    assert changes == [
        (CircuitState.CLOSED, CircuitState.OPEN),
        (CircuitState.OPEN, CircuitState.HALF_OPEN),
        (CircuitState.HALF_OPEN, CircuitState.CLOSED),
    ]


async def test_a_failed_trial_call_opens_the_circuit_again_with_its_own_cause(tmp_path: Path) -> None:
    async with guarded(tmp_path, BRIEF) as mesh, subscribed(mesh.served) as feed:
        await tripped(mesh, feed)
        feed.report(waiting=1)
        permit = await feed.permit()
        failure = pb.CallFailure(code=13, message="still broken", traceparent="00-33-44-01")
        outcome = pb.PermitOutcome(permit_id=permit.permit_id, use=pb.PERMIT_USE_FAILED, failure=failure)
        feed.report(waiting=1, permits=[outcome])
        again = await feed.until(lambda endpoints: endpoints["a"].circuit.generation >= 3)

    circuit = again.endpoints[0].circuit
    assert circuit.cause == "1 of 1 trial calls failed, last INTERNAL: still broken"
    assert circuit.cause_traceparent == "00-33-44-01"


async def test_nobody_is_asked_to_try_an_instance_for_which_there_are_no_calls(tmp_path: Path) -> None:
    rule = CircuitRule(open=0.05, max_open=0.05)
    async with guarded(tmp_path, rule) as mesh, subscribed(mesh.served, subscriber_id="idle") as idle:
        async with subscribed(mesh.served) as feed:
            await tripped(mesh, feed)
        await idle.until_circuit(HALF_OPEN)
        await idle.taken(idle.report())
        none = list(idle.permits)
        idle.report(waiting=1)
        permit = await idle.permit()

    assert none == []
    assert permit.after_sequence == 2


async def test_a_permit_that_is_given_back_goes_to_somebody_else(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, BRIEF) as mesh,
        subscribed(mesh.served) as first,
        subscribed(mesh.served, subscriber_id="second") as second,
    ):
        await tripped(mesh, first)
        first.report(waiting=5)
        permit = await first.permit()
        second.report(waiting=1)
        first.report(waiting=5, permits=[pb.PermitOutcome(permit_id=permit.permit_id, use=pb.PERMIT_USE_RETURNED)])
        other = await second.permit()

    assert other.permit_id != permit.permit_id
    assert other.generation == permit.generation


async def test_the_permit_of_a_caller_that_is_gone_goes_to_another_one_before_its_lease_is_over(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, BRIEF) as mesh,
        subscribed(mesh.served, subscriber_id="second") as second,
    ):
        async with subscribed(mesh.served) as first:
            await tripped(mesh, first)
            first.report(waiting=5)
            permit = await first.permit()
            started = pb.PermitOutcome(permit_id=permit.permit_id, use=pb.PERMIT_USE_STARTED, remaining_millis=60_000)
            await first.taken(first.report(permits=[started]))
        second.report(waiting=1)
        other = await second.permit()
        (known,) = mesh.served.balancer.circuits
        lost = known.circuit.trials.lost

    assert other.generation == permit.generation
    assert lost == 1


async def test_an_instance_that_was_out_for_its_health_comes_back_by_a_trial_call(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as mesh, subscribed(mesh.served) as feed:
        await mesh.health.not_ready()
        await feed.until_health(a=snapshot_pb2.HEALTH_NOT_SERVING)
        await mesh.health.ready()
        circuit = await feed.until_circuit(HALF_OPEN)
        feed.report(waiting=1)
        permit = await feed.permit()
        feed.report(permits=[pb.PermitOutcome(permit_id=permit.permit_id, use=pb.PERMIT_USE_SUCCEEDED)])
        await feed.until_circuit(CLOSED)
        kinds = [type(one) for one in await mesh.changes()]

    assert circuit.cause == "serves again, was not serving"
    assert kinds == [HealthChange, HealthChange, HealthChange, CircuitChange, CircuitChange]


async def test_an_instance_that_is_asked_a_moment_before_it_is_ready_for_the_first_time_needs_no_trial_call(
    tmp_path: Path,
) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (health, address),
    ):
        await health.not_ready()
        await register(stub, "a", address)
        async with balancer_of(registry.address) as served, subscribed(served) as feed:
            await feed.until_health(a=snapshot_pb2.HEALTH_NOT_SERVING)
            await health.ready()
            state = await feed.until_health(a=snapshot_pb2.HEALTH_SERVING)

    assert state.endpoints[0].circuit.state == CLOSED


async def test_an_instance_that_does_not_answer_its_health_check_gets_no_trial_call(tmp_path: Path) -> None:
    async with guarded(tmp_path, BRIEF) as mesh, subscribed(mesh.served) as feed:
        feed.report(waiting=1)
        await mesh.health.not_ready()
        await feed.until_health(a=snapshot_pb2.HEALTH_NOT_SERVING)
        feed.report(mesh.failures(5), waiting=1)
        await feed.until_circuit(OPEN)
        for _ in range(3):
            await feed.taken(feed.report(waiting=1))
        held = list(feed.permits)
        await mesh.health.ready()
        await feed.permit()

    assert held == []


@pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
async def test_a_balancer_takes_over_what_its_subscribers_know_of_circuits(tmp_path: Path, state: Any) -> None:
    known = snapshot_pb2.Circuit(state=state, generation=7, open_for_millis=60_000, cause="it was bad")
    async with guarded(tmp_path, LONG) as mesh:
        circuit = pb.KnownCircuit(plugin_id=PLUGIN, instance_id="a", incarnation=mesh.incarnation, circuit=known)
        async with subscribed(mesh.served, circuits=[circuit]) as feed:
            adopted = await feed.until_circuit(OPEN)

    assert adopted.generation == (7 if state == OPEN else 8)
    assert adopted.cause == "it was bad"


async def test_a_generation_that_no_circuit_can_have_is_not_taken_over(tmp_path: Path) -> None:
    known = snapshot_pb2.Circuit(state=OPEN, generation=2**64 - 1, open_for_millis=60_000)
    async with guarded(tmp_path, LONG) as mesh:
        circuit = pb.KnownCircuit(plugin_id=PLUGIN, instance_id="a", incarnation=mesh.incarnation, circuit=known)
        async with subscribed(mesh.served, circuits=[circuit]) as feed:
            kept = await feed.until_circuit(CLOSED)
            opened = await tripped(mesh, feed)

    assert (kept.generation, opened.generation) == (0, 1)


async def test_an_instance_that_is_nearly_full_is_told_of_once_and_once_when_it_is_not(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG, max_in_flight=10) as mesh, subscribed(mesh.served) as feed:
        for in_flight in (5, 9, 10, 9, 8, 9, 3):
            await feed.taken(feed.report(mesh.counts(started=10, in_flight=in_flight)))
        loads = [one for one in await mesh.changes() if isinstance(one, LoadChange)]

    assert loads == [
        LoadChange(True, 9, 10),
        LoadChange(False, 8, 10),
        LoadChange(True, 9, 10),
        LoadChange(False, 3, 10),
    ]


async def test_callers_hear_what_others_do_if_they_choose_by_it(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, LONG) as mesh,
        subscribed(mesh.served) as feed,
        subscribed(mesh.served, subscriber_id="other") as other,
    ):
        mesh.served.balancer.ruled(PLUGIN, PluginPolicy(pick=Policy.LEAST_CONNECTIONS))
        feed.report(mesh.counts(started=3, in_flight=3))
        other.report(mesh.counts(started=4, in_flight=4))
        while feed.loads.get("a", pb.LoadHint()).in_flight != 7:
            await feed.hear()
        hint = feed.loads["a"]

    assert hint.in_flight_of_subscriber == 3
    assert hint.incarnation == mesh.incarnation
