import itertools
import math

import pytest

from forgemesh.api.plugin.v1 import load_pb2, manifest_pb2
from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.plugin_host.supervisor.hosts.codec import (
    event_message,
    host_message,
    load_of,
    manifest_mistake,
    needs_of,
    offer_of,
)
from forgemesh.plugin_host.supervisor.hosts.host import Host, State
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import Kind, lifecycle_event_of
from forgemesh.plugin_host.supervisor.needs.loading import Need, OnLoss
from forgemesh.plugin_host.supervisor.plan.restart import RestartRule
from forgemesh.plugin_host.supervisor.processes.ending import ending_of


def dependency(**fields: object) -> manifest_pb2.Dependency:
    return manifest_pb2.Dependency(**fields)  # type: ignore[arg-type]


def manifest(*dependencies: manifest_pb2.Dependency) -> manifest_pb2.Manifest:
    return manifest_pb2.Manifest(
        plugin_id="shop.stock",
        version="2.1.0",
        provides=[manifest_pb2.Interface(name="shop.reservable", version="1.0.0")],
        dependencies=dependencies,
    )


def host(rule: RestartRule | None = None) -> Host:
    return Host(instance_id="stock-1", name="stock", load="stock:Stock", rule=rule or RestartRule())


def test_what_a_manifest_offers_and_needs() -> None:
    found = manifest(
        dependency(plugin_id="shop.till", version_range="^1"),
        dependency(interface_name="shop.clock", optional=True, on_loss=manifest_pb2.ON_LOSS_IGNORE),
        dependency(plugin_id="shop.door", on_loss=manifest_pb2.ON_LOSS_STOP),
    )

    assert offer_of(found).interfaces == (("shop.reservable", "1.0.0"),)
    assert needs_of(found) == (
        Need(name="shop.till", version_range="^1"),
        Need(name="shop.clock", interface=True, optional=True, on_loss=OnLoss.IGNORE),
        Need(name="shop.door", on_loss=OnLoss.STOP),
    )


@pytest.mark.parametrize(
    ("found", "mistake"),
    [
        (manifest(dependency(plugin_id="shop.till", version_range="^1.2")), ""),
        (
            manifest(dependency(plugin_id="shop.till", version_range="soon")),
            "its dependency on shop.till has a bad range",
        ),
        (manifest(dependency(version_range="^1")), "names neither a plugin nor an interface"),
        (manifest_pb2.Manifest(version="1.0.0"), "names no plugin id or no version"),
    ],
)
def test_a_manifest_that_cannot_be_decided_on_is_refused(found: manifest_pb2.Manifest, mistake: str) -> None:
    said = manifest_mistake(found)

    assert mistake in said
    assert bool(said) == bool(mistake)


def test_a_host_is_listed_with_its_history() -> None:
    value = host().started(7, now=1.0).failed("killed by signal 9", ending_of(-9, memory_peak=5), now=2.0, jitter=0.5)

    message = host_message(value)

    assert (message.state, message.pid, message.memory_peak_bytes) == (host_pb2.HOST_STATE_BACKOFF, 0, 5)
    assert [step.state for step in message.history] == [host_pb2.HOST_STATE_STARTING, host_pb2.HOST_STATE_BACKOFF]
    assert (message.history[1].phase, message.history[1].signal) == (host_pb2.HOST_PHASE_HANDSHAKE, 9)
    assert message.history[1].memory_peak_bytes == 5
    assert message.recent_crashes == 1


def test_every_state_has_a_message() -> None:
    names = {state.name for state in State}

    assert names == {name.removeprefix("HOST_STATE_") for name in host_pb2.HostState.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }


def test_every_kind_of_event_has_a_message() -> None:
    for kind in Kind:
        event = lifecycle_event_of(host(), host().started(7, now=1.0))
        assert event is not None
        message = event_message(type(event)(kind=kind, at=1.0, message="it happened"), "supervisor here")
        assert message.source == "supervisor here"


def test_what_others_hear_of_the_life_of_a_host() -> None:
    states = [host()]

    def then(value: Host) -> None:
        states.append(value)

    then(states[-1].started(7, now=1.0))
    then(states[-1].called_back("shop.stock", "2.1.0", now=2.0))
    then(states[-1].initializing(1, now=3.0))
    then(states[-1].ready(now=4.0))
    then(states[-1].lacking(("shop.till",), "", now=5.0))
    then(states[-1].lacking((), "", now=6.0))
    then(states[-1].failed("killed by signal 9", ending_of(-9), now=7.0, jitter=0.5))
    then(states[-1].started(8, now=8.0))
    then(states[-1].draining(now=9.0))
    then(states[-1].stopped("exit code 0", now=10.0))
    heard = [lifecycle_event_of(before, after) for before, after in itertools.pairwise(states)]

    assert [one.kind if one else None for one in heard] == [
        Kind.STARTED,
        None,
        None,
        Kind.READY,
        Kind.DEGRADED,
        Kind.RECOVERED,
        Kind.CRASHED,
        Kind.STARTED,
        None,
        Kind.STOPPED,
    ]
    crashed = heard[6]
    assert crashed is not None
    assert crashed.message == "stock-1: killed by signal 9"
    assert (crashed.facts["phase"], crashed.facts["signal"], crashed.facts["pid"]) == ("SERVING", "9", "7")


def test_others_hear_of_a_crash_loop_and_of_its_reset() -> None:
    started = host(RestartRule(crashes=1)).started(7, now=1.0)
    looping = started.failed("exit code 1", ending_of(1), now=2.0, jitter=0.5)
    reset = looping.reset("it was reset", now=3.0)

    loop, again = lifecycle_event_of(started, looping), lifecycle_event_of(looping, reset)

    assert loop is not None
    assert again is not None
    assert (loop.kind, again.kind) == (Kind.CRASH_LOOP, Kind.RESET)


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf, -0.5, 1e300])
def test_a_load_that_is_no_share_is_not_known(said: float) -> None:
    report = load_pb2.LoadReport(application_utilization=said, named_metrics={"in_flight": 0})

    assert load_of(report).utilization is None
    assert load_of(load_pb2.LoadReport(application_utilization=1.25)).utilization == 1.25


@pytest.mark.parametrize(
    ("said", "busy"), [(0.0, False), (-1.0, False), (2.0, True), (math.nan, True), (math.inf, True)]
)
def test_a_host_that_does_not_say_in_numbers_that_it_is_idle_may_be_busy(said: float, busy: bool) -> None:
    assert load_of(load_pb2.LoadReport(named_metrics={"in_flight": said})).busy is busy
    assert load_of(load_pb2.LoadReport(rps_fractional=said)).busy is busy
