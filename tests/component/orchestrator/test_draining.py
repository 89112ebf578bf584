"""Calls on their way to a host that goes: what it has, it finishes; what it has not, goes elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from forgemesh.api.plugin.v1 import session_pb2
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts, open_hosts
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.routing.endpoint import Health
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.snapshot import Revision, Snapshot
from tests.component.orchestrator.dispatching import Log, ScriptedCatalogue, call_request
from tests.component.orchestrator.hosts import PATIENCE, endpoint
from tests.component.orchestrator.plugins import ScriptedPlugin, ScriptedSession, output, serving_plugin


class Scene:
    """Two instances, of which only the first is known while three calls leave: it takes one of them at a time."""

    def __init__(self, hosts: FeedHosts, going: str, staying: str) -> None:
        self.hosts, self.log, self.recorder = hosts, Log(), OutcomeRecorder()
        self.going, self.staying = endpoint("i-1", address=going), endpoint("i-2", address=staying)
        self.log.dispatcher = self.dispatcher = Dispatcher(
            hosts, self.recorder, Providers(ScriptedCatalogue()), lambda: 1_000_000_000, self.log
        )

    def show(self, revision: int, *instances: str) -> None:
        shown = tuple(one for one in (self.going, self.staying) if one.instance_id in instances)
        self.hosts.take(Snapshot("p", Revision(1, revision), DEFAULT, shown))


@pytest.fixture
async def plugins() -> tuple[ScriptedPlugin, ScriptedPlugin]:
    going = ScriptedPlugin()
    going.credits = 1
    return going, ScriptedPlugin()


@pytest.fixture
async def scene(plugins: tuple[ScriptedPlugin, ScriptedPlugin]) -> AsyncIterator[Scene]:
    async with (
        serving_plugin(plugins[0]) as going,
        serving_plugin(plugins[1]) as staying,
        open_hosts("o-1", OutcomeRecorder().breached) as hosts,
    ):
        yield Scene(hosts, going, staying)


async def queued(scene: Scene, plugins: tuple[ScriptedPlugin, ScriptedPlugin]) -> ScriptedSession:
    """The first instance has "a"; "b" and "c" wait in this process for room there, and the second one has come."""
    scene.show(1, "i-1")
    for path in "abc":
        scene.dispatcher.send(call_request(path))
    session = await plugins[0].session()
    await plugins[0].until(lambda: len(session.calls) == 1)
    scene.show(2, "i-1", "i-2")
    await plugins[1].session()
    return session


async def test_what_waits_for_a_host_that_drains_goes_elsewhere_with_the_same_attempt(
    scene: Scene, plugins: tuple[ScriptedPlugin, ScriptedPlugin]
) -> None:
    session = await queued(scene, plugins)

    session.say(drain=session_pb2.Drain(reason="renewal"))
    other = await plugins[1].session()
    await plugins[1].until(lambda: len(other.calls) == 2)
    session.say(results=[output(session.calls[0].call_id)])
    other.say(results=[output(call.call_id) for call in other.calls])
    await scene.log.until("a answered", "b answered", "c answered")

    assert [(call.step_path, call.attempt) for call in other.calls] == [("b", 1), ("c", 1)]
    assert [answer.failure for answer in scene.log.answers.values()] == [None] * 3


async def test_what_waits_for_a_host_that_dies_goes_elsewhere_and_only_what_it_had_is_lost(
    scene: Scene, plugins: tuple[ScriptedPlugin, ScriptedPlugin]
) -> None:
    session = await queued(scene, plugins)

    session.end()
    other = await plugins[1].session()
    await plugins[1].until(lambda: {call.step_path for call in other.calls} == {"b", "c"})
    other.say(results=[output(call.call_id) for call in other.calls])
    await scene.log.until("a answered", "b answered", "c answered")

    assert scene.log.reason("a") == "HOST_LOST"
    assert {call.attempt for call in other.calls} == {1}
    counts = {one.key.instance_id: one.counts for one in scene.recorder.report().counts}
    assert (counts["i-1"].failed, counts["i-1"].ignored, counts["i-2"].succeeded) == (1, 2, 2)


async def test_a_sound_instance_that_is_not_named_any_more_ends_what_it_has_and_gets_nothing_new(
    scene: Scene, plugins: tuple[ScriptedPlugin, ScriptedPlugin]
) -> None:
    session = await queued(scene, plugins)

    scene.show(3, "i-2")
    other = await plugins[1].session()
    await plugins[1].until(lambda: len(other.calls) == 2)
    session.say(results=[output(session.calls[0].call_id)])
    other.say(results=[output(call.call_id) for call in other.calls])
    await scene.log.until("a answered", "b answered", "c answered")

    assert [answer.failure for answer in scene.log.answers.values()] == [None] * 3
    await plugins[0].until(session.over.is_set)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*scene.hosts._retired, return_exceptions=True)


async def test_an_instance_that_was_not_sound_when_it_went_is_given_up_at_once(
    scene: Scene, plugins: tuple[ScriptedPlugin, ScriptedPlugin]
) -> None:
    await queued(scene, plugins)
    scene.going = endpoint("i-1", address=scene.going.address, health=Health.UNREACHABLE)
    scene.show(3, "i-1", "i-2")

    scene.show(4, "i-2")
    await scene.log.until("a answered")

    assert scene.log.reason("a") == "HOST_LOST"


async def test_a_session_that_was_renewed_is_used_again(
    scene: Scene, plugins: tuple[ScriptedPlugin, ScriptedPlugin]
) -> None:
    scene.show(1, "i-1")
    session = await plugins[0].session()
    session.say(drain=session_pb2.Drain(reason="renewal"))
    session.end()
    renewed = await plugins[0].session(2)

    scene.dispatcher.send(call_request("a"))

    await plugins[0].until(lambda: len(renewed.calls) == 1)
    assert renewed.calls[0].attempt == 1
