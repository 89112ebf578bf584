"""How callers from outside get in."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import descriptor_pool

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2, schedule_service_pb2
from tests.component.k8s.manifests import Manifests, name_of

LOADED = (orchestrator_service_pb2, schedule_service_pb2)


def route_problems(manifests: Manifests) -> Iterator[str]:
    """Routes to Services that are not there, of gRPC services that the code does not have."""
    for route in manifests.of("GRPCRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                if manifests.behind(f"{backend['name']}:{backend['port']}") is None:
                    yield f"{name_of(route)}: {backend['name']}:{backend['port']} is no port of a Service"
            for match in rule.get("matches", ()):
                service = match.get("method", {}).get("service", "")
                if not _is_served(service):
                    yield f"{name_of(route)}: there is no gRPC service {service}"


def _is_served(service: str) -> bool:
    try:
        descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return False
    return bool(LOADED)
