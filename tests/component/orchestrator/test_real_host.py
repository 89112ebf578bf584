"""The dispatcher and its links against the plugin host that authors use."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from forgemesh.orchestrator.dispatch.call_request import CallRequest
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.ports import HostLink
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.dispatch.session.link import SessionLink
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Target, Timeouts
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.snapshot import Revision, Snapshot
from tests.component.orchestrator.dispatching import Log, ScriptedCatalogue, call_request, key
from tests.component.orchestrator.hosts import PATIENCE, endpoint
from tests.component.plugin_host.hosts import Served, eventually, host_at


class OneHost:
    """See ports.Hosts: one real instance of `test.kit`, and nothing else."""

    def __init__(self, address: str) -> None:
        one = endpoint("kit-1", address=address, incarnation=0, plugin_version="1.0.0")
        self.link = SessionLink(one, "o-1", self._tell)
        self._snapshot = Snapshot("test.kit", Revision(1, 1), DEFAULT, (one,))
        self._listeners: list[Callable[[str], None]] = []

    def snapshot(self, plugin_id: str) -> Snapshot | None:
        return self._snapshot

    def links(self, plugin_id: str) -> Mapping[str, HostLink]:
        return {"kit-1": self.link}

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener("test.kit")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with host_at() as host:
        yield host


@pytest.fixture
async def log() -> Log:
    return Log()


@pytest.fixture
async def dispatcher(served: Served, log: Log) -> AsyncIterator[Dispatcher]:
    hosts = OneHost(served.host.server.address)
    running = asyncio.create_task(hosts.link.run())
    log.dispatcher = Dispatcher(hosts, OutcomeRecorder(), Providers(ScriptedCatalogue()), time.time_ns, log)
    yield log.dispatcher
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def call(path: str, operation: str, timeouts: Timeouts | None = None, **given: Any) -> CallRequest:
    target = Target(plugin_id="test.kit", operation=operation)
    return call_request(path, target=target, timeouts=timeouts or Timeouts(), input=Payload(json.dumps(given).encode()))


@pytest.mark.parametrize(("operation", "sign"), [("hold", "cancelled"), ("blocks", "cancelled")])
async def test_a_cancellation_reaches_the_operation(
    served: Served, dispatcher: Dispatcher, log: Log, operation: str, sign: str
) -> None:
    dispatcher.send(call("a", operation))
    await eventually(lambda: served.kit.running == 1)

    dispatcher.cancel(key("a"))
    await eventually(lambda: sign in served.kit.seen)
    await log.until("a answered")

    assert log.reason("a") == "CANCELLED"


async def test_a_call_that_waits_in_the_host_is_cancelled_there(
    served: Served, dispatcher: Dispatcher, log: Log
) -> None:
    for path in ("a", "b", "c"):
        dispatcher.send(call(path, "hold"))
    await eventually(lambda: served.kit.running == 2)

    dispatcher.cancel(key("c"))
    await log.until("c answered")

    assert log.reason("c") == "CANCELLED"
    assert served.kit.running == 2
    assert served.kit.seen == []


async def test_an_operation_that_fell_silent_is_told_and_given_up(
    served: Served, dispatcher: Dispatcher, log: Log
) -> None:
    dispatcher.send(call("a", "hold", Timeouts(heartbeat=0.1)))

    await log.until("a answered")

    assert log.reason("a") == "HEARTBEAT_TIMEOUT"
    await eventually(lambda: served.kit.seen == ["cancelled"])


async def test_progress_arrives_while_the_operation_runs(served: Served, dispatcher: Dispatcher, log: Log) -> None:
    dispatcher.send(call("a", "progresses"))

    await log.until("a 0.5 second")

    assert "a answered" not in log.lines
    served.kit.open.set()
    await log.until("a answered")
    assert log.answers["a"].output is not None


async def test_more_calls_than_the_host_takes_are_all_answered(
    served: Served, dispatcher: Dispatcher, log: Log
) -> None:
    for number in range(100):
        dispatcher.send(call(f"a{number}", "echo", value=number))

    async with asyncio.timeout(PATIENCE):
        await log.until(*(f"a{number} answered" for number in range(100)))

    outputs = [answer.output for answer in log.answers.values()]
    assert sorted(int(output.data) for output in outputs if output is not None) == list(range(100))
    assert dispatcher.in_flight == 0
