import pytest

from forgemesh.api.balancer.v1.snapshot_pb2 import Endpoint, Health
from forgemesh.api.registry.v1.instance_pb2 import Instance, InstanceState
from forgemesh.api.supervisor.v1.host_pb2 import Host, HostState
from forgemesh.cli.plugin_state import hosts_of, plugin_state, serving_state

CALM = Instance(state=InstanceState.INSTANCE_STATE_ACTIVE)
READY = Host(state=HostState.HOST_STATE_READY)


def test_a_plugin_whose_instances_are_all_well_is_ok() -> None:
    assert plugin_state([CALM], [READY]) == ("ok", "")


@pytest.mark.parametrize(
    ("instance", "host", "said"),
    [
        (CALM, Host(state=HostState.HOST_STATE_DEGRADED, missing=["x", "y"]), ("degraded", "misses x, y")),
        (CALM, Host(state=HostState.HOST_STATE_CRASH_LOOP, reason="exit code 1"), ("crash loop", "exit code 1")),
        (Instance(suspect=True), READY, ("suspect", "")),
        (
            Instance(state=InstanceState.INSTANCE_STATE_QUARANTINED, state_reason="loses orders"),
            Host(state=HostState.HOST_STATE_DEGRADED, reason="slow"),
            ("quarantined", "loses orders"),
        ),
    ],
)
def test_the_worst_is_said_with_its_reason(instance: Instance, host: Host, said: tuple[str, str]) -> None:
    assert plugin_state([CALM, instance], [READY, host]) == said


@pytest.mark.parametrize("state", HostState.values())
def test_every_state_of_a_host_has_its_place(state: HostState.ValueType) -> None:
    plugin_state([], [Host(state=state)])


@pytest.mark.parametrize("state", InstanceState.values())
def test_every_state_of_an_instance_has_its_place(state: InstanceState.ValueType) -> None:
    plugin_state([Instance(state=state)], [])


def test_only_processes_of_that_very_version_count() -> None:
    old, new = Host(plugin_id="a", plugin_version="1"), Host(plugin_id="a", plugin_version="2")

    assert hosts_of("a", "2", [old, new]) == [new]


ONE, OTHER = Instance(instance_id="p-1"), Instance(instance_id="p-2")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([Endpoint(instance_id="p-1", health=Health.HEALTH_SERVING)], ("ok", "")),
        ([], ("not checked", "")),
        ([Endpoint(instance_id="p-1", health=Health.HEALTH_UNREACHABLE)], ("unreachable", "")),
        (
            [
                Endpoint(instance_id="p-1", health=Health.HEALTH_UNREACHABLE),
                Endpoint(instance_id="p-2", health=Health.HEALTH_NOT_SERVING, health_reason="no license"),
            ],
            ("not serving", "no license"),
        ),
    ],
)
def test_a_plugin_of_which_no_instance_serves_is_not_ok(seen: list[Endpoint], said: tuple[str, str]) -> None:
    assert serving_state([ONE, OTHER], {one.instance_id: one for one in seen}) == said


def test_a_plugin_without_an_instance_is_not_served() -> None:
    assert serving_state([], {}) == ("not served", "")
