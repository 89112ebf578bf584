"""What a balancer makes of the silence of an instance while it stood still itself."""

import asyncio

from forgemesh.balancer.adapters.health_check import CheckRule, HealthCheck
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.chassis.tasks import beside
from forgemesh.chassis.waking_clock import LATE, WakingClock
from forgemesh.routing.endpoint import Health
from tests.component.balancer.test_health_over_grpc import silent_process

RULE = CheckRule(interval=0.05, deadline=0.1, misses=1)


class Scene:
    """A balancer's check of one instance, and seconds that a test lets pass."""

    def __init__(self, address: str) -> None:
        self.now = 1_000.0
        self.clock = WakingClock(lambda: self.now)
        self.verdicts: list[Verdict] = []
        self.check = HealthCheck(address, RULE, self.verdicts.append, self.clock)

    async def checked(self) -> None:
        """One more check has had its answer, or none."""
        done = asyncio.get_running_loop().create_future()
        self.check.ask(done.set_result)
        assert not await done


async def test_a_check_that_was_not_answered_while_the_balancer_stood_still_does_not_count() -> None:
    async with silent_process() as address:
        scene = Scene(address)
        scene.now += LATE + 0.1
        async with beside(scene.check.run()):
            for _ in range(3):
                await scene.checked()
            assert scene.verdicts == []
            scene.clock.turn()
            await scene.checked()
            await scene.checked()

    assert [verdict.health for verdict in scene.verdicts] == [Health.UNREACHABLE]
