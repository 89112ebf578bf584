"""What a host has to say to the supervisor that started it, and what it hears from there."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from google.protobuf.duration_pb2 import Duration

from forgemesh.api.plugin.v1 import load_pb2, manifest_pb2
from forgemesh.api.supervisor.v1 import attach_pb2 as pb, host_pb2
from forgemesh.chassis.threads import start_thread
from forgemesh.chassis.version import VERSION
from forgemesh.faults import Fault
from forgemesh.faults.supervisor import HostProtocolUnsupported
from forgemesh.plugin_host.host.calls.codec import cut
from forgemesh.plugin_host.host.calls.suspects import Suspects
from forgemesh.plugin_host.host.plugin.loader import LONGEST_CHANGE
from forgemesh.plugin_host.host.plugin.start_failure import Phase, SupervisorRefused
from forgemesh.plugin_host.host.supervision.orphan import keep_output_open
from forgemesh.plugin_host.host.supervision.supervisor_stream import SupervisorStream
from forgemesh.plugin_host.settings import HostSettings

_log = logging.getLogger(__name__)

PROTOCOL_MIN, PROTOCOL_MAX = 1, 1
LOAD_PERIOD = 1.0
FAREWELL = 1.0
"""Seconds that the last words have to reach the supervisor."""
SDK = f"forgemesh-python/{VERSION}"


class Configurable(Protocol):
    """A started plugin, as far as its supervisor changes it or asks it."""

    async def configure(self, config: str, revision: int, within: float) -> pb.ConfigureResult:
        """Take another configuration on, or say why not."""

    async def save_state(self, within: float) -> pb.SavedState:
        """What a successor begins with."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the supervisor says, and when that came (seconds, monotonic): a busy event loop hears of it later."""

    said: pb.AttachResponse
    at: float

    def left(self, within: Duration) -> float:
        """Seconds that are left of the time that it gives."""
        whole = within.ToMicroseconds() / 1e6 or LONGEST_CHANGE
        return whole - (time.monotonic() - self.at)


Heard: TypeAlias = Order | SupervisorRefused
T = TypeVar("T")


