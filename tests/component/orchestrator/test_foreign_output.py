"""What a plugin answers that nobody could read."""

from collections.abc import AsyncIterator

import pytest

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2 as pb, session_pb2
from forgemesh.faults import Code
from forgemesh.orchestrator.dispatch.session.codec import MAX_INLINE
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import UNMADE
from tests.component.orchestrator.plugins import Link, ScriptedPlugin, linked, output, serving_plugin


@pytest.fixture
async def plugin() -> ScriptedPlugin:
    return ScriptedPlugin()


@pytest.fixture
async def link(plugin: ScriptedPlugin) -> AsyncIterator[Link]:
    async with serving_plugin(plugin) as address, linked(address) as opened:
        yield opened


FOREIGN = [
    ("", b'{"v": NaN}'),
    ("application/json", b"[Infinity]"),
    ("application/json; charset=utf-8", b"no json"),
    ("APPLICATION/JSON", b'"\xff"'),
    ("application/problem+json", b'"\\ud800"'),
    ("", b"[" * 100_000),
    ("", b"[" * 300 + b"]" * 300),
    ("", b"1e400"),
    ("x" * 201, b""),
    ("text/\x1b[31m", b""),
]


@pytest.mark.parametrize(("media_type", "data"), FOREIGN)
async def test_an_output_that_others_cannot_read_is_a_failure_that_names_who_gave_it(
    plugin: ScriptedPlugin, link: Link, media_type: str, data: bytes
) -> None:
    session = await plugin.session()
    link.invoke()
    result = output(1)
    result.output.CopyFrom(payload_pb2.Payload(media_type=media_type, data=data))

    session.say(results=[result])

    answer = await link.answer()
    assert answer.failure is not None
    assert (answer.failure.reason, answer.failure.retryable, answer.accepted) == ("OUTPUT_INVALID", False, True)
    named = answer.failure.metadata
    assert (named["plugin_id"], named["operation"], named["instance_id"]) == ("p", "o", "i-1")


async def test_an_output_that_others_cannot_read_is_a_failure_of_a_call_that_goes_alone_too(
    plugin: ScriptedPlugin, link: Link
) -> None:
    link.invoke(1, input=Payload(b'"' + b"x" * MAX_INLINE + b'"'))
    _, answered = await plugin.call_alone()
    answered.set_result(
        pb.InvokeResponse(result=invocation_pb2.InvocationResult(output=payload_pb2.Payload(data=b"NaN")))
    )

    assert (await link.failure(1))[0] == "OUTPUT_INVALID"


PRETENDED = ["INTERRUPTED", "HOST_LOST", "ORCHESTRATOR_LOST", *sorted(UNMADE)]


@pytest.mark.parametrize("reason", PRETENDED)
async def test_an_operation_that_ran_and_fails_with_a_reason_of_the_mesh_is_not_called_again_uncounted(
    plugin: ScriptedPlugin, link: Link, reason: str
) -> None:
    session = await plugin.session()
    link.invoke()
    failure = Failure(code=Code.UNAVAILABLE, reason=reason, message="not now", retryable=True)

    session.say(results=[invocation_pb2.InvocationResult(call_id=1, attempt=1, ran_micros=12, failure=failure)])

    answer = await link.answer()
    assert answer.failure is not None
    assert (answer.failure.reason, answer.failure.retryable, answer.accepted) == ("OUTPUT_INVALID", False, True)
    assert f"the reason {reason}, which only the mesh gives (not now)" in answer.failure.message


@pytest.mark.parametrize("reason", sorted(UNMADE))
async def test_an_instance_may_say_of_a_call_that_did_not_run_that_it_was_not_made(
    plugin: ScriptedPlugin, link: Link, reason: str
) -> None:
    session = await plugin.session()
    link.invoke()
    failure = Failure(code=Code.UNAVAILABLE, reason=reason, message="not now", retryable=True)

    session.say(results=[invocation_pb2.InvocationResult(call_id=1, attempt=1, failure=failure)])

    assert (await link.failure(1))[0] == reason


@pytest.mark.parametrize(("media_type", "data"), [("text/plain", b"\xff NaN"), ("", b""), ("a/b+json", b"[1]")])
async def test_what_does_not_say_that_it_is_json_or_is_json_is_passed_on(
    plugin: ScriptedPlugin, link: Link, media_type: str, data: bytes
) -> None:
    session = await plugin.session()
    link.invoke()
    result = output(1)
    result.output.CopyFrom(payload_pb2.Payload(media_type=media_type, data=data))

    session.say(results=[result])

    assert (await link.answer()).output == Payload(data, media_type or "application/json")


async def test_what_a_next_attempt_could_not_read_is_not_kept_for_it(plugin: ScriptedPlugin, link: Link) -> None:
    session = await plugin.session()
    link.invoke()
    details = payload_pb2.Payload(data=b'{"at": NaN}')

    session.say(progress=[session_pb2.Progress(call_id=1, fraction=0.5, details=details)])
    await link.until(lambda: bool(link.progress))

    assert link.progress == [(1, 0.5, "", None)]
