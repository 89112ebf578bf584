from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import grpc

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, policy_pb2, report_pb2, snapshot_pb2
from forgemesh.api.registry.v1 import event_pb2, registry_service_pb2 as registry_pb
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.routing import AllFull, BalancerWarming, CircuitOpen, NoneHealthy, NotRegistered
from forgemesh.faults.service import InvalidRequest
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState
from forgemesh.routing.policy import OperationPolicy, PluginPolicy, Policy
from tests.component.balancer.meshes import (
    DEADLINE,
    PLUGIN,
    balancer_of,
    registry_at,
    registry_stub,
    subscribed,
)
from tests.component.balancer.picking import (
    BRIEF,
    CANCELLED,
    DEADLINE_EXCEEDED,
    LONG,
    UNAVAILABLE,
    circuit,
    fail,
    half_open,
    in_flight,
    mesh,
    picked,
    refusal,
    settled,
)


async def test_picks_go_in_turn_and_say_where_to_call(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", "b", "c") as (balancer, _):
        picks = [await picked(balancer) for _ in range(9)]

    assert Counter(pick.endpoint.instance_id for pick in picks) == {"a": 3, "b": 3, "c": 3}
    assert len({pick.pick_id for pick in picks}) == 9
    assert picks[0].endpoint.address == "127.0.0.1:7001"
    assert picks[0].policy == policy_pb2.POLICY_ROUND_ROBIN
    assert not picks[0].permit_id
    assert not picks[0].judgements


async def test_a_pick_is_a_call_under_way_at_once_and_until_it_is_settled(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        picks = [await picked(balancer) for _ in range(3)]
        under_way = in_flight(balancer)
        for pick in picks:
            await settled(balancer, pick)
        left = in_flight(balancer)

    assert (under_way, left) == (3, 0)


async def test_many_picks_at_once_are_spread_by_what_each_sees_of_the_others(tmp_path: Path) -> None:
    policy = PluginPolicy(pick=Policy.LEAST_CONNECTIONS)
    async with mesh(tmp_path, "a", "b", policy=policy) as (balancer, _):
        picks = await asyncio.gather(*(picked(balancer) for _ in range(50)))

    counts = Counter(pick.endpoint.instance_id for pick in picks)
    assert abs(counts["a"] - counts["b"]) <= 1


async def test_a_pick_is_settled_once(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        pick = await picked(balancer)
        applied = [await settled(balancer, pick, UNAVAILABLE) for _ in range(2)]
        unknown = await settled(balancer, pb.PickResponse(pick_id="never"), UNAVAILABLE)
        failed = circuit(balancer).failures_in_a_row

    assert applied == [True, False]
    assert unknown is False
    assert failed == 1


async def test_what_is_settled_moves_the_circuit_like_a_report(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", policy=PluginPolicy(circuit=LONG)) as (balancer, _):
        await fail(balancer, 4)
        before = circuit(balancer).state
        await fail(balancer, 1)
        after = circuit(balancer)
        fault = await refusal(picked(balancer))

    assert before is CircuitState.CLOSED
    assert after.state is CircuitState.OPEN
    assert after.cause == "5 failures in a row, last UNAVAILABLE: gone"
    assert isinstance(fault, CircuitOpen)
    assert fault.retry_after is not None
    assert 50 < fault.retry_after <= 66


async def test_what_says_nothing_about_the_instance_moves_nothing(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        for code, request in (
            (CANCELLED, {}),
            (UNAVAILABLE, {"failure": report_pb2.CallFailure(reason="INSTANCE_DRAINING")}),
            (DEADLINE_EXCEEDED, {"latency_micros": 10_000, "timeout_micros": 10_000}),
        ):
            await settled(balancer, await picked(balancer), code, **request)
        seen = circuit(balancer)
        assert in_flight(balancer) == 0

    assert seen.failures_in_a_row == 0
    assert seen.window.calls == 0


async def test_a_call_is_slow_by_the_rule_of_its_operation(tmp_path: Path) -> None:
    policy = PluginPolicy(operations={"render": OperationPolicy(slow_call=5.0)})
    async with mesh(tmp_path, "a", policy=policy) as (balancer, _):
        await settled(balancer, await picked(balancer, operation="render"), latency_micros=2_000_000)
        quick = circuit(balancer).window.slow
        await settled(balancer, await picked(balancer, operation="other"), latency_micros=2_000_000)
        slow = circuit(balancer).window.slow

    assert (quick, slow) == (0, 1)


async def test_a_pick_that_nobody_settles_ends_with_its_lease_and_says_nothing(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        lasting = await picked(balancer)
        pick = await picked(balancer, lease_millis=50)
        async with asyncio.timeout(DEADLINE), subscribed(balancer) as feed:
            while in_flight(balancer) > 1:
                await feed.hear()
        late = await settled(balancer, pick, UNAVAILABLE)
        seen = circuit(balancer).window.calls
        assert await settled(balancer, lasting)

    assert late is False
    assert seen == 0


async def test_a_thousand_picks_at_once_on_a_half_open_circuit_get_exactly_its_permits(tmp_path: Path) -> None:
    rule = CircuitRule(open=0.02, max_open=0.02, permits=3, permit_lease=600.0)
    async with mesh(tmp_path, "a", policy=PluginPolicy(circuit=rule)) as (balancer, _):
        await half_open(balancer)
        answers = await asyncio.gather(*(picked(balancer, trial=True) for _ in range(1000)), return_exceptions=True)
        picks = [one for one in answers if isinstance(one, pb.PickResponse)]
        refused = [from_rpc_error(one) for one in answers if isinstance(one, grpc.aio.AioRpcError)]
        unsafe = await refusal(picked(balancer))
        for pick in picks:
            await settled(balancer, pick)
        after = circuit(balancer).state

    assert len(picks) == 3
    assert len({pick.permit_id for pick in picks}) == 3
    assert all(pick.permit_id and pick.generation == 2 for pick in picks)
    assert len(refused) == 997
    assert all(isinstance(one, CircuitOpen) for one in refused)
    assert isinstance(unsafe, CircuitOpen)
    assert after is CircuitState.CLOSED


async def test_a_trial_that_fails_opens_the_circuit_again(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", policy=PluginPolicy(circuit=BRIEF)) as (balancer, _):
        await half_open(balancer)
        pick = await picked(balancer, trial=True)
        balancer.balancer.ruled(PLUGIN, PluginPolicy(circuit=LONG))
        await settled(balancer, pick, UNAVAILABLE)
        after = circuit(balancer)

    assert after.state is CircuitState.OPEN
    assert after.opened == 2


async def test_a_trial_that_says_nothing_gives_its_permit_to_the_next(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", policy=PluginPolicy(circuit=BRIEF)) as (balancer, _):
        await half_open(balancer)
        first = await picked(balancer, trial=True)
        nobody = await refusal(picked(balancer, trial=True))
        await settled(balancer, first, CANCELLED)
        second = await picked(balancer, trial=True)

    assert isinstance(nobody, CircuitOpen)
    assert second.permit_id not in ("", first.permit_id)


async def test_instances_that_were_tried_are_taken_only_if_there_is_no_other(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", "b") as (balancer, _):
        others = {(await picked(balancer, exclude=["a"])).endpoint.instance_id for _ in range(4)}
        any_of = {(await picked(balancer, exclude=["a", "b"])).endpoint.instance_id for _ in range(4)}

    assert others == {"b"}
    assert any_of == {"a", "b"}


async def test_equal_keys_go_to_the_same_instance(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", "b", "c") as (balancer, _):
        homes = {
            key: {(await picked(balancer, affinity=key)).endpoint.instance_id for _ in range(5)}
            for key in map(str, range(20))
        }

    assert all(len(home) == 1 for home in homes.values())
    assert len(set().union(*homes.values())) == 3


async def test_a_pick_of_what_nobody_serves_says_to_the_mesh_that_it_is_wanted(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        balancer_of(registry.address) as balancer,
    ):
        await balancer.warm()
        watch = stub.WatchEvents(registry_pb.WatchEventsRequest())
        async with asyncio.timeout(DEADLINE):
            await anext(aiter(watch))  # from here on
            await refusal(picked(balancer, plugin_id="only.looked.at", explain=True))
            await refusal(picked(balancer, plugin_id="unheard.of"))
            wanted = await anext(one.event async for one in watch if one.event.kind == event_pb2.EVENT_KIND_WANTED)

    assert wanted.plugin_id == "unheard.of"


async def test_why_there_is_no_instance_is_told_by_reason(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", max_in_flight=1) as (balancer, health):
        nobody = await refusal(picked(balancer, plugin_id="unheard.of"))
        version = await refusal(picked(balancer, version_range="^2"))
        await picked(balancer, version_range="^1")
        full = await refusal(picked(balancer))
        await health.not_ready()
        async with asyncio.timeout(DEADLINE), subscribed(balancer) as feed:
            await feed.until_health(a=snapshot_pb2.HEALTH_NOT_SERVING)
        sick = await refusal(picked(balancer))

    assert isinstance(nobody, NotRegistered)
    assert isinstance(version, NotRegistered)
    assert version.metadata["unwanted"] == "1.0.0"
    assert isinstance(full, AllFull)
    assert isinstance(sick, NoneHealthy)


async def test_a_circuit_that_was_just_forced_open_is_heeded_before_anybody_else_hears_of_it(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a", "b") as (balancer, _):
        request = pb.SetCircuitRequest(plugin_id=PLUGIN, instance_id="a", order=pb.CIRCUIT_ORDER_FORCE_OPEN)
        request.author.actor = "alice"
        await balancer.stub.SetCircuit(request)
        picks = {(await picked(balancer)).endpoint.instance_id for _ in range(4)}

    assert picks == {"b"}


async def test_how_every_instance_was_judged_is_told_on_demand(tmp_path: Path) -> None:
    policy = PluginPolicy(circuit=LONG)
    async with mesh(tmp_path, "a", "b", "c", policy=policy) as (balancer, _):
        await fail(balancer, 5, exclude=["b", "c"])
        await fail(balancer, 2, exclude=["a", "c"])
        lasting = await picked(balancer, exclude=["b"])
        pick = await picked(balancer, exclude=["c"], explain=True)

    judged = {one.instance_id: one for one in pick.judgements}
    assert list(judged) == ["a", "b", "c"]
    assert lasting.endpoint.instance_id == "c"
    assert judged["a"].exclusion == "circuit open"
    assert (judged["b"].exclusion, judged["b"].chosen, judged["b"].in_flight) == ("", True, 0)
    assert (judged["c"].exclusion, judged["c"].chosen, judged["c"].in_flight) == ("tried already", False, 1)


async def test_an_instance_that_is_gone_leaves_no_calls_behind(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        pick = await picked(balancer)
        (guarded,) = balancer.balancer.circuits
        balancer.balancer.gone(*guarded.instance_key)
        applied = await settled(balancer, pick, UNAVAILABLE)
        left = balancer.balancer.callers.in_flight(guarded.instance_key)

    assert applied
    assert left == 0


def block(seconds: float) -> None:
    """Nothing turns in this process meanwhile, the balancer included."""
    time.sleep(seconds)


async def test_a_balancer_that_stood_still_does_not_hold_that_against_who_settles_in_time(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        pick = await picked(balancer, lease_millis=1_000)
        block(2.0)

        assert await settled(balancer, pick)


async def test_a_pick_that_asks_for_what_cannot_be_is_refused_with_every_mistake(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        fault = await refusal(
            picked(
                balancer,
                plugin_id="",
                version_range="latest",
                operation="x" * 200,
                affinity="x" * 600,
                lease_millis=-1,
            )
        )
        huge = await refusal(picked(balancer, lease_millis=3_600_001))
        longest = await picked(balancer, lease_millis=3_600_000)

    assert isinstance(fault, InvalidRequest)
    assert [one.field for one in fault.violations] == [
        "plugin_id",
        "version_range",
        "operation",
        "affinity",
        "lease_millis",
    ]
    assert isinstance(huge, InvalidRequest)
    assert longest.pick_id


async def test_an_outcome_that_cannot_be_is_refused_and_its_pick_goes_on(tmp_path: Path) -> None:
    async with mesh(tmp_path, "a") as (balancer, _):
        pick = await picked(balancer)
        faults = [
            await refusal(settled(balancer, pick, latency_micros=-1)),
            await refusal(settled(balancer, pick, timeout_micros=-1)),
            await refusal(settled(balancer, pick, 17)),
            await refusal(settled(balancer, pick, -1)),
            await refusal(settled(balancer, pb.PickResponse())),
        ]
        applied = await settled(balancer, pick)

    assert all(isinstance(fault, InvalidRequest) for fault in faults)
    assert applied


async def test_nobody_is_picked_before_the_balancer_is_warm(tmp_path: Path) -> None:
    async with registry_at(tmp_path / "registry.db") as registry:
        address = registry.address
    async with balancer_of(address) as balancer:
        fault = await refusal(picked(balancer))

    assert isinstance(fault, BalancerWarming)
