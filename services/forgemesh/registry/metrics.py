"""What the registry measures of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Labels, Meter
from forgemesh.registry.application.event_publisher import EventPublisher
from forgemesh.registry.application.registry import Registry
from forgemesh.registry.domain.event import Event, Reported


def measure(meter: Meter, registry: Registry, events: EventPublisher) -> None:
    """From now on."""
    kinds = meter.counter(catalogue.REGISTRY_EVENTS)

    def happened(event: Event | Reported) -> None:
        if isinstance(event, Event):  # what supervisors report is counted by themselves
            kinds.add(1, (event.kind.name.lower(),))

    events.on_event.add(happened)
    meter.observe(catalogue.REGISTRATIONS, lambda: _registrations(registry))


def _registrations(registry: Registry) -> Mapping[Labels, float]:
    instances = (one.instance for one in registry.registrations)
    return Counter((instance.plugin_id, instance.state.name.lower()) for instance in instances)
