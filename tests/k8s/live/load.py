"""Callers with patience: executions started at a steady rate, each repeated by its request id until it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from forgemesh.client import Client
from forgemesh.faults import Code, Fault

DEADLINE = 60.0
_PASSES = frozenset((Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED))
_PAUSE = 0.1


@dataclass
class Load:
    """What became of each execution."""

    client: Client
    workflow: str
    rate: float
    succeeded: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Start until cancelled."""
        number, began = 0, time.monotonic()
        while True:
            call = asyncio.create_task(self._one(number))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            number += 1
            await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))

    async def until(self, more: int) -> None:
        """Return after so many more have succeeded."""
        wanted = len(self.succeeded) + more
        async with asyncio.timeout(120):
            while len(self.succeeded) < wanted:
                await asyncio.sleep(0.05)

    async def settle(self) -> None:
        """Wait for those that are under way."""
        while self._calls:
            await asyncio.wait(set(self._calls))

    async def _one(self, number: int) -> None:
        request_id, began = f"load-{secrets.token_hex(6)}-{number}", time.monotonic()
        while True:
            try:
                handle = await self.client.start(self.workflow, {"value": number}, request_id=request_id)
                await handle.result(timeout=DEADLINE)
            except Fault as fault:
                if fault.code in _PASSES and time.monotonic() - began < DEADLINE:
                    await asyncio.sleep(_PAUSE)
                    continue
                self.failed.append(f"{request_id}: {fault}")
            except Exception as error:  # noqa: BLE001 - it is what the test is about
                self.failed.append(f"{request_id}: {error!r}")
            else:
                self.succeeded.append(handle.id)
                self.slowest = max(self.slowest, time.monotonic() - began)
            return


@contextlib.asynccontextmanager
async def load(address: str, workflow: str, rate: float) -> AsyncIterator[Load]:
    """Callers until the block ends, and then until their last execution has ended."""
    async with Client.connect(address) as client:
        found = Load(client, workflow, rate)
        running = asyncio.create_task(found.run())
        try:
            yield found
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await found.settle()
