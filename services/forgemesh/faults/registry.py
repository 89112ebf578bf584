"""Faults of the registry: the catalogue, instances and their leases."""

from __future__ import annotations

from forgemesh.faults.fault import Code, Fault


class InstanceOwnedByOther(Fault):
    code = Code.ALREADY_EXISTS
    reason = "INSTANCE_OWNED_BY_OTHER"

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"instance {instance_id!r} is registered by another process; stop that one or take another instance id",
            {"instance_id": instance_id},
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


class PluginNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "PLUGIN_NOT_FOUND"

    def __init__(self, plugin_id: str) -> None:
        super().__init__(
            f"no plugin {plugin_id!r} was ever published; see `forgemesh plugin list`", {"plugin_id": plugin_id}
        )


class ManifestConflict(Fault):
    code = Code.ALREADY_EXISTS
    reason = "MANIFEST_CONFLICT"

    def __init__(self, plugin_id: str, version: str) -> None:
        super().__init__(
            f"plugin {plugin_id!r} was published as {version} with another manifest; raise its version",
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
