"""What stock clients say and are told, as messages of xDS."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration

from forgemesh.api.xds.v3 import discovery_service_pb2 as pb, load_report_service_pb2 as load_pb
from forgemesh.balancer.codec.feed import LAST_GENERATION, MOST_CALLS, MOST_IN_FLIGHT
from forgemesh.balancer.codec.resources import REPORT_SECONDS
from forgemesh.balancer.domain.discovery import KINDS, Told, Wanted
from forgemesh.balancer.domain.policies import LONGEST_NAME
from forgemesh.balancer.domain.stock_counts import StockCalls
from forgemesh.routing.outcome import CountKey

_LONGEST_ZONE = 48


def wanted(request: pb.DiscoveryRequest) -> Wanted | None:
    """What a client says; None for a kind of resources that is not served."""
    kind = KINDS.get(request.type_url)
    if kind is None:
        return None
    refusal = ""
    if request.HasField("error_detail"):
        refusal = request.error_detail.message or f"code {request.error_detail.code}"
    return Wanted(kind, request.resource_names, request.response_nonce, refusal)


def told_to_message(told: Told) -> pb.DiscoveryResponse:
    """What a client is told."""
    resources = [Packed(type_url=told.kind.url, value=value) for value in told.resources.values()]
    return pb.DiscoveryResponse(
        version_info=told.version, nonce=told.nonce, type_url=told.kind.url, resources=resources
    )


def counting_to_message() -> load_pb.LoadStatsResponse:
    """What a client is to count."""
    return load_pb.LoadStatsResponse(load_reporting_interval=Duration(seconds=REPORT_SECONDS), send_all_clusters=True)


def counted(request: load_pb.LoadStatsRequest) -> Iterator[tuple[CountKey, StockCalls]]:
    """What a client has counted, without what cannot be and what is not by instance."""
    for plugin in request.cluster_stats:
        for one in plugin.upstream_locality_stats:
            key = _key(plugin.cluster_name, one.locality.sub_zone, one.locality.zone)
            calls = StockCalls(
                started=one.total_issued_requests,
                succeeded=one.total_successful_requests,
                failed=one.total_error_requests,
                in_flight=one.total_requests_in_progress,
            )
            if key is not None and max(calls) <= MOST_CALLS and calls.in_flight <= MOST_IN_FLIGHT:
                yield key, calls


def _key(plugin_id: str, instance_id: str, zone: str) -> CountKey | None:
    """The instance that a place stands for; see resources.endpoints."""
    incarnation, _, generation = zone.partition(".")
    sound = len(zone) <= _LONGEST_ZONE and zone.isascii() and incarnation.isdigit() and generation.isdigit()
    if not sound or not 0 < len(plugin_id) <= LONGEST_NAME or not 0 < len(instance_id) <= LONGEST_NAME:
        return None
    if int(generation) > LAST_GENERATION:
        return None
    return CountKey(plugin_id, instance_id, int(incarnation), int(generation))
