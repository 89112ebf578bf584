"""How many retries there may be at a time, so that they do not bring down what is only slow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """Retries under way are at most `share` of all calls under way, and `least` are always allowed (Envoy)."""

    share: float = 0.2
    least: int = 3


def allows(budget: RetryBudget, calls: int, retries: int) -> bool:
    """Whether one more retry may begin while `calls` are under way, `retries` of them retries."""
    return retries + 1 <= max(budget.least, budget.share * calls)
