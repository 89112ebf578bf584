"""What an answer of grpc.health.v1 says beside the status, in its initial metadata: who answers, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from grpc_health.v1 import health

INSTANCE, PLUGIN = "forgemesh-instance", "forgemesh-plugin"
"""Keys under which a plugin host says who it is."""
REASON = "forgemesh-reason-bin"
"""Key under which a process that is not ready says why, in UTF-8."""

_LONGEST = 1024
"""Bytes of a reason; the metadata of an answer has 8 KiB for everything."""

Facts: TypeAlias = tuple[tuple[str, str | bytes], ...]


def facts_of(who: Mapping[str, str], reason: str) -> Facts:
    """The metadata of an answer."""
    told: Facts = tuple(who.items())
    return (*told, (REASON, reason.encode()[:_LONGEST])) if reason else told


def told_in(metadata: Any) -> dict[str, str]:
    """What the metadata of an answer says, of whoever it comes; a reason that is no UTF-8 is made readable."""
    found = {str(key): value for key, value in metadata or () if str(key).startswith("forgemesh-")}
    return {key: value.decode(errors="replace") if isinstance(value, bytes) else value for key, value in found.items()}


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]  # it has no types
    """grpc.health.v1 on an event loop; each answer carries what `facts` says at that moment."""

    def __init__(self, facts: Callable[[], Facts]) -> None:
        super().__init__()
        self._facts = facts

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - named by the proto
        """The status of one name."""
        await context.send_initial_metadata(self._facts())
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """The status of one name, now and whenever it changes."""
        await context.send_initial_metadata(self._facts())
        await super().Watch(request, context)
