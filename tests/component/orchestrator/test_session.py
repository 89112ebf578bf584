import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.orchestrator.dispatch.session import connection, link as module
from forgemesh.orchestrator.dispatch.session.codec import MAX_INLINE
from forgemesh.orchestrator.dispatch.session.link import MAX_FRAME
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.plugins import Link, ScriptedPlugin, linked, output, serving_plugin


@pytest.fixture
async def plugin() -> ScriptedPlugin:
    return ScriptedPlugin()


@pytest.fixture
async def address(plugin: ScriptedPlugin) -> AsyncIterator[str]:
    async with serving_plugin(plugin) as at:
        yield at


@pytest.fixture
async def link(address: str) -> AsyncIterator[Link]:
    async with linked(address) as opened:
        yield opened


async def ready(link: Link) -> None:
    await link.until(lambda: link.link.usable and link.link.has_room and link.changes > 0)


async def test_the_caller_introduces_itself_and_spends_the_credits_it_is_given(
    plugin: ScriptedPlugin, link: Link
) -> None:
    plugin.credits = 2
    session = await plugin.session()
    await ready(link)
    for number in (1, 2, 3):
        link.invoke(number)
    await plugin.until(lambda: len(session.calls) == 2)

    assert (session.hello.protocol_min, session.hello.protocol_max) == (1, 1)
    assert (session.hello.caller_id, session.hello.incarnation) == ("caller", 7)
    assert not link.link.has_room
    session.say(results=[output(1)])
    assert (await link.answer(1)).output == Payload(b"1")
    assert len(session.calls) == 2
    session.say(credits=1)
    await plugin.until(lambda: len(session.calls) == 3)
    assert link.link.in_flight == 2


