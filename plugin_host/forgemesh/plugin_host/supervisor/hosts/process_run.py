"""One process of a host, from its start to its end: what it has said, and what it is to do."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from forgemesh.api.plugin.v1 import load_pb2, manifest_pb2
from forgemesh.api.supervisor.v1 import attach_pb2 as pb
from forgemesh.faults.supervisor import HandshakeRefused, HostProtocolUnsupported
from forgemesh.plugin_host.supervisor.hosts.attachment import Attachment
from forgemesh.plugin_host.supervisor.hosts.codec import load_of, manifest_mistake, needs_of, offer_of, phase_of
from forgemesh.plugin_host.supervisor.hosts.host import Phase
from forgemesh.plugin_host.supervisor.hosts.load import Load
from forgemesh.plugin_host.supervisor.hosts.questions import Questions, Unanswered
from forgemesh.plugin_host.supervisor.needs.loading import Need, Offer

_log = logging.getLogger(__name__)

PROTOCOL_MIN, PROTOCOL_MAX = 1, 1
_CUT_OFF = "its line to the supervisor is broken"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a process is ended early, and where."""

    phase: Phase
    reason: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a plugin starts with."""

    config: str
    revision: int
    state: pb.SavedState | None = None


class ProcessRun:
    """
    `called_back`, `go`, `serving`, `broken` and `ending` are set when these things happen, if they do; `leaving` says
    that the host itself has said that it cannot go on, and ends. `silence` counts looks at it since it said something.

    `on_condition` is told that the host does not keep up, or does again (with an empty text).
    """

    def __init__(self, instance_id: str, token: str, on_condition: Callable[[str], None]) -> None:
        self.token = token
        self.called_back = asyncio.Event()
        self.go = asyncio.Event()
        self.serving = asyncio.Event()
        self.broken = asyncio.Event()
        self.ending = asyncio.Event()
        self.manifest: manifest_pb2.Manifest | None = None
        self.offer: Offer | None = None
        self.needs: tuple[Need, ...] = ()
        self.announced = ""
        self.ready = pb.HostReady()
        self.trouble: Trouble | None = None
        self.load: Load | None = None
        self.leaving = False
        self.silence = 0
        self.beginning: Beginning | None = None
        self._instance_id = instance_id
        self._on_condition = on_condition
        self._pid = 0
        self._attachment: Attachment | None = None
        self._initialized = False
        self.questions = Questions(instance_id)
        self._suspects = pb.Suspects()

    @property
    def attached(self) -> bool:
        """Whether its stream is open."""
        return self._attachment is not None

    def attach(self, hello: pb.AttachHello) -> Attachment:
        """The process calls back, or calls again; raises HandshakeRefused and HostProtocolUnsupported."""
        self.check(hello.token)
        if self._pid and hello.pid != self._pid:
            raise HandshakeRefused(self._instance_id, f"its secret is that of process {self._pid}")
        newest = min(PROTOCOL_MAX, hello.protocol_max)
        if newest < max(PROTOCOL_MIN, hello.protocol_min):
            fault = HostProtocolUnsupported(
                self._instance_id, (PROTOCOL_MIN, PROTOCOL_MAX), (hello.protocol_min, hello.protocol_max)
            )
            self.fail(Phase.VERSION, fault.message)
            raise fault
        self._pid = hello.pid
        self.silence = 0
        if self._attachment is not None:
            self._attachment.close()
        attachment = self._attachment = Attachment(self, newest)
        if hello.HasField("manifest"):
            self.introduced(hello.manifest)
        if hello.HasField("ready"):
            self._serve(hello.ready)
        elif self._initialized:
            self._initialize(attachment)
        return attachment

    def check(self, token: str) -> None:
        """Raise HandshakeRefused unless it is the secret that this process was started with."""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise HandshakeRefused(self._instance_id, "its secret is not the one that this process was started with")

    def introduced(self, manifest: manifest_pb2.Manifest) -> None:
        """It says which plugin it serves."""
        mistake = manifest_mistake(manifest)
        if mistake:
            self.fail(Phase.HANDSHAKE, mistake)
            return
        self.manifest, self.offer, self.needs = manifest, offer_of(manifest), needs_of(manifest)
        self.called_back.set()

    def initialize(self, beginning: Beginning) -> None:
        """Let it start its plugin."""
        self.beginning = beginning
        self._initialized = True
        if self._attachment is not None:
            self._initialize(self._attachment)
        self.go.set()

    def suspect(self, suspects: pb.Suspects) -> None:
        """Tell the host which calls ran when processes ended, unless it knows."""
        if self._attachment is not None and suspects != self._suspects:
            self._suspects = suspects
            self._attachment.say(pb.AttachResponse(suspects=suspects))

    def fail(self, phase: Phase, reason: str) -> None:
        """This process cannot go on; what was said first counts."""
        if self.trouble is None:
            self.trouble = Trouble(phase, reason)
        self.broken.set()

    async def configure(self, config: str, revision: int, within: float) -> pb.ConfigureResult:
        """What the plugin says to another configuration, which it has `within` seconds for; raises Unanswered."""
        if self.announced:
            return pb.ConfigureResult(revision=revision, needs_restart=True)

        def say(number: int) -> None:
            asked = pb.Configure(config=config, revision=revision, within=_duration(within), request=number)
            self._say(pb.AttachResponse(configure=asked))

        answer: pb.ConfigureResult = await self.questions.ask("configure", say, 2 * within)
        return answer

    async def save_state(self, within: float) -> pb.SavedState:
        """
        What the plugin leaves for its successor; without payload and failure there is nothing to leave.

        It has `within` seconds for it; raises Unanswered.
        """
        if self.announced:
            return pb.SavedState()

        def say(number: int) -> None:
            self._say(pb.AttachResponse(save_state=pb.SaveState(within=_duration(within), request=number)))

        answer: pb.SavedState = await self.questions.ask("save_state", say, within)
        return answer

    def _say(self, response: pb.AttachResponse) -> None:
        if self._attachment is None:
            raise Unanswered(_CUT_OFF)
        self._attachment.say(response)

    def heard(self, request: pb.AttachRequest) -> None:
        """The host says something."""
        self.silence = 0
        match request.WhichOneof("kind"):
            case "ready":
                self._serve(request.ready)
            case "failed":
                self.leaving = True
                self.fail(phase_of(request.failed.phase), request.failed.reason)
            case "load":
                self._measured(request.load)
            case "condition":
                self._on_condition(request.condition.reason if request.condition.degraded else "")
            case "configured":
                self.questions.answered("configure", request.configured.request, request.configured)
            case "state":
                self.questions.answered("save_state", request.state.request, request.state)

    def detached(self, attachment: Attachment) -> None:
        """The stream is over; the process itself may open another."""
        if self._attachment is attachment:
            self._attachment = None

    def _measured(self, report: load_pb2.LoadReport) -> None:
        """A host whose numbers are none is named, once for as long as that lasts."""
        before, self.load = self.load, load_of(report)
        if self.load.utilization is None and (before is None or before.utilization is not None):
            said = report.application_utilization
            _log.warning(
                "%s says that it is busy to %r, which is no share: its load does not count; mend its load report",
                self._instance_id,
                said,
            )

    def _serve(self, ready: pb.HostReady) -> None:
        if self.manifest is None:
            self.fail(Phase.HANDSHAKE, "it says that it serves, and has not said what")
            return
        self.ready = ready
        self.serving.set()

    def _initialize(self, attachment: Attachment) -> None:
        if self.beginning is not None:
            attachment.say(
                pb.AttachResponse(
                    initialize=pb.Initialize(
                        config=self.beginning.config,
                        config_revision=self.beginning.revision,
                        state=self.beginning.state,
                    )
                )
            )


def _duration(seconds: float) -> Duration:
    found = Duration()
    found.FromMicroseconds(round(seconds * 1e6))
    return found
