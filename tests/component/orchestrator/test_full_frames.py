"""Much at once on one session, between the orchestrator's link and the plugin host that authors use."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.telemetry import SpanSink
from forgemesh.orchestrator.dispatch.ports import Answer, Invocation
from forgemesh.orchestrator.dispatch.session.link import SessionLink
from forgemesh.orchestrator.values.payload import MAX_INPUT, Payload
from forgemesh.plugin import Context, OperationError, Payload as AuthorsPayload, define, operation, plugin
from forgemesh.plugin_host.host.plugin.loader import started
from forgemesh.plugin_host.host.server.hosting import hosting
from forgemesh.plugin_host.registration.identity import Identity
from tests.component.orchestrator.hosts import PATIENCE, endpoint
from tests.component.plugin_host.hosts import eventually, settings_of

CALLS = 40
MUCH = 150_000


def facts(size: int) -> dict[str, str]:
    """Metadata of about so many bytes, in words of a kibibyte."""
    return {f"fact {number}": "x" * 1000 for number in range(size // 1000)}


@plugin("test.heavy", version="1.0.0", max_concurrency=CALLS)
class Heavy:
    """Operations that say much, all at the same time."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.over = asyncio.Event()
        self.running = 0

    async def _wait(self) -> None:
        self.running += 1
        await self.open.wait()

    @operation
    async def fails(self, size: int) -> None:
        await self._wait()
        raise OperationError("FILE_NOT_FOUND", "no such file", metadata=facts(size))

    @operation
    async def describes(self, size: int) -> AuthorsPayload:
        await self._wait()
        return AuthorsPayload(b"1", metadata=facts(size))

    @operation
    async def returns(self, size: int) -> AuthorsPayload:
        await self._wait()
        return AuthorsPayload(bytes(size), "application/octet-stream")

    @operation
    async def reports(self, ctx: Context) -> str:
        """Says as much as it may about how far it is, and goes on."""
        self.running += 1
        await self.open.wait()
        await ctx.progress(0.5, details=AuthorsPayload(b"1", metadata=facts(60_000)))
        await self.over.wait()
        return "reported"

    @operation
    async def tells(self, ctx: Context) -> Any:
        """What an earlier attempt said, as far as it has come."""
        return len(ctx.heartbeat_details.metadata) if ctx.heartbeat_details else None

    @operation
    async def stays(self) -> str:
        await asyncio.Event().wait()
        return "never"


