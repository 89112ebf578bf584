"""Why a host does not come up, and how far it came."""

from __future__ import annotations

from typing import TypeAlias

from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.chassis.process import EXIT_OUT_OF_MEMORY, CannotStart

Phase: TypeAlias = host_pb2.HostPhase.ValueType


class StartFailed(CannotStart):
    """Keeps a host from serving; `phase` says where in its start it happened."""

    def __init__(self, phase: Phase, message: str) -> None:
        super().__init__(message)
        self.phase = phase


class PluginNotLoaded(StartFailed):
    """The plugin cannot be imported, checked, made or started."""

    def __init__(
        self,
        plugin: str,
        cause: str,
        phase: Phase = host_pb2.HOST_PHASE_HANDSHAKE,
        *,
        error: BaseException | None = None,
    ) -> None:
        out_of_memory = isinstance(error, MemoryError)
        super().__init__(phase, f"{'OOM: ' if out_of_memory else ''}cannot load plugin {plugin}: {cause}")
        if out_of_memory:
            self.exit_code = EXIT_OUT_OF_MEMORY


class SupervisorRefused(StartFailed):
    """The supervisor cannot be reached, or does not take this process."""

    def __init__(self, address: str, cause: str, phase: Phase = host_pb2.HOST_PHASE_HANDSHAKE) -> None:
        super().__init__(phase, f"the supervisor at {address} does not take this host: {cause}")


def phase_of(error: Exception) -> Phase:
    """Where in the start `error` happened; what has no phase of its own kept the host from serving."""
    return error.phase if isinstance(error, StartFailed) else host_pb2.HOST_PHASE_HEALTH
