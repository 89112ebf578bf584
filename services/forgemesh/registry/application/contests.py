"""Notices that several processes register in turns as one instance."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.registry.application.event_publisher import EventPublisher
from forgemesh.registry.domain.event import Kind
from forgemesh.registry.domain.instance import Registration
from forgemesh.registry.ports import Clock

_log = logging.getLogger(__name__)

COMEBACK = 4.0
"""Lease times within which a process that was replaced comes back, if two take turns: it renews thrice in one."""
AGAIN = 60.0
"""Seconds until the same contest is told again."""
_REMEMBERED = 8

Who: TypeAlias = tuple[str, str, str]
"""Address, process id and machine; the latter two are empty for a process that does not say them."""


@dataclass(frozen=True, slots=True)
class _Replaced:
    who: Who
    at: float


class Contests:
    """
    Told of every registration. A process that is started anew, under whatever address, contests nothing; one that was
    replaced by another while its lease was valid, and comes back, does: both live.
    """

    def __init__(self, events: EventPublisher, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._replaced: dict[str, deque[_Replaced]] = {}
        self._told: dict[str, float] = {}

    def registered(self, before: Registration | None, after: Registration) -> None:
        """`before` is the registration whose lease was valid until now, if there was one."""
        if before is None or _who(before) == _who(after):
            return
        now, instance_id = self._clock.monotonic(), after.instance.instance_id
        replaced = self._replaced.setdefault(instance_id, deque(maxlen=_REMEMBERED))
        lasting = COMEBACK * max(before.ttl, after.ttl)
        back = any(one.who == _who(after) and now - one.at <= lasting for one in replaced)
        replaced.append(_Replaced(_who(before), now))
        if back and now - self._told.get(instance_id, -AGAIN) >= AGAIN:
            self._told[instance_id] = now
            self._tell(before, after)

    def forget(self, instance_id: str) -> None:
        """The instance is registered no more."""
        self._replaced.pop(instance_id, None)
        self._told.pop(instance_id, None)

    def _tell(self, before: Registration, after: Registration) -> None:
        one, other = _shown(before), _shown(after)
        said = (
            f"two processes register in turns as instance {after.instance.instance_id}: {one}, and {other}; stop one of"
            " them, or give it an instance id of its own"
        )
        _log.warning("%s", said)
        self._events.about(Kind.CONTESTED, after, said, one=one, other=other)


def _who(registration: Registration) -> Who:
    labels = dict(registration.instance.labels)
    return registration.instance.address, labels.get("pid", ""), labels.get("host", "")


def _shown(registration: Registration) -> str:
    address, pid, host = _who(registration)
    process = f"pid {pid}{f' on {host}' if host else ''}" if pid else "a process"
    return f"{process} at {address}"
