"""Calls that are lost with their host say how its process ended, as far as anybody tells that in time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from forgemesh.api.plugin.v1 import session_pb2
from forgemesh.api.registry.v1 import event_pb2
from forgemesh.orchestrator.dispatch.session import endings as module
from forgemesh.orchestrator.dispatch.session.codec import MAX_INLINE
from forgemesh.orchestrator.dispatch.session.endings import Endings, ending_of
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.plugins import Link, ScriptedPlugin, ScriptedSession, linked, serving_plugin

KILLED = "killed by signal 9"


class Told(Endings):
    """Told by the test, as by a registry that is there."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = True

    @property
    def waiting(self) -> int:
        return sum(len(waiting) for waiting in self._asked.values())


@pytest.fixture
def plugin() -> ScriptedPlugin:
    plugin = ScriptedPlugin()
    hello = session_pb2.ServerHello(protocol=1, tells_begun=True, end_is_told=True)
    plugin.greeting = session_pb2.SessionResponse(hello=hello, credits=10)
    return plugin


@pytest.fixture
def endings() -> Told:
    return Told()


@pytest.fixture
async def link(plugin: ScriptedPlugin, endings: Told) -> AsyncIterator[Link]:
    async with serving_plugin(plugin) as address, linked(address, endings=endings) as opened:
        yield opened


async def called(plugin: ScriptedPlugin, link: Link) -> tuple[int, ScriptedSession]:
    """One call that its host has begun."""
    call, session = link.invoke(), await plugin.session()
    await plugin.until(lambda: len(session.calls) == 1)
    session.say(accepted=[call])
    return call, session


async def lost(link: Link, number: int = 1) -> tuple[str, dict[str, str]]:
    answer = await link.answer(number)
    assert answer.failure is not None
    assert (answer.failure.reason, answer.sent) == ("HOST_LOST", True)
    return answer.failure.message, dict(answer.failure.metadata)


async def test_a_lost_call_is_answered_once_it_is_told_how_its_process_ended(
    plugin: ScriptedPlugin, link: Link, endings: Told
) -> None:
    _, session = await called(plugin, link)
    session.end()
    await link.until(lambda: not link.link.usable)

    assert (link.answers, endings.waiting) == ({}, 1)
    endings.told("i-1", 6, "exit code 0")  # an earlier process
    assert link.answers == {}
    endings.told("i-1", 7, KILLED)
    message, metadata = await lost(link)
    assert message == f"instance 'i-1' was lost while it had the call: {KILLED}"
    assert metadata["ending"] == KILLED


async def test_what_was_told_before_the_session_broke_counts_too(
    plugin: ScriptedPlugin, link: Link, endings: Told
) -> None:
    _, session = await called(plugin, link)
    endings.told("i-1", 7, KILLED)
    session.end()

    message, _ = await lost(link)
    assert KILLED in message


async def test_a_loss_of_which_nobody_tells_anything_waits_for_its_bound_and_no_longer(
    plugin: ScriptedPlugin, link: Link, endings: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
    _, session = await called(plugin, link)
    session.end()

    message, metadata = await lost(link)
    assert message == "instance 'i-1' was lost while it had the call"
    assert "ending" not in metadata
    assert endings.waiting == 0


async def test_hosts_of_whose_end_nobody_tells_are_not_waited_for(
    plugin: ScriptedPlugin, link: Link, endings: Told
) -> None:
    assert plugin.greeting is not None
    plugin.greeting.hello.end_is_told = False
    _, session = await called(plugin, link)
    session.end()

    message, _ = await lost(link)
    assert message == "instance 'i-1' was lost while it had the call"
    assert endings.waiting == 0


async def test_what_the_host_says_on_its_way_out_counts_at_once(
    plugin: ScriptedPlugin, link: Link, endings: Told
) -> None:
    _, session = await called(plugin, link)
    session.say(farewell="OOM: out of memory: " + "é" * 5000)
    session.end()

    message, metadata = await lost(link)
    assert "was lost while it had the call: OOM: out of memory: " in message
    assert len(metadata["ending"]) == 1024
    assert endings.waiting == 0


async def test_a_call_that_is_not_answered_before_its_host_was_stopped_says_so(
    plugin: ScriptedPlugin, link: Link
) -> None:
    _, session = await called(plugin, link)
    session.say(drain=session_pb2.Drain(reason="shutdown"))
    session.end()

    message, _ = await lost(link)
    assert message.endswith(": it was being stopped (shutdown)")


async def test_a_call_that_waits_for_that_word_is_no_longer_with_its_host_and_ends_at_once_when_it_is_taken_back(
    plugin: ScriptedPlugin, link: Link
) -> None:
    call, session = await called(plugin, link)
    assert link.link.has_left(call)
    assert link.link.hears_progress(call)
    session.end()
    await link.until(lambda: not link.link.usable)

    assert not link.link.has_left(call)
    assert not link.link.hears_progress(call)
    link.link.cancel(call)
    await lost(link)
    assert link.link.in_flight == 0


async def test_a_call_that_goes_alone_waits_for_that_word_too(plugin: ScriptedPlugin, endings: Told) -> None:
    async with AsyncExitStack() as server:
        address = await server.enter_async_context(serving_plugin(plugin))
        async with linked(address, endings=endings) as link:
            await link.until(lambda: link.link.has_room and link.changes > 0)
            link.invoke(1, input=Payload(b"x" * (MAX_INLINE + 1)))
            await plugin.call_alone()
            await server.aclose()
            await link.until(lambda: not link.link.usable)
            endings.told("i-1", 7, KILLED)
            message, _ = await lost(link)

    assert KILLED in message


async def test_calls_that_wait_for_that_word_are_answered_before_the_process_ends(
    plugin: ScriptedPlugin, link: Link, endings: Told
) -> None:
    _, session = await called(plugin, link)
    session.end()
    await link.until(lambda: endings.waiting == 1)
    endings.close()

    await lost(link)


async def test_a_result_for_a_call_of_the_session_before_is_no_answer_to_it(
    plugin: ScriptedPlugin, link: Link, endings: Told
) -> None:
    call, session = await called(plugin, link)
    session.end()
    second = await plugin.session(2)
    second.say(accepted=[call])
    await link.until(lambda: len(link.breaches) == 1)

    assert "was not sent on this session" in link.breaches[0]
    endings.told("i-1", 7, KILLED)
    await lost(link)


def test_the_exit_code_or_the_signal_is_named_even_where_the_host_has_said_why_it_ends() -> None:
    event = event_pb2.Event(instance_id="a-1", message="a-1: no place is left", facts={"exit_code": "1"})
    killed = event_pb2.Event(instance_id="a-1", message="a-1: it was told to stop", facts={"signal": "9"})

    assert ending_of(event) == "no place is left (exit code 1)"
    assert ending_of(killed) == "it was told to stop (killed by signal 9)"


def test_only_so_many_endings_are_remembered() -> None:
    endings = Told()
    for number in range(1, 1500):
        endings.told("i", number, KILLED)

    assert len(endings._known) == module.REMEMBERED
