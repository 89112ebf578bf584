"""Requirements and resolutions between the API and the domain."""

from __future__ import annotations

from collections.abc import Iterable

from forgemesh.api.registry.v1 import registry_service_pb2 as pb, resolution_pb2
from forgemesh.registry.domain.manifest import Requirement
from forgemesh.registry.domain.resolution import Dropped, Resolution, Resolved, Wish
from forgemesh.registry.domain.rules import Rules


def from_requirement(message: resolution_pb2.Requirement) -> Requirement:
    """Something that is wanted."""
    return Requirement(message.plugin_id, message.interface_name, message.version_range)


def to_response(resolution: Resolution) -> pb.ResolvePluginsResponse:
    """Plugin versions that belong together."""
    return pb.ResolvePluginsResponse(
        plugins=[_plugin(one) for one in resolution.plugins], dropped=[_dropped(one) for one in resolution.dropped]
    )


def _plugin(resolved: Resolved) -> resolution_pb2.ResolvedPlugin:
    return resolution_pb2.ResolvedPlugin(
        plugin_id=resolved.manifest.plugin_id,
        version=resolved.manifest.version,
        level=resolved.level,
        required_by=[_wish(one) for one in resolved.wishes],
        needs=resolved.needs,
    )


def _wish(wish: Wish) -> resolution_pb2.RequiredBy:
    return resolution_pb2.RequiredBy(
        plugin_id=wish.by.plugin_id if wish.by else "",
        version=wish.by.version if wish.by else "",
        interface_name=wish.requirement.interface,
        version_range=wish.requirement.version_range,
        optional=wish.optional,
    )


def _dropped(dropped: Dropped) -> resolution_pb2.DroppedDependency:
    return resolution_pb2.DroppedDependency(plugin_id=dropped.plugin_id, target=dropped.target, reason=dropped.reason)


def rules_to_messages(rules: Rules, plugin_ids: Iterable[str]) -> list[pb.VersionRule]:
    """What operators have said about these plugins, each once, in their order."""
    found: list[pb.VersionRule] = []
    for plugin_id in dict.fromkeys(plugin_ids):
        if plugin_id in rules.pins:
            found.append(pb.VersionRule(plugin_id=plugin_id, pinned_range=rules.pins[plugin_id]))
        found += (
            pb.VersionRule(plugin_id=plugin_id, quarantined_version=version, reason=reason)
            for (owner, version), reason in sorted(rules.quarantined.items())
            if owner == plugin_id
        )
    return found
