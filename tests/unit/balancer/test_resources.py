from typing import Any

import pytest
from google.protobuf.message import Message

from forgemesh.api.xds.v3 import (
    client_side_weighted_round_robin_pb2 as load_pb,
    cluster_pb2,
    endpoint_pb2,
    http_connection_manager_pb2 as manager_pb,
    http_protocol_options_pb2 as http_pb,
    least_request_pb2 as least_pb,
    listener_pb2,
    ring_hash_pb2 as hash_pb,
    round_robin_pb2 as turns_pb,
    router_pb2,
    wrr_locality_pb2 as weights_pb,
)
from forgemesh.balancer.codec import resources
from forgemesh.balancer.domain.discovery import KINDS
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.policy import PluginPolicy, Policy
from forgemesh.routing.slow_start import SlowStart
from forgemesh.routing.snapshot import Revision, Snapshot

NAMES = {name: kind.value for name, kind in KINDS.items()}
KNOWN = {
    one.DESCRIPTOR.full_name: one
    for one in (
        turns_pb.RoundRobin,
        least_pb.LeastRequest,
        hash_pb.RingHash,
        weights_pb.WrrLocality,
        load_pb.ClientSideWeightedRoundRobin,
    )
}


def endpoint(instance_id: str, port: int = 7001, **facts: Any) -> Endpoint:
    given: dict[str, Any] = {"address": f"127.0.0.1:{port}", "incarnation": 1, "health": Health.SERVING}
    return Endpoint(instance_id=instance_id, plugin_version="1.0.0", **(given | facts))


def snapshot(*endpoints: Endpoint, **policy: Any) -> Snapshot:
    return Snapshot("weather.stats", Revision(1, 1), PluginPolicy(**policy), endpoints)


def assignment(of: Snapshot, now: float = 0.0) -> endpoint_pb2.ClusterLoadAssignment:
    return endpoint_pb2.ClusterLoadAssignment.FromString(resources.endpoints(of, now))


def who(of: Snapshot, now: float = 0.0) -> dict[str, tuple[int, int]]:
    """Weight and priority by instance."""
    found = assignment(of, now).endpoints
    return {one.locality.sub_zone: (one.load_balancing_weight.value, one.priority) for one in found}


def policies(cluster: cluster_pb2.Cluster) -> list[Message]:
    found: list[Message] = []
    for one in cluster.load_balancing_policy.policies:
        packed = one.typed_extension_config.typed_config
        message = KNOWN[packed.TypeName()]()
        assert packed.Unpack(message)
        found.append(message)
    return found


def cluster(pick: Policy, *, envoy: bool = False, **policy: Any) -> cluster_pb2.Cluster:
    encoded = resources.cluster("weather.stats", PluginPolicy(pick=pick, **policy), envoy=envoy)
    return cluster_pb2.Cluster.FromString(encoded)


def test_messages_are_called_what_clients_call_them() -> None:
    messages = (cluster_pb2.Cluster, endpoint_pb2.ClusterLoadAssignment, listener_pb2.Listener)

    assert sorted(KINDS) == sorted(f"type.googleapis.com/{one.DESCRIPTOR.full_name}" for one in messages)


def test_a_target_leads_to_its_plugin_for_all_calls_and_by_the_execution() -> None:
    found = listener_pb2.Listener.FromString(resources.listener("weather.stats"))
    manager = manager_pb.HttpConnectionManager()
    assert found.api_listener.api_listener.Unpack(manager)
    (host,) = manager.route_config.virtual_hosts
    (route,) = host.routes

    assert found.name == "weather.stats"
    assert list(host.domains) == ["*"]
    assert route.match.HasField("prefix")
    assert route.route.cluster == "weather.stats"
    assert [one.header.header_name for one in route.route.hash_policy] == [resources.AFFINITY_HEADER]
    assert manager.http_filters[-1].typed_config.Is(router_pb2.Router.DESCRIPTOR)


