"""What the supervisor measures of its hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Labels, Meter
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import LifecycleEvent


def measure(meter: Meter, fleet: Fleet) -> None:
    """From now on."""
    events = meter.counter(catalogue.HOST_EVENTS)

    def happened(event: LifecycleEvent) -> None:
        events.add(1, (event.plugin_id, event.kind.name.lower()))

    fleet.on_event.add(happened)
    meter.observe(catalogue.HOSTS, lambda: _hosts(fleet))


def _hosts(fleet: Fleet) -> Mapping[Labels, float]:
    groups = fleet.groups.values()
    return Counter((group.name, runner.host.state.name.lower()) for group in groups for runner in group.runners)
