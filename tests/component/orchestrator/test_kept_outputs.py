"""Outputs that are kept are given only for the same question, and only while who gave them could be called."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from forgemesh.faults import Code
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.engine import calls
from forgemesh.orchestrator.execution.ports.results import KeptResult
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.routing.endpoint import Endpoint
from tests.component.orchestrator.dispatching import provider
from tests.component.orchestrator.hosts import PATIENCE, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator

CACHED = """
name: cached
steps: [{id: x, call: {plugin: p, operation: o}, input: "${input}", cache: {ttl: 1h}}]
output: "${steps.x.output}"
"""
REGIONS = """
name: regions
steps:
  - id: eu
    call: {interface: shape, operation: o, select: {must: {region: eu}}}
    input: 1
    cache: {ttl: 1h}
  - id: us
    call: {interface: shape, operation: o, select: {must: {region: us}}}
    input: 1
    cache: {ttl: 1h}
output: {eu: "${steps.eu.output}", us: "${steps.us.output}"}
"""
PREFERRING = """
name: preferring
steps: [{id: x, call: {interface: shape, operation: o, select: {prefer: {gpu: "yes"}}}, cache: {ttl: 1h}}]
output: "${steps.x.output}"
"""
EDITED = """
name: edited
steps:
  - {id: x, call: {plugin: p, operation: o}, input: "${input}", cache: {ttl: 1h}, retry: {max_attempts: 1},
     on_exhausted: incident}
