"""Forgetting executions that ended long ago, and those beyond the number to be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from forgemesh.orchestrator.execution.ports.forgetting import ForgettingStore
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.values.shard import Shard

REMEMBERED = 30 * 86_400
"""Seconds for which it is known what a request to a schedule was answered."""
BATCH = 100
BREATH = 0.01
"""Seconds between batches, so that other writes come in between."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Ended executions are kept for `age` seconds (0: for ever), and at most `count` of them (0: any number)."""

    store: ForgettingStore
    shard: Shard
    clock: Callable[[], int]
    age: float
    count: int

    async def run(self) -> None:
        """Forget what is due now; idempotent."""
        now = self.clock()
        await self.store.drop_expired_results(now)
        await self.store.forget_answers(now - REMEMBERED * SECOND)
        before = now - int(self.age * SECOND) if self.age else 0
        while before or self.count:
            keys = await self.store.expired(before, self.count, BATCH)
            for key in keys:
                await self.store.delete_execution(key, self.shard)
            if len(keys) < BATCH:
                return
            await asyncio.sleep(BREATH)
