"""The health checks of all members, one task each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from types import TracebackType
from typing import Self

from forgemesh.balancer.adapters.followers import Followers
from forgemesh.balancer.adapters.health_check import CheckRule, HealthCheck
from forgemesh.balancer.adapters.one_by_one import OneByOne
from forgemesh.balancer.adapters.proof_of_identity import ProofOfIdentity
from forgemesh.balancer.domain.caller import InstanceKey
from forgemesh.balancer.domain.fleet import Member
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.balancer.ports import Report
from forgemesh.chassis.waking_clock import WakingClock
from forgemesh.routing.endpoint import Health

_log = logging.getLogger(__name__)

RETRY_PAUSE = 1.0


class HealthChecks:
    """Checks run inside the `async with` block; each ends with its incarnation."""

    def __init__(self, rule: CheckRule, clock: WakingClock) -> None:
        self._rule = rule
        self._clock = clock
        self._tasks = Followers("check")
        self._beginning = OneByOne()
        self._checks: dict[InstanceKey, HealthCheck] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    def follow(self, members: Collection[Member], report: Report) -> None:
        """From now on check exactly these, and report what changes."""
        self._tasks.follow(members, partial(self._check, report))

    def ask(self, instance_id: str, incarnation: int, then: Callable[[bool], None]) -> None:
        """See ports.HealthChecks."""
        check = self._checks.get((instance_id, incarnation))
        if check is None:
            then(False)
        else:
            check.ask(then)

    async def _check(self, report: Report, member: Member) -> None:
        """One member that breaks its check in a way that nobody foresaw is no reason to stop checking the others."""
        await self._beginning.turn()  # hundreds may come at once, and each opens a connection
        instance_key = member.instance_id, member.incarnation
        tell = partial(report, *instance_key)
        while True:
            proof = ProofOfIdentity(member, self._rule.deadline)
            check = self._checks[instance_key] = HealthCheck(
                member.health_address, self._rule, tell, self._clock, proof, self._beginning
            )
            try:
                await check.run()
            except asyncio.CancelledError:
                if self._checks.get(instance_key) is check:
                    del self._checks[instance_key]
                raise
            except Exception:  # noqa: BLE001 - the seam
                _log.exception("the health check of %s failed", member.instance_id)
                tell(Verdict(Health.UNREACHABLE, "its health cannot be checked, see the log of the balancer"))
            await asyncio.sleep(RETRY_PAUSE)