output: "${steps.x.output}"
"""
BROKEN = Failure(Code.INVALID_ARGUMENT, "BROKEN", "does not work")


@pytest.fixture
async def looking(orchestrator: Orchestrator) -> AsyncIterator[None]:
    """What provides which interface is looked up."""
    running = asyncio.create_task(orchestrator.providers.run())
    yield
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def answered(orchestrator: Orchestrator, source: str, value: object, execution_id: str, **facts: object) -> None:
    """An execution whose step `x` is called and answers so; returns once that is kept."""
    await orchestrator.start(source, facts.get("given", {"n": 1}), execution_id=execution_id)
    await orchestrator.hosts.answer("x", value, execution_id=execution_id)
    await orchestrator.ended(execution_id)
    await kept(orchestrator, execution_id)


async def kept(orchestrator: Orchestrator, execution_id: str) -> None:
    facts = [event.fact for event in await orchestrator.history(execution_id)]
    keys = [fact.cache_key for fact in facts if isinstance(fact, e.AttemptStarted)]
    async with asyncio.timeout(PATIENCE):
        while not all([await orchestrator.store.cached(bytes.fromhex(key), 1) for key in keys]):
            await asyncio.sleep(0)


async def again(orchestrator: Orchestrator, source: str, execution_id: str, given: object = None) -> ExecutionState:
    await orchestrator.start(source, {"n": 1} if given is None else given, execution_id=execution_id)
    return await orchestrator.ended(execution_id)


async def must_call(orchestrator: Orchestrator, source: str, execution_id: str, given: object = None) -> None:
    """Nothing kept counts: the step is called."""
    await orchestrator.start(source, {"n": 1} if given is None else given, execution_id=execution_id)
    await orchestrator.hosts.call("x", execution_id=execution_id)


def shown(orchestrator: Orchestrator, *endpoints: Endpoint) -> None:
    orchestrator.hosts.show("p", *endpoints)


async def test_a_kept_output_is_given_without_a_call(orchestrator: Orchestrator) -> None:
    await answered(orchestrator, CACHED, [1], "first")

    state = await again(orchestrator, CACHED, "second")

    assert state.output == Payload(b"[1]")
    assert state.steps["x"].dispatch is not None
    assert state.steps["x"].dispatch.cached
    assert len(orchestrator.hosts.calls) == 1


@pytest.mark.parametrize(
    "instances",
    [
        [],
        [endpoint("i-3", plugin_version="2.0.0")],
        [endpoint("i-3", manifest_digest="other")],
    ],
    ids=["nobody", "another version", "another manifest"],
)
async def test_a_kept_output_is_void_once_its_provider_is_gone(
    orchestrator: Orchestrator, instances: list[Endpoint]
) -> None:
    await answered(orchestrator, CACHED, [1], "first")
    shown(orchestrator, *instances)

    await orchestrator.start(CACHED, {"n": 1}, execution_id="second")

    async with asyncio.timeout(PATIENCE):
        if instances:
            await orchestrator.hosts.call("x", execution_id="second")
        else:
            await orchestrator.until(lambda state: state.steps["x"].blocked is not None, "second")


async def test_an_output_is_not_kept_if_its_provider_went_before_it_answered(orchestrator: Orchestrator) -> None:
    await orchestrator.start(CACHED, {"n": 1}, execution_id="first")
    call = await orchestrator.hosts.call("x", execution_id="first")
    shown(orchestrator, endpoint("i-3"))
    call.succeed([1])
    await orchestrator.ended("first")

    await must_call(orchestrator, CACHED, "second")

    assert len(orchestrator.hosts.calls) == 2


async def test_a_new_registration_of_the_same_version_and_manifest_keeps_outputs(orchestrator: Orchestrator) -> None:
    await answered(orchestrator, CACHED, [1], "first")
    shown(orchestrator, endpoint("i-3", incarnation=9))

    assert (await again(orchestrator, CACHED, "second")).output == Payload(b"[1]")


async def test_kept_outputs_do_not_cross_namespaces(orchestrator: Orchestrator) -> None:
    await answered(orchestrator, CACHED, [1], "first")
    await orchestrator.definitions.register("other", CACHED)

    await orchestrator.start(CACHED, {"n": 1}, execution_id="second", namespace="other")
    call = await orchestrator.hosts.call("x", execution_id="second")

    assert call.invocation.namespace == "other"


@pytest.mark.usefixtures("looking")
async def test_providers_that_are_selected_by_other_facts_do_not_share_outputs(orchestrator: Orchestrator) -> None:
    orchestrator.catalogue.provided["shape"] = [
        provider("here", metadata={"region": "eu"}),
        provider("there", metadata={"region": "us"}),
    ]
    for plugin_id in ("here", "there"):
        orchestrator.hosts.show(plugin_id, endpoint(plugin_id))
    await orchestrator.start(REGIONS, execution_id="first")
    await orchestrator.hosts.answer("eu", "eu", execution_id="first")
    await orchestrator.hosts.answer("us", "us", execution_id="first")
    assert (await orchestrator.ended("first")).output == Payload(b'{"eu":"eu","us":"us"}')
    await kept(orchestrator, "first")

    state = await again(orchestrator, REGIONS, "second")

    assert state.output == Payload(b'{"eu":"eu","us":"us"}')
    assert [step.dispatch.plugin_id for step in state.steps.values() if step.dispatch] == ["here", "there"]
    assert len(orchestrator.hosts.calls) == 2


@pytest.mark.usefixtures("looking")
async def test_what_a_less_preferred_provider_said_does_not_count_once_the_preferred_one_is_there(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.catalogue.provided["shape"] = [provider("plain"), provider("fast", metadata={"gpu": "yes"})]
    orchestrator.hosts.show("plain", endpoint("plain-1"))
    await answered(orchestrator, PREFERRING, "plain", "first")
    assert (await again(orchestrator, PREFERRING, "second")).output == Payload(b'"plain"')

    orchestrator.hosts.show("fast", endpoint("fast-1"))
    await orchestrator.start(PREFERRING, {"n": 1}, execution_id="third")
    call = await orchestrator.hosts.call("x", execution_id="third")

    assert call.instance_id == "fast-1"


async def test_an_edited_input_neither_takes_nor_leaves_a_kept_output(orchestrator: Orchestrator) -> None:
    await orchestrator.start(EDITED, {"n": 1}, execution_id="first")
    (await orchestrator.hosts.call("x", execution_id="first")).fail(BROKEN)
    await orchestrator.until(lambda state: bool(state.incidents), "first")
    payload = Payload(b'{"n":2}')
    await orchestrator.offered.controls.resolve("default", "first", "x", "retry", payload, "me", "")
    await orchestrator.hosts.answer("x", "of two", attempt=2, execution_id="first")
    assert (await orchestrator.ended("first")).status is Status.SUCCEEDED

    await must_call(orchestrator, EDITED, "second")
    await must_call(orchestrator, EDITED, "third", {"n": 2})

    assert len(orchestrator.hosts.calls) == 4


async def decided_while_looking_up(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, command: str
) -> asyncio.Event:
    """A step looks for a kept output, and the execution is paused or cancelled before that is told; set to tell it."""
    shown(orchestrator, endpoint("i-1"))
    read, asked, told = orchestrator.store.cached, asyncio.Event(), asyncio.Event()

    async def cached_later(key: bytes, now: int) -> list[KeptResult]:
        asked.set()
        await told.wait()
        return await read(key, now)

    monkeypatch.setattr(orchestrator.store, "cached", cached_later)
    await orchestrator.start(CACHED)
    await asked.wait()
    controls = orchestrator.offered.controls
    if command == "pause":
        await controls.pause("default", "e", e.PauseRequested("me"))
    else:
        await controls.cancel("default", "e", "me", "")
    return told


async def test_a_planted_mistake_lets_a_call_leave_that_a_pause_should_have_kept(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test after this one looks for is there to be seen."""
    monkeypatch.setattr(calls, "is_held", lambda state, step: False)
    told = await decided_while_looking_up(orchestrator, monkeypatch, "pause")

    told.set()
    await orchestrator.hosts.call("x")


@pytest.mark.parametrize("command", ["pause", "cancel"])
async def test_what_is_decided_while_a_kept_output_is_looked_up_keeps_the_call_from_leaving(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    told = await decided_while_looking_up(orchestrator, monkeypatch, command)

    told.set()
    state = await orchestrator.until(lambda state: state.status in (Status.PAUSED, Status.CANCELLED))
    assert orchestrator.hosts.calls == []
    if command == "pause":
        assert state.pause is not None
        await orchestrator.offered.controls.resume("default", "e", "", "me")
        await orchestrator.hosts.answer("x", attempt=2)
        assert (await orchestrator.ended()).status is Status.SUCCEEDED
