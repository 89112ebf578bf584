"""What the balancer's health checks say of instances, as far as the registry was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from forgemesh.registry.application.event_publisher import EventPublisher
from forgemesh.registry.domain.event import Kind
from forgemesh.registry.domain.instance import Registration


class Verdict(NamedTuple):
    """What a balancer says of one instance at one incarnation."""

    instance_id: str
    incarnation: int
    available: bool
    reason: str


@dataclass(slots=True)
class Availability:
    """Not durable: a balancer says everything again when it finds a registry that was started anew."""

    events: EventPublisher
    _epoch: int = 0
    _known: dict[str, Verdict] = field(default_factory=dict)

    def of(self, registration: Registration) -> Verdict | None:
        """What was said last of this incarnation; None if nothing was."""
        verdict = self._known.get(registration.instance.instance_id)
        return verdict if verdict is not None and verdict.incarnation == registration.incarnation else None

    def report(self, epoch: int, registered: Sequence[tuple[Registration, Verdict]]) -> None:
        """Take what has changed, and tell each edge once; a balancer that was replaced is not heard."""
        if epoch < self._epoch:
            return
        self._epoch = epoch
        for registration, verdict in registered:
            if verdict.incarnation != registration.incarnation:
                continue
            before = self.of(registration)
            self._known[verdict.instance_id] = verdict
            if before is None or before.available is not verdict.available:
                self._tell(registration, verdict)

    def forget(self, instance_id: str) -> None:
        """It is registered no more."""
        self._known.pop(instance_id, None)

    def _tell(self, registration: Registration, verdict: Verdict) -> None:
        if verdict.available:
            self.events.about(Kind.AVAILABLE, registration, f"instance {verdict.instance_id} serves")
        else:
            why = f": {verdict.reason}" if verdict.reason else ""
            self.events.about(Kind.UNAVAILABLE, registration, f"instance {verdict.instance_id} does not serve{why}")
