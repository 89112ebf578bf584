import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.dispatch.session.codec import MAX_INLINE
from forgemesh.orchestrator.dispatch.session.protocol_check import MAX_CREDITS
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.plugins import Link, ScriptedPlugin, ScriptedSession, linked, output, serving_plugin


@pytest.fixture
async def plugin() -> ScriptedPlugin:
    return ScriptedPlugin()


@pytest.fixture
async def link(plugin: ScriptedPlugin) -> AsyncIterator[Link]:
    async with serving_plugin(plugin) as address, linked(address) as opened:
        yield opened


async def sent(plugin: ScriptedPlugin, link: Link, number: int = 1) -> ScriptedSession:
    """The session over which the call of that number has gone."""
    session = await plugin.session()
    link.invoke(number)
    await plugin.until(lambda: len(session.calls) == number)
    return session


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [line for line in caplog.records if line.name.startswith("forgemesh")]
    return [line.getMessage() for line in ours if line.levelno >= logging.WARNING]


async def test_results_for_calls_that_were_never_sent_are_taken_for_none_and_end_the_session(
    plugin: ScriptedPlugin, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    plugin.credits = 0
    session = await plugin.session()
    link.invoke(1)
    link.invoke(2)

    session.say(results=[output(number) for number in range(1, 50)])

    assert await link.failure(1) == ("HOST_LOST", True, False)
    assert await link.failure(2) == ("HOST_LOST", True, False)
    assert not link.answers[1].sent
    plugin.credits = 5
    again = await plugin.session(2)
    await link.until(lambda: link.link.usable)
    link.invoke(3)
    await plugin.until(lambda: len(again.calls) == 1)
    again.say(results=[output(3)])
    assert (await link.answer(3)).output == Payload(b"1")
    (line,) = lines(caplog)
    assert "instance 'i-1' of plugin 'p'" in line
    assert "a result for call 1, which was not sent on this session" in line
    assert link.breaches == ["a result for call 1, which was not sent on this session"]


def of_attempt(attempt: int) -> invocation_pb2.InvocationResult:
    said = output(1)
    said.attempt = attempt
    return said


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"results": [of_attempt(2)]}, "a result for attempt 2 of call 1"),
        ({"results": [of_attempt(0)]}, "a result for attempt 0 of call 1"),
        ({"results": [output(2)]}, "a result for call 2, which was not sent"),
        ({"results": [output(0)]}, "a result for call 0, which was not sent"),
        ({"accepted": [2]}, "a receipt for call 2, which was not sent"),
        ({"progress": [session_pb2.Progress(call_id=7)]}, "progress for call 7, which was not sent"),
        ({"hello": session_pb2.ServerHello(protocol=1)}, "it greets a second time"),
        ({"credits": MAX_CREDITS}, "credits"),
        ({"accepted": [1] * 65_537}, "accepted: there are 65,537 of them in one message, at most 65,536 are taken"),
        ({"progress": [session_pb2.Progress(call_id=1)] * 65_537}, "progress: there are 65,537 of them"),
        ({"results": [invocation_pb2.InvocationResult()] * 65_537}, "results: there are 65,537 of them"),
    ],
)
async def test_what_the_protocol_does_not_allow_ends_the_session(
    plugin: ScriptedPlugin, link: Link, said: dict[str, Any], what: str
) -> None:
    session = await sent(plugin, link)

    session.say(**said)

    assert await link.failure(1) == ("HOST_LOST", True, False)
    (breach,) = link.breaches
    assert what in breach
    await plugin.session(2)


async def test_a_second_result_for_a_call_ends_the_session(plugin: ScriptedPlugin, link: Link) -> None:
    session = await sent(plugin, link)

    session.say(results=[output(1)])
    assert (await link.answer(1)).output == Payload(b"1")
    session.say(results=[output(1)])

    await link.until(lambda: link.breaches == ["a second result for call 1"])


async def test_a_receipt_that_comes_after_the_result_does_no_harm(plugin: ScriptedPlugin, link: Link) -> None:
    session = await sent(plugin, link)

    session.say(results=[output(1)])
    session.say(accepted=[1], progress=[session_pb2.Progress(call_id=1, fraction=1.0)])
    link.invoke(2)
    await plugin.until(lambda: len(session.calls) == 2)
    session.say(results=[output(2)])

    assert (await link.answer(2)).output == Payload(b"1")
    assert link.breaches == []


async def test_a_result_for_a_call_that_is_not_wanted_any_more_is_no_breach(plugin: ScriptedPlugin, link: Link) -> None:
    session = await sent(plugin, link)
    link.link.cancel(1)
    await plugin.until(lambda: any(frame.cancels for frame in session.frames))

    session.say(results=[output(1)])

    assert (await link.answer(1)).output == Payload(b"1")
    assert link.breaches == []


