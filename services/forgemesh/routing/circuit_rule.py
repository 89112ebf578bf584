"""When a circuit opens, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRule:
    """
    Times in seconds, rates from 0 to 1; a limit of 0 is off.

    A circuit opens after `consecutive_failures` without a success between, or when among the calls of the window, once
    they are `minimum_calls`, `failure_rate` or more failed or `slow_call_rate` or more took at least `slow_call`. The
    window is `window` long and holds at most `window_calls` of the newest calls (0: any number). A call that ran out of
    less time than `slow_call` is no failure. It stays open for `open`, and each time that it opens again `backoff`
    times longer, up to `max_open`, each time give or take a share of `jitter`; then `permits` trial calls at a time,
    each within `permit_lease`, decide. Exceptions that an operation did not declare are failures only where
    `count_exceptions` says so: what a caller sends may be the cause of them.
    """

    consecutive_failures: int = 5
    failure_rate: float = 0.5
    slow_call_rate: float = 0.0
    slow_call: float = 1.0
    minimum_calls: int = 10
    window: float = 30.0
    window_calls: int = 0
    open: float = 30.0
    backoff: float = 1.5
    max_open: float = 60.0
    jitter: float = 0.1
    permits: int = 1
    permit_lease: float = 10.0
    count_exceptions: bool = False

    @property
    def longest(self) -> float:
        """Seconds for which a circuit stays open at most."""
        return max(self.open, self.max_open) * (1 + self.jitter)