class Attachment:
    """
    One host's place at its supervisor: introduced, initialised, ready, and from then on at its service.

    `suspects` are kept as the supervisor tells them. `on_lost` is told, from a thread, that the supervisor is gone for
    good while the host serves.
    """

    def __init__(self, settings: HostSettings, on_lost: Callable[[str], None]) -> None:
        self.suspects = Suspects()
        self._settings = settings
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._manifest: manifest_pb2.Manifest | None = None
        self._ready: Callable[[], pb.HostReady] | None = None
        self._degraded = pb.HostCondition()
        self._troubles: dict[str, str] = {}
        self._telling = threading.Lock()
        self._closed = threading.Event()
        self._failed = False
        self._opened = False
        self._line = SupervisorStream(
            self._address,
            self._hello,
            self._hear,
            self._lose,
            patience=settings.reattach_seconds if settings.reattach else math.inf,
            on_break=keep_output_open if settings.reattach else _nothing,
        )

    async def introduce(self, manifest: manifest_pb2.Manifest | None) -> None:
        """Say who this is and wait to be welcome; raises SupervisorRefused."""
        self._manifest = manifest
        self._opened = True
        self._line.start()
        welcome = await self._next("welcome")
        if not PROTOCOL_MIN <= welcome.welcome.protocol <= PROTOCOL_MAX:
            fault = HostProtocolUnsupported(
                self._settings.instance_id, (welcome.welcome.protocol,) * 2, (PROTOCOL_MIN, PROTOCOL_MAX)
            )
            raise SupervisorRefused(self._address(), fault.message, host_pb2.HOST_PHASE_VERSION)

    async def initialize(self) -> pb.Initialize:
        """Wait, for as long as it takes, until everything that the plugin needs serves."""
        return (await self._next("initialize")).initialize

    def ready(self, ready: Callable[[], pb.HostReady], load: Callable[[], load_pb2.LoadReport]) -> None:
        """The host serves: said now and each time the line is opened again; a thread asks `load` every second."""
        self._ready = ready
        self._line.say(pb.AttachRequest(ready=ready()))
        start_thread("load-teller", partial(self._tell_load, load))

    def ready_again(self) -> None:
        """It serves under another incarnation."""
        if self._ready is not None:
            self._line.say(pb.AttachRequest(ready=self._ready()))

    def condition(self, source: str, trouble: str) -> None:
        """What of this `source` keeps the host from keeping up, or an empty text once nothing does; from any thread."""
        with self._telling:
            self._troubles[source] = trouble
            reason = "; ".join(filter(None, self._troubles.values()))
            self._degraded = pb.HostCondition(degraded=bool(reason), reason=cut(reason))
            if self._ready is not None:
                self._line.say(pb.AttachRequest(condition=self._degraded))

    async def fail(self, phase: Phase, reason: str) -> None:
        """Say that this host cannot go on; once, and as good as that is possible."""
        if self._failed:
            return
        self._failed = True
        if not self._opened:
            try:
                await self.introduce(None)
            except SupervisorRefused as refused:
                _log.warning("%s", refused)
        self._line.say(pb.AttachRequest(failed=pb.HostFailed(phase=phase, reason=cut(reason))))
        await self.close()

    def fail_at_once(self, reason: str) -> None:
        """As `fail`, from a thread that ends the process afterwards."""
        if self._opened and not self._failed:
            self._failed = True
            phase = host_pb2.HOST_PHASE_SERVING if self._ready else host_pb2.HOST_PHASE_INIT
            self._line.say(pb.AttachRequest(failed=pb.HostFailed(phase=phase, reason=cut(reason))))
            self._line.close(FAREWELL)

    async def obey(self, plugin: Configurable) -> None:
        """Do what the supervisor asks of the running plugin, until cancelled."""
        while True:
            heard = await self._heard.get()
            if isinstance(heard, SupervisorRefused):
                return
            try:
                await self._obey(plugin, heard)
            except Exception:  # noqa: BLE001 - one order that cannot be followed is no reason to hear no other
                _log.exception("cannot do what the supervisor asks: %s", heard.said.WhichOneof("kind"))

    async def _obey(self, plugin: Configurable, order: Order) -> None:
        match order.said.WhichOneof("kind"):
            case "configure":
                asked = order.said.configure
                result = await plugin.configure(asked.config, asked.revision, order.left(asked.within))
                result.request = asked.request
                self._line.say(pb.AttachRequest(configured=result))
            case "save_state":
                state = await plugin.save_state(order.left(order.said.save_state.within))
                state.request = order.said.save_state.request
                self._line.say(pb.AttachRequest(state=state))

    async def close(self) -> None:
        """Hang up."""
        self._closed.set()
        if self._opened:
            await asyncio.to_thread(self._line.close, FAREWELL)

    async def _next(self, kind: str) -> pb.AttachResponse:
        """The next message, which has to be of this kind."""
        heard = await self._heard.get()
        while not isinstance(heard, SupervisorRefused) and heard.said.WhichOneof("kind") != kind:
            _log.debug("the supervisor says %s, waiting for %s", heard.said.WhichOneof("kind"), kind)
            heard = await self._heard.get()
        if isinstance(heard, SupervisorRefused):
            raise heard
        return heard.said

    def _address(self) -> str:
        """Of the supervisor that is there now: one that was started anew may listen elsewhere."""
        if self._settings.supervisor_file:
            try:
                return Path(self._settings.supervisor_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                _log.debug("cannot read where the supervisor is: %s", error)
        return self._settings.supervisor

    def _hello(self) -> pb.AttachHello:
        hello = pb.AttachHello(
            token=self._settings.token,
            instance_id=self._settings.instance_id,
            pid=os.getpid(),
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            sdk=SDK,
            manifest=self._manifest,
        )
        if self._ready is not None:
            hello.ready.CopyFrom(self._ready())
        return hello

    def _hear(self, response: pb.AttachResponse) -> None:
        if response.WhichOneof("kind") == "suspects":  # not in turn: an order before may take long
            self._call_on_loop(self.suspects.told, response.suspects)
            return
        if response.WhichOneof("kind") == "welcome" and self._degraded.degraded:  # this one does not know it yet
            self._line.say(pb.AttachRequest(condition=self._degraded))
        self._tell_loop(Order(response, time.monotonic()))

    def _lose(self, reason: str, fault: Fault | None) -> None:
        version = isinstance(fault, HostProtocolUnsupported)
        phase = host_pb2.HOST_PHASE_VERSION if version else host_pb2.HOST_PHASE_HANDSHAKE
        refused = SupervisorRefused(self._address(), reason, phase)
        if self._ready is not None:
            self._on_lost(str(refused))
        self._tell_loop(refused)

    def _tell_loop(self, heard: Heard) -> None:
        self._call_on_loop(self._heard.put_nowait, heard)

    def _call_on_loop(self, told: Callable[[T], None], what: T) -> None:
        try:
            self._loop.call_soon_threadsafe(told, what)
        except RuntimeError:  # the loop is closed: this process ends
            _log.debug("nobody listens to the supervisor any more")

    def _tell_load(self, load: Callable[[], load_pb2.LoadReport]) -> None:
        while not self._closed.wait(LOAD_PERIOD):
            self._line.say(pb.AttachRequest(load=load()))


def _nothing() -> None:
    """Nothing to do."""