async def test_a_call_alone_has_no_result_on_the_session(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    link.invoke(1, input=Payload(b"x" * (MAX_INLINE + 1)))
    await plugin.call_alone()

    session.say(results=[output(1)])

    await link.until(lambda: bool(link.breaches))
    assert 1 not in link.answers


async def test_results_of_the_session_before_are_not_taken_on_the_next(plugin: ScriptedPlugin, link: Link) -> None:
    session = await sent(plugin, link)
    session.end()
    await link.answer(1)
    again = await plugin.session(2)

    again.say(results=[output(1)])

    await link.until(lambda: bool(link.breaches))


@pytest.mark.parametrize(
    ("greeting", "what"),
    [
        (session_pb2.SessionResponse(credits=5), "no hello"),
        (session_pb2.SessionResponse(hello=session_pb2.ServerHello(protocol=2)), "protocol 2"),
        (session_pb2.SessionResponse(hello=session_pb2.ServerHello()), "protocol 0"),
        (session_pb2.SessionResponse(hello=session_pb2.ServerHello(protocol=1, incarnation=6)), "incarnation 6"),
        (session_pb2.SessionResponse(hello=session_pb2.ServerHello(protocol=1, instance_id="i-2")), "'i-2'"),
        (session_pb2.SessionResponse(hello=session_pb2.ServerHello(protocol=1, plugin_id="else")), "plugin 'else'"),
        (session_pb2.SessionResponse(hello=session_pb2.ServerHello(protocol=1), results=[output(1)]), "before any"),
    ],
)
async def test_who_greets_wrongly_gets_no_call(
    plugin: ScriptedPlugin, link: Link, greeting: session_pb2.SessionResponse, what: str
) -> None:
    plugin.greeting = greeting
    link.invoke(1)

    await link.until(lambda: bool(link.breaches))

    assert what in link.breaches[0]
    assert not (await link.answer(1)).sent
    plugin.greeting = None
    await link.until(lambda: link.link.usable)


async def test_a_frame_that_is_too_large_ends_the_session_with_one_line(
    plugin: ScriptedPlugin, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    session = await sent(plugin, link)

    session.say(results=[output(1, b"x" * (5 << 20))])

    assert (await link.failure(1))[0] == "HOST_LOST"
    (line,) = lines(caplog)
    assert "larger than max" in line


async def test_a_fault_in_who_is_told_an_answer_costs_no_other_call(
    plugin: ScriptedPlugin, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    session = await plugin.session()
    link.invoke(1)
    link.invoke(2)
    await plugin.until(lambda: len(session.calls) == 2)
    link.answers[1] = Answer(None, None)  # whoever is told a second time fails

    session.say(results=[output(1), output(2)])

    assert (await link.answer(2)).output == Payload(b"1")
    assert len(plugin.sessions) == 1
    (line,) = lines(caplog)
    assert "execution e, step s1" in line


async def test_many_large_words_for_the_next_attempt_do_not_make_a_frame_too_large(
    plugin: ScriptedPlugin, link: Link
) -> None:
    plugin.credits = 100
    session = await plugin.session()
    await link.until(lambda: link.link.usable and link.link.has_room and link.changes > 0)

    for number in range(100):
        link.invoke(number, details=Payload(b"x" * (64 << 10)))
    await plugin.until(lambda: len(session.calls) == 100)

    assert len(plugin.sessions) == 1
    assert max(frame.ByteSize() for frame in session.frames) < 2 << 20


def laden(call_id: int, field: str) -> invocation_pb2.InvocationResult:
    """A result with 10,001 entries in one field, one more than is taken."""
    result = invocation_pb2.InvocationResult(call_id=call_id, attempt=1)
    facts = {str(number): "" for number in range(10_001)}
    match field:
        case "output.metadata":
            result.output.data = b"1"
            result.output.metadata.update(facts)
        case "failure.metadata":
            result.failure.metadata.update(facts)
        case _:
            result.failure.causes.extend([failure_pb2.Failure()] * 10_001)
    return result


@pytest.mark.parametrize("field", ["output.metadata", "failure.metadata", "failure.causes"])
async def test_a_result_that_holds_too_much_fails_alone_and_by_name(
    plugin: ScriptedPlugin, link: Link, field: str
) -> None:
    await sent(plugin, link)
    session = await sent(plugin, link, 2)

    session.say(results=[laden(1, field), output(2)])

    answer = await link.answer(1)
    assert answer.failure is not None
    assert answer.failure.reason == "OUTPUT_INVALID"
    assert f"{field}: there are 10,001 of them in one message, at most 10,000 are taken" in answer.failure.message
    assert (await link.answer(2)).output == Payload(b"1")
    assert link.breaches == []


async def test_causes_that_nobody_keeps_are_not_built(plugin: ScriptedPlugin, link: Link) -> None:
    session = await sent(plugin, link)
    result = laden(1, "failure.causes")
    del result.failure.causes[0]

    session.say(results=[result])

    answer = await link.answer(1)
    assert answer.failure is not None
    assert (answer.failure.reason, answer.failure.causes) == ("UNKNOWN", ())


async def test_what_a_call_says_for_its_next_attempt_is_not_kept_if_it_holds_too_much(
    plugin: ScriptedPlugin, link: Link
) -> None:
    session = await sent(plugin, link)
    details = payload_pb2.Payload(data=b"1", metadata={str(number): "" for number in range(10_001)})

    session.say(progress=[session_pb2.Progress(call_id=1, fraction=0.5, details=details)], results=[output(1)])

    await link.answer(1)
    assert link.progress == [(1, 0.5, "", None)]
