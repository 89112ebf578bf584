"""When a host that ended is started again, and when no more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RestartPolicy(Enum):
    """Which ends of a process are followed by a start."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRule:
    """
    Times are seconds.

    The `crashes`-th crash within `within` is the last one: a person has to look at it. A process that was healthy for
    `forgiven_after` has no past. The pause before a start is drawn between zero and a bound that doubles with each
    crash, from `first_pause` to `longest_pause`. A call that ends `poison_after` processes is not run again (0: it is).
    """

    policy: RestartPolicy = RestartPolicy.ALWAYS
    crashes: int = 5
    within: float = 600.0
    forgiven_after: float = 300.0
    poison_after: int = 3
    first_pause: float = 0.2
    longest_pause: float = 10.0

    def again(self, exit_code: int | None) -> bool:
        """Whether a process that ended so, without being asked to, is started again."""
        match self.policy:
            case RestartPolicy.ALWAYS:
                return True
            case RestartPolicy.ON_FAILURE:
                return exit_code != 0
            case RestartPolicy.NEVER:
                return False

    def recent(self, crashes: tuple[float, ...], ready_at: float, now: float) -> tuple[float, ...]:
        """Those of `crashes` that still count at `now`, for a process that has been ready since `ready_at` (or 0)."""
        if ready_at and now - ready_at >= self.forgiven_after:
            return ()
        return tuple(at for at in crashes if now - at < self.within)

    def pause(self, crashes: int, jitter: float) -> float:
        """The pause after so many recent crashes; `jitter` in [0, 1)."""
        doublings = min(max(crashes, 1) - 1, 30)
        return jitter * min(self.longest_pause, self.first_pause * float(2**doublings))