@pytest.mark.parametrize(
    ("pick", "kinds"),
    [
        (Policy.ROUND_ROBIN, ["RoundRobin"]),
        (Policy.WEIGHTED_ROUND_ROBIN, ["WrrLocality"]),
        (Policy.RANDOM, ["WrrLocality"]),
        (Policy.LEAST_CONNECTIONS, ["LeastRequest", "WrrLocality"]),
        (Policy.RESOURCE_BASED, ["ClientSideWeightedRoundRobin", "RoundRobin"]),
        (Policy.CONSISTENT_HASH, ["RingHash"]),
    ],
)
def test_every_policy_has_its_counterpart_and_one_that_all_clients_know(pick: Policy, kinds: list[str]) -> None:
    found = policies(cluster(pick))

    assert [one.DESCRIPTOR.name for one in found] == kinds
    for one in found:
        if isinstance(one, weights_pb.WrrLocality):
            (inner,) = one.endpoint_picking_policy.policies
            assert inner.typed_extension_config.typed_config.Is(turns_pb.RoundRobin.DESCRIPTOR)


def test_no_policy_is_forgotten() -> None:
    assert all(policies(cluster(pick, envoy=envoy)) for pick in Policy for envoy in (False, True))


def test_turns_heed_weights_while_instances_grow_into_their_share() -> None:
    (found,) = policies(cluster(Policy.ROUND_ROBIN, slow_start=SlowStart(window=30.0)))

    assert isinstance(found, weights_pb.WrrLocality)


def test_envoy_is_told_to_speak_http_2_and_gets_no_places_with_turns_inside() -> None:
    found = cluster(Policy.WEIGHTED_ROUND_ROBIN, envoy=True)
    options = http_pb.HttpProtocolOptions()
    assert found.typed_extension_protocol_options[options.DESCRIPTOR.full_name].Unpack(options)

    assert options.explicit_http_config.HasField("http2_protocol_options")
    assert [one.DESCRIPTOR.name for one in policies(found)] == ["RoundRobin"]


def test_clients_limit_nothing_and_count_everything() -> None:
    found = cluster(Policy.ROUND_ROBIN)
    (limits,) = found.circuit_breakers.thresholds

    assert limits.max_requests.value == limits.max_connections.value == resources.UNLIMITED
    assert found.lrs_server.HasField("self")


OUT = {
    "not serving": {"health": Health.NOT_SERVING},
    "unreachable": {"health": Health.UNREACHABLE},
    "not checked": {"health": Health.UNCHECKED},
    "draining": {"admission": Admission.DRAINING},
    "taken out": {"admission": Admission.OUT},
    "in a crash loop": {"admission": Admission.CRASH_LOOP},
    "open": {"circuit": CircuitView(CircuitState.OPEN)},
    "on trial": {"circuit": CircuitView(CircuitState.HALF_OPEN)},
    "forced open": {"circuit": CircuitView(CircuitState.FORCED_OPEN)},
    "ejected": {"ejected": True},
}


@pytest.mark.parametrize("facts", OUT.values(), ids=list(OUT))
def test_whoever_may_not_be_called_is_not_there(facts: dict[str, Any]) -> None:
    assert list(who(snapshot(endpoint("a"), endpoint("b", 7002, **facts)))) == ["a"]


@pytest.mark.parametrize("state", [CircuitState.CLOSED, CircuitState.FORCED_CLOSED, CircuitState.METRICS_ONLY])
def test_whoever_may_be_called_is_there(state: CircuitState) -> None:
    assert list(who(snapshot(endpoint("a", circuit=CircuitView(state))))) == ["a"]


def test_in_a_panic_outliers_are_there_and_nobody_else() -> None:
    members = [endpoint("a", 1, ejected=True), endpoint("b", 2, ejected=True), endpoint("c", 3)]
    sick = endpoint("d", 4, health=Health.NOT_SERVING)

    assert list(who(snapshot(*members, sick, panic_threshold=0.5))) == ["a", "b", "c"]


def test_an_instance_is_named_by_its_place_with_incarnation_and_generation() -> None:
    one = endpoint("a", incarnation=5, circuit=CircuitView(CircuitState.CLOSED, generation=3))
    (found,) = assignment(snapshot(one)).endpoints

    place, address = found.locality, found.lb_endpoints[0].endpoint.address.socket_address
    assert (place.region, place.zone, place.sub_zone) == (resources.REGION, "5.3", "a")
    assert (address.address, address.port_value) == ("127.0.0.1", 7001)


