"""grpc.health.v1 asked of one instance: a Watch for news at once, a Check now and then for signs of life."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.balancer.adapters.one_by_one import OneByOne
from forgemesh.balancer.adapters.proof_of_identity import ProofOfIdentity
from forgemesh.balancer.domain.probe import Probe, Verdict
from forgemesh.chassis.channel import connect
from forgemesh.chassis.health import READINESS
from forgemesh.chassis.tasks import beside
from forgemesh.chassis.waking_clock import WakingClock
from forgemesh.routing.endpoint import Health

HASTE = (0.8, 0.9)
"""Checks start this much sooner than asked for, so that silence is noticed within interval + misses * deadline."""
REWATCH_PAUSE = 1.0
"""Seconds until a broken Watch is opened again; meanwhile the Check speaks."""

_SILENCE = "timed out"
"""In the words of grpc: the peer took the connection, or nobody refused it, and then nothing came."""

_Status = health_pb2.HealthCheckResponse
_VERDICTS = {
    _Status.SERVING: Verdict(Health.SERVING),
    _Status.NOT_SERVING: Verdict(Health.NOT_SERVING, "it says that it does not serve"),
    _Status.SERVICE_UNKNOWN: Verdict(Health.NOT_SERVING, f"its health service does not know {READINESS!r}"),
}
_SENSELESS = Verdict(Health.NOT_SERVING, "its health service gives no sensible answer")
_UNKNOWN_NAME = _VERDICTS[_Status.SERVICE_UNKNOWN]
_NO_HEALTH_SERVICE = Verdict(Health.NOT_SERVING, "it has no grpc.health.v1 service")
_TRUSTED = Verdict(Health.SERVING, "it has no grpc.health.v1 service, which is trusted here")


@dataclass(frozen=True, slots=True)
class CheckRule:
    """
    How often an instance is asked, how long it may take (seconds), after how many times of silence it is out, after how
    many answers it is in again, and whether one without grpc.health.v1 that answers so much counts as serving.
    """

    interval: float
    deadline: float
    misses: int
    passes: int = 1
    trusting: bool = False


class HealthCheck:
    """
    Checks the instance at `address` (host:port) while it runs and reports each new verdict.

    An answer counts at once. So does a refused or broken connection: the process is gone. A time-out counts when it
    repeats: a stopped process keeps its connections. One during which this process stood still does not count. While
    the Watch speaks, a Check that was on its way at the same time is a sign of life only: its answer may be the older
    one. That it serves counts only if `proof`, where there is one, does not say that somebody else answers. Checks that
    share `calling` begin their calls one by one.
    """

    def __init__(
        self,
        address: str,
        rule: CheckRule,
        report: Callable[[Verdict], None],
        clock: WakingClock,
        proof: ProofOfIdentity | None = None,
        calling: OneByOne | None = None,
    ) -> None:
        self._clock = clock
        self._proof = proof
        self._address = address
        self._rule = rule
        self._report = report
        self._probe = Probe(rule.misses, rule.passes)
        self._calling = calling or OneByOne()
        self._told = 0
        self._silent: tuple[grpc.StatusCode, ...] = ()
        self._check_now = asyncio.Event()
        self._curious: list[Callable[[bool], None]] = []

    async def run(self) -> None:
        """Until cancelled."""
        # no keepalive: the health port is any gRPC server, and the Check is the ping
        async with connect(self._address, keepalive=False) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            async with beside(self._watch(stub)):
                while True:
                    next_check = time.monotonic() + self._rule.interval * random.uniform(*HASTE)
                    self._check_now.clear()
                    curious, self._curious = self._curious, []
                    passed = await self._check(stub)
                    for then in curious:
                        then(passed)
                    await self._pause_until(next_check)

    def ask(self, then: Callable[[bool], None]) -> None:
        """Check now, and tell whether this very check passes."""
        self._curious.append(then)
        self._check_now.set()

    async def _pause_until(self, moment: float) -> None:
        try:
            async with asyncio.timeout(moment - time.monotonic()):
                await self._check_now.wait()
        except TimeoutError:
            pass

    async def _check(self, stub: Any) -> bool:
        """Whether it answered in time that it serves."""
        told, stalls = self._told, self._clock.stalls
        request = health_pb2.HealthCheckRequest(service=READINESS)
        await self._calling.turn()
        call = stub.Check(request, timeout=self._rule.deadline)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            probe = await self._proven(call, self._after_error(error))
            if probe.misses <= self._probe.misses or not self._clock.has_stood_since(stalls):
                self._conclude(probe)
            return False
        verdict = await self._proven_verdict(call, _VERDICTS.get(response.status, _SENSELESS))
        answered_by_watch = told != self._told
        self._conclude(self._probe.heard() if answered_by_watch else self._probe.answered(verdict))
        return verdict.health is Health.SERVING

    async def _watch(self, stub: Any) -> None:
        """A Watch that was heard and breaks makes the next Check come at once: it knows whether anybody is there."""
        request = health_pb2.HealthCheckRequest(service=READINESS)
        while True:
            await self._calling.turn()
            stream, heard = stub.Watch(request), False
            try:
                async for response in stream:
                    heard = True
                    verdict = _VERDICTS.get(response.status, _SENSELESS)
                    if verdict.health is Health.SERVING and self._proof is not None and not self._proof.is_known:
                        self._check_now.set()  # which asks who it is first
                        continue
                    proven = await self._proven_verdict(stream, verdict)
                    self._told += 1
                    self._conclude(self._probe.answered(proven))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    # no Watch shows from now on that the connection stood over a silence
                    self._silent = (grpc.StatusCode.DEADLINE_EXCEEDED,)
                    return
            self._doubt()
            if heard:
                self._check_now.set()
            await asyncio.sleep(REWATCH_PAUSE * random.uniform(0.5, 1.0))

    async def _proven_verdict(self, call: Any, verdict: Verdict) -> Verdict:
        """The verdict; that somebody else answers, if it would be that the instance serves."""
        if verdict.health is not Health.SERVING or self._proof is None:
            return verdict
        against = await self._proof.against() or await self._proof.against_answer(call)
        return Verdict(Health.NOT_SERVING, against) if against else verdict

    async def _proven(self, call: Any, probe: Probe) -> Probe:
        verdict = probe.verdict
        return probe if verdict is None else replace(probe, verdict=await self._proven_verdict(call, verdict))

    def _doubt(self) -> None:
        """The connection broke: another process may be there now."""
        if self._proof is not None:
            self._proof.doubt()

    def _after_error(self, error: grpc.aio.AioRpcError) -> Probe:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, *self._silent):
            self._doubt()
        match error.code():
            case grpc.StatusCode.UNAVAILABLE if _SILENCE in (error.details() or ""):
                return self._probe.missed(f"no answer to a new connection, {self._rule.misses} times")
            case grpc.StatusCode.UNAVAILABLE:
                return self._probe.refused(f"no connection to {self._address}: {error.details()}")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return self._probe.missed(f"no answer within {self._rule.deadline:g} s, {self._rule.misses} times")
            case grpc.StatusCode.NOT_FOUND:
                return self._probe.answered(_UNKNOWN_NAME)
            case grpc.StatusCode.UNIMPLEMENTED:
                return self._probe.answered(_TRUSTED if self._rule.trusting else _NO_HEALTH_SERVICE)
            case code:
                return self._probe.missed(f"its health service fails with {code.name}: {error.details()}")

    def _conclude(self, probe: Probe) -> None:
        before, self._probe = self._probe, probe
        if probe.verdict is not None and probe.verdict != before.verdict:
            self._report(probe.verdict)