class Kept:
    """Who made a call, and what became of it."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.heard: list[tuple[float, str, Payload | None]] = []

    def answered(self, answer: Answer) -> None:
        self.answer = answer

    def progressed(self, fraction: float, note: str, details: Payload | None) -> None:
        self.heard.append((fraction, note, details))

    async def end(self) -> Answer:
        await eventually(lambda: self.answer is not None)
        assert self.answer is not None
        return self.answer

    async def reason(self) -> str:
        answer = await self.end()
        return answer.failure.reason if answer.failure is not None else ""


class Mesh:
    """One host of the heavy plugin, and a link to it."""

    def __init__(self, heavy: Heavy, link: SessionLink, breaches: list[str]) -> None:
        self.heavy = heavy
        self.link = link
        self.breaches = breaches

    def call(
        self, operation: str, *, details: Payload | None = None, whole: Payload | None = None, **given: Any
    ) -> Kept:
        kept = Kept()
        invocation = Invocation(
            operation=operation,
            input=whole or Payload(json.dumps(given).encode()),
            namespace="default",
            execution_id="e",
            step_path="s",
            attempt=1,
            traceparent="",
            remaining=PATIENCE,
            details=details,
        )
        self.link.invoke(invocation, kept)
        return kept


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    breaches: list[str] = []
    async with (
        started(define(Heavy)) as served,
        hosting(served, Identity("heavy-1"), SpanSink(Resource(), []), settings_of(queue_limit=CALLS)) as host,
    ):
        where = endpoint("heavy-1", address=host.server.address, incarnation=0)
        link = SessionLink(where, "o-1", lambda: None, plugin_id="test.heavy", on_breach=breaches.append)
        running = asyncio.create_task(link.run())
        await eventually(lambda: link.usable and link.has_room)
        heavy: Heavy = served.operations["fails"].method.__self__  # type: ignore[attr-defined]
        try:
            yield Mesh(heavy, link, breaches)
        finally:
            heavy.open.set()
            heavy.over.set()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def all_at_once(mesh: Mesh, calls: list[Kept]) -> None:
    """Let operations that all wait go on in the same moment."""
    await eventually(lambda: mesh.heavy.running == len(calls))
    mesh.heavy.open.set()


async def test_forty_large_failures_at_once_are_told_each_with_its_reason(mesh: Mesh) -> None:
    calls = [mesh.call("fails", size=MUCH) for _ in range(CALLS)]
    await all_at_once(mesh, calls)

    assert [await call.reason() for call in calls] == ["FILE_NOT_FOUND"] * CALLS
    assert mesh.breaches == []


async def test_a_failure_that_leaves_facts_out_says_how_many(mesh: Mesh) -> None:
    (call,) = calls = [mesh.call("fails", size=5_000_000)]
    await all_at_once(mesh, calls)

    failure = (await call.end()).failure
    assert failure is not None
    assert (failure.reason, failure.message) == ("FILE_NOT_FOUND", "no such file")
    assert "of 5000 facts" in failure.metadata["left_out"]


async def test_forty_outputs_with_much_metadata_at_once_arrive(mesh: Mesh) -> None:
    calls = [mesh.call("describes", size=MUCH) for _ in range(CALLS)]
    await all_at_once(mesh, calls)

    outputs = [(await call.end()).output for call in calls]
    assert [len(output.metadata) for output in outputs if output is not None] == [MUCH // 1000] * CALLS
    assert mesh.breaches == []


async def test_metadata_that_no_message_carries_fails_its_own_call_alone(mesh: Mesh) -> None:
    calls = [mesh.call("describes", size=size) for size in (5_000_000, 1000)]
    beside = mesh.call("stays")
    await all_at_once(mesh, calls)

    failure = (await calls[0].end()).failure
    assert failure is not None
    assert failure.reason == "PAYLOAD_TOO_LARGE"
    assert failure.metadata["limit"] == str(MAX_INPUT)
    assert "test.heavy" in failure.message or "describes" in failure.message
    assert await calls[1].reason() == ""
    assert beside.answer is None
    assert mesh.breaches == []


async def test_words_of_progress_do_not_crowd_out_the_largest_output(mesh: Mesh) -> None:
    calls = [*(mesh.call("reports") for _ in range(CALLS - 1)), mesh.call("returns", size=MAX_INPUT - 1000)]
    await all_at_once(mesh, calls)

    assert await calls[-1].reason() == ""
    await eventually(lambda: all(call.heard for call in calls[:-1]))
    mesh.heavy.over.set()
    assert [await call.reason() for call in calls] == [""] * CALLS
    assert mesh.breaches == []


async def test_what_an_earlier_attempt_said_does_not_fill_a_frame(mesh: Mesh) -> None:
    said = Payload(b"1", "text/plain", facts(3_600_000))

    calls = [mesh.call("tells", whole=Payload(b"{}", metadata=facts(250_000))) for _ in range(3)]
    calls.append(mesh.call("tells", details=said))

    outputs = [(await call.end()).output for call in calls]
    assert outputs == [Payload(b"null")] * 3 + [Payload(b"3600")]


async def test_a_call_gives_up_what_an_earlier_attempt_said_rather_than_fail(mesh: Mesh) -> None:
    said = Payload(b"1", "text/plain", facts(3_000_000))

    call = mesh.call("tells", whole=Payload(b"{}", metadata=facts(2_000_000)), details=said)

    assert (await call.end()).output == Payload(b"null")


async def test_a_call_that_no_message_carries_is_refused_by_name(mesh: Mesh) -> None:
    beside = mesh.call("stays")

    call = mesh.call("tells", whole=Payload(bytes(SESSION_LIMIT), "application/octet-stream"))

    answer = await call.end()
    assert answer.failure is not None
    assert answer.failure.reason == "PAYLOAD_TOO_LARGE"
    assert answer.failure.metadata["what"] == "a call of test.heavy/tells"
    assert not answer.failure.retryable
    assert not answer.accepted
    assert beside.answer is None
