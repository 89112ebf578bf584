"""A plugin whose operations do what a test tells them to."""

import asyncio
import contextvars
import sys
import threading
import time
from typing import Any

from opentelemetry import trace

from forgemesh.plugin import Code, Context, OperationError, Payload, operation, plugin

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="")


class Unspeakable(Exception):
    """Fails when somebody asks what it says."""

    def __str__(self) -> str:
        raise RuntimeError("not for you")


@plugin("test.kit", version="1.0.0", max_concurrency=2)
class Kit:
    """Operations for tests."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.unblock = threading.Event()
        self.process_run: list[str] = []
        self.running = 0
        self.most_running = 0
        self.counted = 0
        self.seen: list[str] = []
        self.tracer = trace.get_tracer("author")

    async def start(self) -> None:
        self.process_run.append("started")

    def stop(self) -> None:
        self.process_run.append("stopped")

    @operation(idempotent=True)
    async def echo(self, value: Any) -> Any:
        return value

    @operation(idempotent=True)
    async def nests(self, depth: int) -> Any:
        """A list in a list in a list ..."""
        value: Any = []
        for _ in range(depth - 1):
            value = [value]
        return value

    @operation(idempotent=True)
    async def counts(self) -> int:
        """How often it was called."""
        self.counted += 1
        return self.counted

    @operation
    async def whole(self, payload: Payload) -> Payload:
        return payload

    @operation
    async def hold(self, value: int = 0) -> int:
        """Returns when the gate is open."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        finally:
            self.running -= 1
        return value

    @operation
    async def stubborn(self) -> str:
        """Does not let itself be cancelled before the gate is open."""
        while not self.open.is_set():
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.seen.append("cancelled")
        return "done at last"

    @operation
    async def tells(self, ctx: Context) -> dict[str, Any]:
        return {
            "execution_id": ctx.execution_id,
            "step_path": ctx.step_path,
            "attempt": ctx.attempt,
            "idempotency_key": ctx.idempotency_key,
            "namespace": ctx.namespace,
            "deadline": ctx.deadline,
            "traceparent": ctx.traceparent,
        }

    @operation
    async def logs(self, text: str, ctx: Context) -> None:
        ctx.logger.warning(text)

    @operation
    async def progresses(self, ctx: Context) -> None:
        await ctx.progress(0.25, note="first")
        await ctx.progress(0.5, note="second")
        await self.open.wait()

    @operation
    async def continues(self, ctx: Context) -> Any:
        """Says how far it is, and gives back what an earlier attempt said."""
        await ctx.progress(0.5, note="half", details={"row": 2**60, "file": "a.csv"})
        await ctx.progress(0.6)
        await self.open.wait()
        return ctx.heartbeat_details

    @operation
    def continues_in_thread(self, ctx: Context) -> Any:
        ctx.report(0.5, details=[1, 2])
        self.unblock.wait()
        return ctx.heartbeat_details

    @operation
    async def gives_up(self, ctx: Context) -> None:
        await ctx.progress(0.5, details={"row": 7})
        raise OperationError("ENOUGH", "no further")

    @operation
    async def says_too_much(self, ctx: Context) -> None:
        await ctx.progress(0.5, details="x" * 70_000)

    @operation
    async def marks(self, mark: str) -> str:
        """What the call before has left in the context."""
        before = MARK.get()
        MARK.set(mark)
        return before

    @operation
    async def declares(self) -> None:
        raise OperationError(
            "FILE_NOT_FOUND",
            "no such file",
            retryable=True,
            metadata={"path": "a.csv"},
            code=Code.UNAVAILABLE,
            retry_after=1.5,
        )

    @operation
    async def raises(self, text: str) -> None:
        raise ValueError(text)

    @operation
    async def raises_what_utf8_does_not_know(self) -> None:
        span = trace.get_current_span()
        span.set_attribute("file\udcff", 2**70)
        span.add_event("read \udcff", {"of": "\udcff"}, timestamp=-1)
        raise ValueError("no file 'caf\udce9.csv'")

    @operation
    async def traces_much(self) -> str:
        """More than a span holds: attributes, events, and a text."""
        span = trace.get_current_span()
        span.set_attributes({f"number {number}": number for number in range(600)})
        span.add_event("much", {f"number {number}": "x" * 4000 for number in range(6000)})
        with self.tracer.start_as_current_span("below") as below:
            below.set_attribute("text", "x" * 6_000_000)
        return "done"

    @operation
    async def traces_nonsense(self) -> str:
        """What no span can hold, in every place that takes something from the author."""
        nonsense: Any = Unspeakable()
        span = trace.get_current_span()
        span.set_attribute("shown", nonsense)
        span.set_attributes(nonsense)
        span.add_event("of nothing", attributes=nonsense)
        span.add_event("at no time", timestamp=nonsense)
        span.add_event(nonsense, {"shown": nonsense})
        span.record_exception(nonsense)
        with self.tracer.start_as_current_span("caf\udce9"), self.tracer.start_as_current_span("below"):
            pass
        return "done"

    @operation
    async def raises_what_cannot_be_shown(self) -> None:
        raise Unspeakable

    @operation
    def raises_what_cannot_be_shown_in_thread(self) -> None:
        raise Unspeakable

    @operation
    async def declares_nonsense(self) -> None:
        raise OperationError("LATER", "not now", retryable=True, retry_after=float("inf"))

    @operation
    async def is_refused_memory(self) -> None:
        raise MemoryError

    @operation
    async def interrupts(self) -> None:
        raise KeyboardInterrupt

    @operation
    async def exits(self) -> None:
        sys.exit(7)

    @operation
    async def cancels_itself(self) -> None:
        raise asyncio.CancelledError

    @operation
    async def returns_nonsense(self) -> Any:
        return object()

    @operation(strict=True)
    async def declares_days(self, days: list[dict[str, float]]) -> dict[str, list[int]]:
        """Returns what it does not say."""
        return {"days": [len(days), "many"]}  # type: ignore[list-item]

    @operation
    async def returns_much(self, size: int) -> Payload:
        return Payload(bytes(size), "application/octet-stream")

    @operation(timeout=0.05)
    async def dawdles(self) -> None:
        await self.open.wait()

    @operation
    def blocks(self, ctx: Context) -> str:
        """A synchronous operation that looks whether it is still wanted."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            while not self.unblock.wait(0.005):
                ctx.raise_if_cancelled()
        finally:
            self.running -= 1
            self.seen.append("cancelled" if ctx.cancelled else "unblocked")
        return threading.current_thread().name

    @operation
    def deaf(self) -> str:
        """A synchronous operation that hears nothing."""
        self.unblock.wait()
        return "done at last"

    @operation
    def raises_in_thread(self) -> None:
        raise OperationError("NO", "no")

    @operation
    def spins(self, seconds: float) -> str:
        time.sleep(seconds)
        return threading.current_thread().name

    @operation
    async def traces(self) -> None:
        """Two spans of the author's, both ended before the gate is waited for."""
        with self.tracer.start_as_current_span("outer") as outer:
            outer.set_attribute("rows", 7)
            with self.tracer.start_as_current_span("inner"):
                pass
        trace.get_current_span().set_attribute("author.said", "hello")
        self.running += 1
        await self.open.wait()
