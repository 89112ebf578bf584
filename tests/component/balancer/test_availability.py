from collections.abc import Sequence

from forgemesh.balancer.application.members.availability import Availability
from forgemesh.balancer.domain.fleet import Fleet, MemberState
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.faults.service import ServiceUnreachable
from forgemesh.routing.endpoint import Health
from tests.unit.balancer.members import GONE_SILENT, SERVING, member

BUSY = Verdict(Health.NOT_SERVING, "it says so")


class Registry:
    """Hears what it is told, unless it is away."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str, int, bool]] = []
        self.away = False
        self.most = 0
        self.fleet = Fleet(epoch=3)
        self.availability = Availability(self._tell, lambda: self.fleet)

    async def _tell(self, epoch: int, standings: Sequence[MemberState]) -> None:
        if self.away:
            raise ServiceUnreachable("registry", "127.0.0.1:1", "away")
        self.most = max(self.most, len(standings))
        self.heard += [
            (epoch, one.member.instance_id, one.member.incarnation, one.verdict.health is Health.SERVING)
            for one in standings
        ]

    async def after(self, *verdicts: tuple[str, Verdict]) -> list[tuple[int, str, int, bool]]:
        """What it hears once these verdicts are known."""
        for instance_id, verdict in verdicts:
            incarnation = self.fleet.standings[instance_id].member.incarnation
            self.fleet = self.fleet.judged(instance_id, incarnation, verdict, now=2.0)
        self.heard.clear()
        await self.availability.run()
        return list(self.heard)


async def test_each_change_of_health_is_told_once() -> None:
    registry = Registry()
    registry.fleet = registry.fleet.listed([member("a"), member("b", 4)], now=1.0)

    assert await registry.after() == []
    assert await registry.after(("a", SERVING), ("b", GONE_SILENT)) == [(3, "a", 1, True), (3, "b", 4, False)]
    assert await registry.after() == []
    assert await registry.after(("b", BUSY)) == []
    assert await registry.after(("b", SERVING)) == [(3, "b", 4, True)]
    registry.fleet = registry.fleet.changed(member("b", 9), now=3.0)
    assert await registry.after(("b", SERVING)) == [(3, "b", 9, True)]


async def test_a_registry_that_was_away_or_has_forgotten_is_told_everything() -> None:
    registry = Registry()
    registry.fleet = registry.fleet.listed([member("a")], now=1.0)
    registry.away = True
    assert await registry.after(("a", SERVING)) == []

    registry.away = False
    assert await registry.after() == [(3, "a", 1, True)]
    registry.availability.forget()
    assert await registry.after() == [(3, "a", 1, True)]


async def test_news_of_very_many_instances_go_in_messages_that_the_registry_can_receive() -> None:
    registry = Registry()
    registry.fleet = registry.fleet.listed([member(f"i-{number}") for number in range(1001)], now=1.0)

    heard = await registry.after(*((f"i-{number}", GONE_SILENT) for number in range(1001)))

    assert len({instance_id for _, instance_id, _, _ in heard}) == len(heard) == 1001
    assert registry.most <= 200
    assert await registry.after() == []
