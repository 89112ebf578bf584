"""The conformance plugin in Python: what it does is said in tests/languages/README.md."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry import trace

from forgemesh.plugin import Code, Context, OperationError, Payload, operation, plugin


@dataclass
class Numbers:
    signed: int
    unsigned: int
    fraction: float
    text: str
    flag: bool


@dataclass
class Config:
    greeting: str = ""


@dataclass
class Seen:
    namespace: str
    execution_id: str
    step_path: str
    attempt: int
    idempotency_key: str
    traceparent: str
    has_deadline: bool
    greeting: str
    details: Any = field(default=None)


def note(path: str, word: str) -> None:
    with Path(path).open("a") as ledger:
        ledger.write(f"{word}\n")


@plugin("conformance.python", version="1.0.0", config=Config, max_concurrency=4)
class Conformance:
    """Does what the tests of languages ask for."""

    def __init__(self, config: Config) -> None:
        self.config = config

    async def configure(self, config: Config) -> None:
        if config.greeting == "rude":
            raise ValueError("nobody is greeted like that")
        self.config = config

    @operation(idempotent=True)
    async def echo(self, given: Payload) -> Payload:
        return given

    @operation(idempotent=True)
    async def numbers(self, signed: int, unsigned: int, fraction: float, text: str, flag: bool) -> Numbers:
        return Numbers(signed, unsigned, fraction, text, flag)

    @operation
    async def fail(self, code: int, reason: str, message: str, retryable: bool, metadata: dict[str, str]) -> int:
        raise OperationError(reason, message, code=Code(code), retryable=retryable, metadata=metadata)

    @operation
    async def broken(self) -> int:
        raise RuntimeError("as it was asked to")

    @operation
    async def wait(self, ledger: str) -> int:
        note(ledger, "begun")
        try:
            await asyncio.Event().wait()
        finally:
            note(ledger, "cancelled")
        return 0

    @operation
    async def slow(self, ledger: str) -> str:
        note(ledger, "begun")
        while not Path(f"{ledger}.go").exists():
            await asyncio.sleep(0.005)
        return "done"

    @operation(idempotent=True)
    async def exit(self, ctx: Context) -> int:
        if ctx.attempt == 1:
            os._exit(9)
        return ctx.attempt

    @operation(idempotent=True)
    async def context(self, ctx: Context) -> Seen:
        with trace.get_tracer("conformance").start_as_current_span("own"):
            pass
        return Seen(
            ctx.namespace,
            ctx.execution_id,
            ctx.step_path,
            ctx.attempt,
            ctx.idempotency_key,
            ctx.traceparent,
            ctx.deadline > 0,
            self.config.greeting,
        )

    @operation
    async def resume(self, ctx: Context) -> Any:
        if ctx.heartbeat_details is None:
            await ctx.progress(0.5, "half", details={"at": 2**53 + 1})
            raise OperationError("NOT_YET", "once more", code=Code.ABORTED, retryable=True)
        return ctx.heartbeat_details

    @operation
    async def fill(self, bytes: int) -> str:  # noqa: A002 - what callers call it
        return "x" * bytes
