from __future__ import annotations

import contextlib
from pathlib import Path

from forgemesh.api.balancer.v1 import report_pb2 as pb
from forgemesh.balancer.application.events.events import Watched
from forgemesh.balancer.domain.events import EjectionChange
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.outlier import OutlierRule
from forgemesh.routing.policy import PluginPolicy
from tests.component.balancer.meshes import (
    PLUGIN,
    ServedBalancer,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)

NEVER = CircuitRule(consecutive_failures=0, failure_rate=0.0)
QUICK = OutlierRule(interval=0.1, base_ejection=0.3, max_ejection=0.3, minimum_calls=5, success_rate_factor=0.0)


async def ejections(served: ServedBalancer) -> list[tuple[str, EjectionChange]]:
    watch = served.balancer.events.watch(None, Watched(history_only=True))
    async with contextlib.aclosing(watch) as told:
        events = [one.entry.event async for one in told if one.entry is not None]
    return [(event.instance_id, event.change) for event in events if isinstance(event.change, EjectionChange)]


async def test_an_instance_that_fails_much_more_than_its_siblings_is_out_for_a_while(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (_, address),
    ):
        incarnations = {name: (await register(stub, name, address)).instance.incarnation for name in "abc"}
        async with balancer_of(registry.address) as served:
            served.balancer.ruled(PLUGIN, PluginPolicy(circuit=NEVER, outliers=QUICK))
            await served.warm()
            async with subscribed(served) as feed:
                counts = [
                    pb.CallCounts(
                        plugin_id=PLUGIN,
                        instance_id=name,
                        incarnation=incarnation,
                        started=10,
                        failed=10 if name == "b" else 0,
                        succeeded=0 if name == "b" else 10,
                    )
                    for name, incarnation in incarnations.items()
                ]
                feed.report(*counts)
                out = await feed.until(lambda endpoints: any(one.ejected for one in endpoints.values()))
                back = await feed.until(lambda endpoints: not any(one.ejected for one in endpoints.values()))
            told = await ejections(served)

    assert [one.instance_id for one in out.endpoints if one.ejected] == ["b"]
    assert back.revision.revision > out.revision.revision
    assert told == [
        ("b", EjectionChange(True, "10 of 10 calls failed, of its siblings' 0 of 20")),
        ("b", EjectionChange(False, "its time is over")),
    ]


async def test_without_a_rule_nobody_is_out_any_more(tmp_path: Path) -> None:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (_, address),
    ):
        registered = [(await register(stub, name, address)).instance for name in "abc"]
        async with balancer_of(registry.address) as served:
            rule = OutlierRule(interval=0.1, minimum_calls=5, success_rate_factor=0.0)
            served.balancer.ruled(PLUGIN, PluginPolicy(circuit=NEVER, outliers=rule))
            await served.warm()
            async with subscribed(served) as feed:
                feed.report(
                    *(
                        pb.CallCounts(
                            plugin_id=PLUGIN,
                            instance_id=one.instance_id,
                            incarnation=one.incarnation,
                            started=10,
                            failed=10 if one.instance_id == "a" else 0,
                            succeeded=0 if one.instance_id == "a" else 10,
                        )
                        for one in registered
                    )
                )
                await feed.until(lambda endpoints: endpoints["a"].ejected)
                served.balancer.ruled(PLUGIN, PluginPolicy())
                back = await feed.until(lambda endpoints: not endpoints["a"].ejected)

    assert back.policy.HasField("outliers") is False
