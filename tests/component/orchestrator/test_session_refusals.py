"""Instances that open no session, although they can be reached."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest

from forgemesh.chassis.status import rpc_status_of
from forgemesh.faults.plugin import WrongIncarnation
from forgemesh.orchestrator.dispatch.session import link as module
from tests.component.orchestrator.plugins import ScriptedPlugin, linked, serving_plugin


class Refusing(ScriptedPlugin):
    """Ends every session with a status, before it says hello."""

    def __init__(self, code: grpc.StatusCode, fault: WrongIncarnation | None = None) -> None:
        super().__init__()
        self.asked = 0
        self._code = code
        self._fault = fault

    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        self.asked += 1
        self.moved.set()
        if self._fault is not None:
            await context.abort_with_status(rpc_status_of(self._fault))
        await context.abort(self._code, "not with you")


async def test_a_session_that_is_refused_is_held_against_the_instance_by_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin = Refusing(grpc.StatusCode.INTERNAL)
    async with serving_plugin(plugin) as address, linked(address) as link:
        await link.until(lambda: len(link.breaches) >= 2)

        assert not link.link.usable
    assert set(link.breaches) == {"it refuses the session with INTERNAL: 'not with you'"}
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("instance 'i-1' of plugin 'p'" in line and "not with you" in line for line in warned)


async def test_an_instance_that_says_no_hello_is_held_to_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELLO_DEADLINE", 0.05)
    plugin = ScriptedPlugin()
    plugin.greets = False
    async with serving_plugin(plugin) as address, linked(address) as link:
        await link.until(lambda: bool(link.breaches))

    assert link.breaches[0] == "it opens no session: no hello came"


@pytest.mark.parametrize(
    ("code", "fault"), [(grpc.StatusCode.UNAVAILABLE, None), (grpc.StatusCode.UNKNOWN, WrongIncarnation("i-1", 7, 8))]
)
async def test_a_server_that_stops_or_is_another_process_by_now_has_refused_nothing(
    code: grpc.StatusCode, fault: WrongIncarnation | None
) -> None:
    plugin = Refusing(code, fault)
    async with serving_plugin(plugin) as address, linked(address) as link:
        await plugin.until(lambda: plugin.asked >= 3)

    assert link.breaches == []