def test_of_a_plugin_that_nobody_knows_there_is_an_empty_set() -> None:
    found = assignment(Snapshot.nothing("nobody"))

    assert (found.cluster_name, len(found.endpoints)) == ("nobody", 0)


def test_java_is_told_of_somebody_who_does_not_exist_where_there_is_nobody() -> None:
    some = resources.endpoints(snapshot(endpoint("a")), 0.0)
    none = resources.endpoints(snapshot(endpoint("a", health=Health.NOT_SERVING)), 0.0)

    assert resources.for_java("weather.stats", some) == some
    (place,) = endpoint_pb2.ClusterLoadAssignment.FromString(resources.for_java("weather.stats", none)).endpoints
    assert place.lb_endpoints[0].endpoint.address.socket_address.address == resources.NOBODY


def test_tiers_are_counted_without_gaps() -> None:
    members = [endpoint("a", 1, tier=9), endpoint("b", 2, tier=4), endpoint("c", 3, tier=9)]

    assert {name: tier for name, (_, tier) in who(snapshot(*members)).items()} == {"a": 1, "b": 0, "c": 1}


def test_a_tier_that_cannot_be_called_leaves_no_gap() -> None:
    members = [endpoint("a", 1, tier=0, health=Health.NOT_SERVING), endpoint("b", 2, tier=1)]

    assert who(snapshot(*members)) == {"b": (100, 0)}


def test_weights_count_where_the_policy_heeds_them_and_without_weight_there_is_no_traffic() -> None:
    members = [endpoint("a", 1, weight=3), endpoint("b", 2, weight=1), endpoint("c", 3, weight=0)]

    assert who(snapshot(*members, pick=Policy.WEIGHTED_ROUND_ROBIN)) == {"a": (300, 0), "b": (100, 0)}
    assert who(snapshot(*members)) == {"a": (100, 0), "b": (100, 0), "c": (100, 0)}


def test_weights_that_clients_could_not_add_up_are_made_smaller() -> None:
    members = [endpoint(str(number), 7000 + number, weight=2**31) for number in range(8)]

    weights = [weight for weight, _ in who(snapshot(*members, pick=Policy.WEIGHTED_ROUND_ROBIN)).values()]

    assert sum(weights) <= resources.HEAVIEST
    assert len(set(weights)) == 1


def test_a_new_instance_grows_into_its_share() -> None:
    rule = SlowStart(window=60.0)
    members = [endpoint("a", 1, warming_since=0.0), endpoint("b", 2)]

    growing = [who(snapshot(*members, slow_start=rule), now)["a"][0] for now in (1.0, 30.0, 30.4, 60.0)]

    assert growing == [10, 50, 50, 100]


def test_of_two_at_one_address_the_later_one_is_there() -> None:
    assert list(who(snapshot(endpoint("a", incarnation=8), endpoint("b", incarnation=7)))) == ["a"]


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("10.0.0.7:80", ("10.0.0.7", 80)),
        ("[::1]:7001", ("::1", 7001)),
        ("localhost:7001", ("127.0.0.1", 7001)),
        ("example.internal:7001", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1", None),
        ("[fe80::1%eth0]:7001", None),
        ("unix:/tmp/x", None),
        ("", None),
    ],
)
def test_addresses_are_numbers(address: str, taken: tuple[str, int] | None) -> None:
    one = snapshot(endpoint("a", address=address))
    found = assignment(one).endpoints
    places = [place.lb_endpoints[0].endpoint.address.socket_address for place in found]

    assert [(place.address, place.port_value) for place in places] == ([] if taken is None else [taken])
    assert [missing.instance_id for missing in resources.unreachable(one)] == (["a"] if taken is None else [])


def test_the_same_snapshot_gives_the_same_bytes() -> None:
    members = [endpoint("a", 1), endpoint("b", 2)]

    assert resources.endpoints(snapshot(*members), 0.0) == resources.endpoints(snapshot(*reversed(members)), 9.0)
