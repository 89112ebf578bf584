from collections.abc import AsyncIterator

import pytest

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import session_pb2
from forgemesh.orchestrator.dispatch.session.codec import MAX_DETAILS, MAX_INLINE
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.plugins import Link, ScriptedPlugin, linked, output, serving_plugin


@pytest.fixture
async def plugin() -> ScriptedPlugin:
    return ScriptedPlugin()


@pytest.fixture
async def link(plugin: ScriptedPlugin) -> AsyncIterator[Link]:
    async with serving_plugin(plugin) as address, linked(address) as opened:
        yield opened


async def test_progress_is_told_to_whoever_called_within_bounds(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    for number in (1, 2):
        link.invoke(number)
    await plugin.until(lambda: len(session.calls) == 2)

    details = payload_pb2.Payload(data=b"7", media_type="application/json")
    session.say(progress=[session_pb2.Progress(call_id=2, fraction=0.25, note="reading", details=details)])
    for fraction in (7.0, -1.0, float("nan")):
        session.say(progress=[session_pb2.Progress(call_id=1, fraction=fraction, note="x" * 5000)])
    session.say(progress=[session_pb2.Progress(call_id=99, fraction=0.5)], results=[output(2)])
    await link.answer(2)

    assert link.progress[0] == (2, 0.25, "reading", Payload(b"7"))
    assert [(number, fraction, len(note)) for number, fraction, note, _ in link.progress[1:]] == [
        (1, 1.0, 1024),
        (1, 0.0, 1024),
        (1, 0.0, 1024),
    ]


async def test_details_that_are_too_large_are_not_kept(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    link.invoke(1)
    await plugin.until(lambda: len(session.calls) == 1)

    for size in (MAX_DETAILS, MAX_DETAILS + 1):
        details = payload_pb2.Payload(data=b"x" * size, media_type="text/plain")
        session.say(progress=[session_pb2.Progress(call_id=1, details=details)], results=[])
    session.say(results=[output(1)])
    await link.answer(1)

    assert [details is not None for *_, details in link.progress] == [True, False]


async def test_progress_can_be_heard_on_a_session_alone(plugin: ScriptedPlugin, link: Link) -> None:
    await plugin.session()
    small, large = link.invoke(1), link.invoke(2, input=Payload(b"x" * (MAX_INLINE + 1)))
    await plugin.call_alone()

    heard = [link.link.hears_progress(call) for call in (small, large, 99)]

    assert heard == [True, False, False]
