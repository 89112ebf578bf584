"""What a stock client is told of a plugin: a snapshot as xDS resources, and nothing else goes into it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from forgemesh.api.xds.v3 import (
    client_side_weighted_round_robin_pb2 as load_pb,
    cluster_pb2 as cluster_pb,
    core_pb2 as core_pb,
    endpoint_pb2 as endpoint_pb,
    http_connection_manager_pb2 as manager_pb,
    http_protocol_options_pb2 as http_pb,
    least_request_pb2 as least_pb,
    listener_pb2 as listener_pb,
    ring_hash_pb2 as hash_pb,
    round_robin_pb2 as turns_pb,
    route_pb2 as route_pb,
    router_pb2 as router_pb,
    wrr_locality_pb2 as weights_pb,
)
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.policy import PluginPolicy, Policy
from forgemesh.routing.snapshot import Snapshot

AFFINITY_HEADER = "x-execution-id"
"""Calls with the same value go to the same instance under a consistent hash."""
REGION = "forgemesh"
UNLIMITED = 2**32 - 1
PARTS = 100
"""What a whole weight is worth, so that a part of it is a whole number during a slow start."""
HEAVIEST = 2**31
"""What the weights of a plugin's instances are together at most: clients add them up in 32 bits."""
CONNECT_SECONDS = 5
REPORT_SECONDS = 1

ENVOY, JAVA = "envoy", "gRPC Java"
"""What these clients call themselves."""
NOBODY = "255.255.255.255"
"""An address at which nobody listens, and that fails at once."""


@lru_cache(maxsize=8192)
def listener(plugin_id: str) -> bytes:
    """Where `xds:///<plugin id>` leads: always to the plugin's cluster, whether there is such a plugin or not."""
    route = route_pb.Route(match=route_pb.RouteMatch(prefix=""), route=route_pb.RouteAction(cluster=plugin_id))
    route.route.hash_policy.add().header.header_name = AFFINITY_HEADER
    host = route_pb.VirtualHost(name=plugin_id, domains=["*"], routes=[route])
    manager = manager_pb.HttpConnectionManager(
        route_config=route_pb.RouteConfiguration(name=plugin_id, virtual_hosts=[host]),
        http_filters=[manager_pb.HttpFilter(name="router", typed_config=_packed(router_pb.Router()))],
    )
    message = listener_pb.Listener(name=plugin_id, api_listener=listener_pb.ApiListener(api_listener=_packed(manager)))
    return _encoded(message)


def cluster(plugin_id: str, policy: PluginPolicy, *, envoy: bool = False) -> bytes:
    """How the plugin's calls are spread; Envoy needs other words for weights, and counts without being asked."""
    return _cluster(plugin_id, policy.pick, policy.slow_start.window > 0, envoy)


def endpoints(snapshot: Snapshot, now: float) -> bytes:
    """
    The instances that anybody may call: no other one is in it, and none whose circuit is half open.

    Each is a place of its own, so that what a client counts by place it counts by instance. Tiers are counted from 0
    without gaps. Clients take addresses in numbers only; what has another one is left out, see `unreachable`. Of two
    instances at one address the one that registered last is there.
    """
    found = {place: one for one in _newest_last(_callable(snapshot)) if (place := _place(one.address)) is not None}
    members = sorted(found.items(), key=lambda item: item[1].instance_id)
    tiers = sorted({one.tier for one in found.values()})
    weights = _weights(snapshot.policy, [one for _, one in members], now)
    message = endpoint_pb.ClusterLoadAssignment(cluster_name=snapshot.plugin_id)
    for (place, one), weight in zip(members, weights, strict=True):
        address = core_pb.SocketAddress(address=place[0], port_value=place[1])
        inner = message.endpoints.add(
            locality=core_pb.Locality(
                region=REGION, zone=f"{one.incarnation}.{one.circuit.generation}", sub_zone=one.instance_id
            ),
            load_balancing_weight=UInt32Value(value=weight),
            priority=tiers.index(one.tier),
        )
        inner.lb_endpoints.add(
            endpoint=endpoint_pb.Endpoint(address=core_pb.Address(socket_address=address)),
            load_balancing_weight=UInt32Value(value=weight),
        )
    return _encoded(message)


def for_java(plugin_id: str, assignment: bytes) -> bytes:
    """
    What grpc-java is told of a plugin's instances. Where a set is empty it keeps those that it had, and goes on calling
    them, so that it gets one instance that does not exist.
    """
    none = endpoint_pb.ClusterLoadAssignment(cluster_name=plugin_id)
    return _nobody(plugin_id) if assignment == _encoded(none) else assignment


@lru_cache(maxsize=8192)
def _nobody(plugin_id: str) -> bytes:
    message = endpoint_pb.ClusterLoadAssignment(cluster_name=plugin_id)
    place = message.endpoints.add(
        locality=core_pb.Locality(region=REGION, sub_zone="nobody"), load_balancing_weight=UInt32Value(value=1)
    )
    address = core_pb.SocketAddress(address=NOBODY, port_value=1)
    place.lb_endpoints.add(endpoint=endpoint_pb.Endpoint(address=core_pb.Address(socket_address=address)))
    return _encoded(message)