async def test_an_invocation_arrives_with_everything_that_belongs_to_it(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()

    link.invoke(
        operation="resize",
        input=Payload(b"\xff\x00", "image/png", {"k": "v"}),
        step_path="g/b/x",
        attempt=3,
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        remaining=1.5,
    )
    await plugin.until(lambda: bool(session.calls))

    (call,) = session.calls
    assert (call.operation, call.step_path, call.attempt, call.idempotency_key) == ("resize", "g/b/x", 3, "e/g/b/x")
    assert (call.input.media_type, call.input.data, dict(call.input.metadata)) == ("image/png", b"\xff\x00", {"k": "v"})
    assert (call.remaining_millis, call.incarnation, call.namespace) == (1500, 7, "default")
    assert call.traceparent.endswith("-01")


async def test_what_waits_together_leaves_together(plugin: ScriptedPlugin, link: Link) -> None:
    plugin.credits = 100
    session = await plugin.session()
    await ready(link)

    for number in range(50):
        link.invoke(number)
    await plugin.until(lambda: len(session.calls) == 50)

    assert [len(frame.invocations) for frame in session.frames] == [50]
    ids = [call.call_id for call in session.calls]
    assert ids == sorted(set(ids))


async def test_a_frame_has_bounds_in_bytes(plugin: ScriptedPlugin, link: Link) -> None:
    plugin.credits = 100
    session = await plugin.session()
    await ready(link)

    for number in range(10):
        link.invoke(number, input=Payload(b"x" * MAX_INLINE))
    await plugin.until(lambda: len(session.calls) == 10)

    assert max(frame.ByteSize() for frame in session.frames) < MAX_FRAME + MAX_INLINE + 4096
    assert len(session.frames) == 3


async def test_results_failures_and_nothing_are_told_apart(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    for number in (1, 2, 3):
        link.invoke(number)
    await plugin.until(lambda: len(session.calls) == 3)
    failure = failure_pb2.Failure(code=3, reason="BAD", message="no", retryable=False, retry_after_millis=2**62)

    session.say(
        results=[
            output(1, b"[]"),
            invocation_pb2.InvocationResult(call_id=2, attempt=1, failure=failure),
            invocation_pb2.InvocationResult(call_id=3, attempt=1),
        ],
        accepted=[1],
        progress=[session_pb2.Progress(call_id=1, fraction=0.5)],
    )

    assert (await link.answer(1)).output == Payload(b"[]")
    assert await link.failure(2) == ("BAD", False, True)
    assert (await link.failure(3))[0] == "OUTPUT_INVALID"
    assert link.link.in_flight == 0


async def test_whoever_waits_for_room_is_told_when_there_is_some(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    link.invoke()
    await plugin.until(lambda: bool(session.calls))
    before = link.changes

    session.say(results=[output(1)])
    await link.answer()

    await link.until(lambda: link.changes > before)


async def test_a_cancellation_reaches_the_host_and_its_answer_comes_back(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    name = link.invoke()
    await plugin.until(lambda: bool(session.calls))

    link.link.cancel(name)
    await plugin.until(lambda: any(frame.cancels for frame in session.frames))

    assert [cancel.call_id for frame in session.frames for cancel in frame.cancels] == [name]
    assert link.link.in_flight == 1
    session.say(results=[output(name)])
    assert (await link.answer()).output == Payload(b"1")
    link.link.cancel(name)


async def test_a_call_that_has_not_left_is_taken_back_on_the_spot(plugin: ScriptedPlugin, link: Link) -> None:
    plugin.credits = 0
    await plugin.session()

    link.link.cancel(link.invoke())

    assert await link.failure() == ("HOST_LOST", True, False)
    assert link.link.in_flight == 0


async def test_a_lost_stream_tells_what_the_host_had_and_what_it_had_not(plugin: ScriptedPlugin, link: Link) -> None:
    plugin.credits = 2
    session = await plugin.session()
    for number in (1, 2, 3):
        link.invoke(number)
    await plugin.until(lambda: len(session.calls) == 2)
    session.say(accepted=[1], results=[], credits=0)
    session.end()

    assert await link.failure(1) == ("HOST_LOST", True, True)
    assert await link.failure(2) == ("HOST_LOST", True, False)
    assert await link.failure(3) == ("HOST_LOST", True, False)
    assert [link.answers[number].sent for number in (1, 2, 3)] == [True, True, False]


async def test_a_lost_session_takes_the_link_out_until_it_stands_again(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    await ready(link)
    states: list[bool] = []
    link.link._on_change = lambda: states.append(link.link.usable)

    session.end()
    again = await plugin.session(2)
    link.invoke()
    await plugin.until(lambda: bool(again.calls))

    assert states[:2] == [False, True]


async def test_a_dead_host_is_noticed_at_once_and_found_again_at_its_address(plugin: ScriptedPlugin) -> None:
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving_plugin(plugin))
        async with linked(address) as link:
            session = await plugin.session()
            link.invoke()
            await plugin.until(lambda: bool(session.calls))

            await stack.aclose()

            assert (await link.failure())[0] == "HOST_LOST"
            assert not link.link.usable
            async with serving_plugin(plugin, address):
                await plugin.session(2)
                await link.until(lambda: link.link.usable)


async def test_a_host_that_drains_gets_no_more_and_finishes_what_it_has(plugin: ScriptedPlugin, link: Link) -> None:
    plugin.credits = 1
    session = await plugin.session()
    link.invoke(1)
    link.invoke(2)
    await plugin.until(lambda: len(session.calls) == 1)

    session.say(drain=session_pb2.Drain(reason="shutdown"))

    assert await link.failure(2) == ("HOST_LOST", True, False)
    assert not link.link.usable
    session.say(results=[output(1)])
    assert (await link.answer(1)).output == Payload(b"1")
    assert len(session.calls) == 1


async def test_a_host_that_does_not_greet_is_given_up(
    plugin: ScriptedPlugin, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELLO_DEADLINE", 0.05)
    plugin.greets = False
    async with linked(address) as link:
        link.invoke()

        assert await link.failure() == ("HOST_LOST", True, False)
        plugin.greets = True
        await plugin.session()
        await link.until(lambda: link.link.usable)


async def test_a_link_ends_when_it_is_told_to_even_if_its_session_breaks_in_that_moment() -> None:
    for turns in range(30):
        plugin = ScriptedPlugin()
        async with AsyncExitStack() as stack:
            address = await stack.enter_async_context(serving_plugin(plugin))
            running = [asyncio.create_task(Link(address).link.run()) for _ in range(4)]
            await plugin.session(len(running))
            await stack.aclose()
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in running:
                task.cancel()

            _, left = await asyncio.wait(running, timeout=PATIENCE)

            assert not left, turns


async def test_the_end_of_a_link_is_heard_and_not_waited_out(
    plugin: ScriptedPlugin, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GRACE", 10 * PATIENCE)
    running = asyncio.create_task(Link(address).link.run())
    await plugin.session()
    running.cancel()

    _, left = await asyncio.wait([running], timeout=PATIENCE)

    assert not left


async def test_a_link_that_is_closed_leaves_no_call_unanswered(plugin: ScriptedPlugin, address: str) -> None:
    async with linked(address) as link:
        session = await plugin.session()
        link.invoke(1)
        link.invoke(2, input=Payload(b"x" * (MAX_INLINE + 1)))
        await plugin.until(lambda: bool(session.calls) and bool(plugin.alone))

    assert (await link.failure(1))[0] == "HOST_LOST"
    assert (await link.failure(2))[0] == "HOST_LOST"
    assert link.link.in_flight == 0
    assert not link.link.usable
    async with asyncio.timeout(PATIENCE):
        await session.over.wait()
