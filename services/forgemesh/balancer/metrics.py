"""What the balancer measures of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.domain.events import CircuitChange, Event
from forgemesh.balancer.domain.fleet import MemberState
from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Histogram, Labels, Meter


def measure(meter: Meter, balancer: Balancer, commits: Histogram | None) -> None:
    """From now on; `commits` are those of its database, if it has one."""
    if commits is not None:
        meter.add(commits)
    transitions = meter.counter(catalogue.CIRCUIT_TRANSITIONS)

    def happened(event: Event) -> None:
        if isinstance(event.change, CircuitChange):
            transitions.add(1, (event.plugin_id, event.change.after.state.name.lower()))

    balancer.events.on_event.add(happened)
    meter.observe(catalogue.INSTANCES, lambda: _counted(balancer, lambda one: one.verdict.health.name.lower()))
    meter.observe(catalogue.CIRCUITS, lambda: _counted(balancer, lambda one: one.circuit.state.name.lower()))
    meter.observe(catalogue.INSTANCE_IN_FLIGHT, lambda: _in_flight(balancer))
    meter.observe_one(catalogue.SUBSCRIBERS, lambda: len(balancer.feed.subscriptions))


def _counted(balancer: Balancer, of: Callable[[MemberState], str]) -> Mapping[Labels, float]:
    return Counter((one.member.plugin_id, of(one)) for one in balancer.fleet.standings.values())


def _in_flight(balancer: Balancer) -> Mapping[Labels, float]:
    members = [one.member for one in balancer.fleet.standings.values()]
    count = balancer.callers.in_flight
    return {(one.plugin_id, one.instance_id): count((one.instance_id, one.incarnation)) for one in members}
