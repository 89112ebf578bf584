"""Faults of the registry: the catalogue, instances and their leases."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults.fault import Code, Fault


class InstanceOwnedByOther(Fault):
    code = Code.ALREADY_EXISTS
    reason = "INSTANCE_OWNED_BY_OTHER"

    def __init__(self, instance_id: str, *, address: str, incarnation: int, renewals: int) -> None:
        super().__init__(
            f"instance {instance_id!r} is registered by another process, at {address}; stop that one, or take another"
            " instance id: FORGEMESH_HOST_INSTANCE_ID, or --instance-id",
            {
                "instance_id": instance_id,
                "address": address,
                "incarnation": str(incarnation),
                "renewals": str(renewals),
            },
        )


class LeaseNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "LEASE_NOT_FOUND"

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"instance {instance_id!r} holds no lease; register it again", {"instance_id": instance_id})


class StaleIncarnation(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "STALE_INCARNATION"

    def __init__(self, instance_id: str, incarnation: int, current: int) -> None:
        super().__init__(
            f"instance {instance_id!r} is at incarnation {current}, not {incarnation}; register it again",
            {"instance_id": instance_id, "incarnation": str(incarnation), "current": str(current)},
        )


class TooManyInstances(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_INSTANCES"

    def __init__(self, holder: str, limit: int, setting: str) -> None:
        super().__init__(
            f"{holder} has {limit} instances registered, and that is as many as there may be; stop some of them, see"
            f" `forgemesh plugin hosts`, or raise {setting} under [registry]",
            {"holder": holder, "limit": str(limit), "setting": setting},
            retry_after=5.0,
        )


class PluginNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "PLUGIN_NOT_FOUND"

    def __init__(self, plugin_id: str) -> None:
        super().__init__(
            f"no plugin {plugin_id!r} was ever published; see `forgemesh plugin list`", {"plugin_id": plugin_id}
        )


class PluginOwnedByOther(Fault):
    code = Code.PERMISSION_DENIED
    reason = "PLUGIN_OWNED_BY_OTHER"

    def __init__(self, plugin_id: str, *, shown: bool) -> None:
        lack = "the key that was shown is another one" if shown else "no key was shown"
        super().__init__(
            f"plugin {plugin_id!r} has an owner, and {lack}; serve and publish it with its owner's key: owner_key_file"
            " of the host, or --owner-key-file",
            {"plugin_id": plugin_id, "shown": str(shown).lower()},
        )


class ManifestConflict(Fault):
    code = Code.ALREADY_EXISTS
    reason = "MANIFEST_CONFLICT"

    def __init__(self, plugin_id: str, version: str) -> None:
        super().__init__(
            f"plugin {plugin_id!r} was published as {version} with another manifest; raise its version;"
            " `forgemesh plugin check` shows what differs",
            {"plugin_id": plugin_id, "version": version},
        )


class RevisionCompacted(Fault):
    code = Code.OUT_OF_RANGE
    reason = "REVISION_COMPACTED"

    def __init__(self, epoch: int, revision: int) -> None:
        super().__init__(
            f"changes after revision {revision} of epoch {epoch} are gone; watch again from the start",
            {"epoch": str(epoch), "revision": str(revision)},
        )


class DependencyMissing(Fault):
    code = Code.NOT_FOUND
    reason = "DEPENDENCY_MISSING"

    def __init__(self, target: str, path: Sequence[str]) -> None:
        way = _shortened(path, " -> ")
        super().__init__(
            f"{target} is needed and was never published: {way}; serve a plugin that provides it",
            {"target": target, "path": way},
        )


class VersionConflict(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "VERSION_CONFLICT"

    def __init__(self, target: str, wishes: Sequence[str], published: Sequence[str], way_out: str = "") -> None:
        wanted, known = _shortened(wishes, ", "), _shortened(published, ", ", room=300)
        super().__init__(
            f"no published version of {target} suits everyone who needs it: {wanted}; published: {known}; "
            f"{way_out or 'ask for other versions, or publish one that fits'}",
            {"target": target, "wishes": wanted, "published": known} | ({"way_out": way_out} if way_out else {}),
        )


class DependencyCycle(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "DEPENDENCY_CYCLE"

    def __init__(self, path: Sequence[str]) -> None:
        way = _shortened(path, " -> ")
        super().__init__(
            f"plugins need one another in a circle: {way}; make one of these dependencies optional or take it out",
            {"path": way},
        )


class InterfaceNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "INTERFACE_NOT_FOUND"

    def __init__(self, interface: str) -> None:
        super().__init__(
            f"no plugin that provides {interface} was ever published; see `forgemesh plugin list`",
            {"interface": interface},
        )


class NoProviderAvailable(Fault):
    code = Code.UNAVAILABLE
    reason = "NO_PROVIDER_AVAILABLE"

    def __init__(self, target: str, cause: str) -> None:
        super().__init__(
            f"nothing that provides {target} is available: {cause}",
            {"target": target, "cause": cause},
            retry_after=1.0,
        )


def _shortened(parts: Sequence[str], joiner: str, *, room: int = 500) -> str:
    """The parts in one line; of too many of them those in the middle are only counted, for what travels is bounded."""
    whole = joiner.join(parts)
    if len(whole) <= room:
        return whole
    ends, left = 0, room
    while 2 * ends + 2 < len(parts) and left - len(parts[ends]) - len(parts[-1 - ends]) - 2 * len(joiner) > 20:
        left -= len(parts[ends]) + len(parts[-1 - ends]) + 2 * len(joiner)
        ends += 1
    head, tail = parts[:ends], parts[len(parts) - ends :]
    return joiner.join((*head, f"({len(parts) - 2 * ends} more)", *tail))