def unreachable(snapshot: Snapshot) -> list[Endpoint]:
    """Those that could be called if their address were one that stock clients take."""
    return [one for one in _callable(snapshot) if _place(one.address) is None]


def _callable(snapshot: Snapshot) -> Iterable[Endpoint]:
    if not snapshot.policy.pick.heeds_weight:
        return snapshot.open
    return [one for one in snapshot.open if one.weight > 0]


def _newest_last(members: Iterable[Endpoint]) -> list[Endpoint]:
    return sorted(members, key=lambda one: one.incarnation)


def _place(address: str) -> tuple[str, int] | None:
    """Host and port; None for what clients do not take: they would refuse the whole set for it."""
    host, _, port = address.rpartition(":")
    if host == "localhost":
        host = "127.0.0.1"
    number = int(port) if port.isascii() and port.isdigit() else 0
    if "%" in host or not 0 < number < 2**16:
        return None
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), number
    except ValueError:
        return None


def _weights(policy: PluginPolicy, members: Sequence[Endpoint], now: float) -> list[int]:
    """Whole numbers above 0 that clients can add up."""
    begun = [(one.weight if policy.pick.heeds_weight else 1) * _part(policy, one, now) * PARTS for one in members]
    scale = min(1.0, HEAVIEST / sum(begun)) if begun else 1.0
    return [max(1, int(one * scale)) for one in begun]


def _part(policy: PluginPolicy, one: Endpoint, now: float) -> float:
    """What it has of its weight during a slow start, in steps of a second so that clients are told rarely."""
    if one.warming_since is None or policy.slow_start.window <= 0 or policy.pick.heeds_key:
        return 1.0
    return policy.slow_start.part(float(int(now - one.warming_since)))


@lru_cache(maxsize=8192)
def _cluster(plugin_id: str, pick: Policy, grows: bool, envoy: bool) -> bytes:
    ads = core_pb.ConfigSource(ads=core_pb.AggregatedConfigSource(), resource_api_version=core_pb.V3)
    message = cluster_pb.Cluster(
        name=plugin_id,
        type=cluster_pb.Cluster.EDS,
        eds_cluster_config=cluster_pb.Cluster.EdsClusterConfig(eds_config=ads, service_name=plugin_id),
        connect_timeout=Duration(seconds=CONNECT_SECONDS),
        load_balancing_policy=_spread(_policies(pick, grows, envoy)),
        lrs_server=core_pb.ConfigSource(self=core_pb.SelfConfigSource(), resource_api_version=core_pb.V3),
    )
    unlimited = UInt32Value(value=UNLIMITED)  # a limit here is one of a client over all instances
    message.circuit_breakers.thresholds.add(
        max_connections=unlimited, max_pending_requests=unlimited, max_requests=unlimited
    )
    if envoy:
        message.ClearField("lrs_server")
        options = http_pb.HttpProtocolOptions()
        options.explicit_http_config.http2_protocol_options.SetInParent()
        message.typed_extension_protocol_options[http_pb.HttpProtocolOptions.DESCRIPTOR.full_name].CopyFrom(
            _packed(options)
        )
    return _encoded(message)


def _policies(pick: Policy, grows: bool, envoy: bool) -> list[Message]:
    """By preference: a client takes the first that it knows. The policy goes by what it heeds."""
    turns = turns_pb.RoundRobin()
    weighted: Message = turns
    if not envoy:  # which heeds the weights of endpoints, and takes no places with turns inside
        weighted = weights_pb.WrrLocality(endpoint_picking_policy=_spread([turns]))
    if pick.heeds_reports:
        by_load = load_pb.ClientSideWeightedRoundRobin(
            enable_oob_load_report=BoolValue(value=True), oob_reporting_period=Duration(seconds=REPORT_SECONDS)
        )
        return [by_load, turns]
    if pick.heeds_load:
        return [least_pb.LeastRequest(choice_count=UInt32Value(value=2)), weighted]
    if pick.heeds_key:
        return [hash_pb.RingHash(hash_function=hash_pb.RingHash.XX_HASH)]
    return [weighted if pick.heeds_weight or grows else turns]


def _spread(policies: Iterable[Message]) -> cluster_pb.LoadBalancingPolicy:
    message = cluster_pb.LoadBalancingPolicy()
    for one in policies:
        name = one.DESCRIPTOR.full_name
        message.policies.add(typed_extension_config=core_pb.TypedExtensionConfig(name=name, typed_config=_packed(one)))
    return message


def _packed(message: Message) -> Packed:
    packed = Packed()
    packed.Pack(message, deterministic=True)
    return packed


def _encoded(message: Message) -> bytes:
    """The same bytes for the same content, so that they can be compared."""
    return message.SerializeToString(deterministic=True)
