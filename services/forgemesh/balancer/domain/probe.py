"""What a series of health checks says about one instance."""

from __future__ import annotations

from dataclasses import dataclass, replace

from forgemesh.routing.endpoint import Health


@dataclass(frozen=True, slots=True)
class Verdict:
    """The health of an instance, and why, for people."""

    health: Health
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """
    The checks of one instance at one incarnation; `verdict` is None until they say something.

    An answer counts at once, whatever it says, but that an instance serves which could not be reached counts after
    `passes` such answers in a row. Silence counts only when it repeats, `patience` times in a row, because a busy
    machine is late now and then. A refused or broken connection is no silence: nobody is there.
    """

    patience: int
    passes: int = 1
    misses: int = 0
    passed: int = 0
    verdict: Verdict | None = None

    def answered(self, verdict: Verdict) -> Probe:
        """The instance said how it is."""
        passed = self.passed + 1
        unreachable = self.verdict is not None and self.verdict.health is Health.UNREACHABLE
        if unreachable and verdict.health is Health.SERVING and passed < self.passes:
            return replace(self, misses=0, passed=passed)
        return replace(self, misses=0, passed=0, verdict=verdict)

    def heard(self) -> Probe:
        """The instance gave a sign of life that says nothing new."""
        return replace(self, misses=0)

    def missed(self, reason: str) -> Probe:
        """The instance did not answer in time."""
        misses = self.misses + 1
        if misses < self.patience:
            return replace(self, misses=misses, passed=0)
        return replace(self, misses=misses, passed=0, verdict=Verdict(Health.UNREACHABLE, reason))

    def refused(self, reason: str) -> Probe:
        """Nobody takes a connection."""
        return replace(self, misses=self.patience, passed=0, verdict=Verdict(Health.UNREACHABLE, reason))
