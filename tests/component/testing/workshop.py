"""A plugin that a test runs in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

from forgemesh.plugin import Code, Context, OperationError, operation, plugin


@dataclass
class BenchConfig:
    height: int


bench = plugin("test.bench", version="1.0.0", config=BenchConfig)


@bench.operation
async def height(config: BenchConfig) -> int:
    return config.height


@plugin("test.workshop", version="1.2.0", max_concurrency=1)
class Workshop:
    """Does what a test wants to see."""

    @operation
    async def add(self, left: int, right: int = 1) -> int:
        return left + right

    @operation
    def refuse(self) -> None:
        raise OperationError(
            "NO_WOOD", "there is no wood; order some", retryable=True, code=Code.UNAVAILABLE, retry_after=2.5
        )

    @operation
    async def break_(self) -> None:
        raise ZeroDivisionError("the saw")

    @operation
    async def told(self, ctx: Context) -> dict[str, Any]:
        return {
            "attempt": ctx.attempt,
            "key": ctx.idempotency_key,
            "execution": ctx.execution_id,
            "step": ctx.step_path,
            "left": ctx.deadline,
            "details": ctx.heartbeat_details,
        }

    @operation
    async def linger(self) -> None:
        await asyncio.Event().wait()

    @operation
    async def speak(self, ctx: Context) -> dict[str, str]:
        print("printed")
        print("complained", file=sys.stderr)
        ctx.logger.info("logged")
        logging.getLogger("elsewhere").warning("noted")
        return dict(os.environ)

    @operation
    async def die(self) -> None:
        print("last words", flush=True)
        os._exit(9)
