"""Faults of a supervisor: what it could not start, stop or change."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults.fault import Code, Fault, Violation


class PluginNotConfigured(Fault):
    code = Code.NOT_FOUND
    reason = "PLUGIN_NOT_CONFIGURED"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        listed = ", ".join(known)
        super().__init__(
            f"the supervisor runs no plugin {name!r}; it runs: {listed}; the names are those of the tables "
            "[plugins.<name>] in forgemesh.toml",
            {"name": name, "known": listed},
        )


class HostNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "HOST_NOT_FOUND"

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"the supervisor runs no host {instance_id!r}; see `forgemesh status`", {"instance_id": instance_id}
        )


class DependentsLive(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "DEPENDENTS_LIVE"

    def __init__(self, name: str, dependents: Sequence[str]) -> None:
        listed = ", ".join(dependents)
        super().__init__(
            f"{name!r} is needed by plugins that run: {listed}; stop them first, or with it: "
            f"forgemesh plugin unload {name} --cascade",
            {"name": name, "dependents": listed},
        )


class HandshakeRefused(Fault):
    code = Code.PERMISSION_DENIED
    reason = "HANDSHAKE_REFUSED"

    def __init__(self, instance_id: str, cause: str) -> None:
        super().__init__(
            f"the process that called back as {instance_id!r} is not accepted: {cause}",
            {"instance_id": instance_id, "cause": cause},
        )


class HostProtocolUnsupported(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "HOST_PROTOCOL_UNSUPPORTED"

    def __init__(self, instance_id: str, ours: tuple[int, int], theirs: tuple[int, int]) -> None:
        spoken, offered = f"{ours[0]}..{ours[1]}", f"{theirs[0]}..{theirs[1]}"
        super().__init__(
            f"the supervisor speaks protocols {spoken} with hosts, {instance_id!r} speaks {offered}; bring the older "
            "side up to date",
            {"instance_id": instance_id, "supervisor": spoken, "host": offered},
        )


class LoadFailed(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "LOAD_FAILED"

    def __init__(self, name: str, phase: str, cause: str, stopped: Sequence[str]) -> None:
        listed = ", ".join(stopped)
        super().__init__(
            f"plugin {name!r} does not start, phase {phase}: {cause}; stopped again: {listed or 'nothing'}; its log: "
            f"forgemesh plugin logs {name}",
            {"name": name, "phase": phase, "cause": cause, "stopped": listed},
        )


class LoadsFull(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "LOADS_FULL"

    def __init__(self, loads: int) -> None:
        super().__init__(
            f"the supervisor has {loads} loads under way, as many as it may, also those that nobody waits for any more;"
            " see with `forgemesh plugin list` what does not come up, and `forgemesh plugin unload` it",
            {"loads": str(loads)},
        )


class ReloadFailed(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "RELOAD_FAILED"

    def __init__(self, name: str, phase: str, cause: str, *, what: str = "", remains: str = "") -> None:
        what = what or f"the new process of plugin {name!r} does not come up"
        remains = remains or "the old one goes on"
        super().__init__(
            f"{what}, phase {phase}: {cause}; {remains}; its log: forgemesh plugin logs {name}",
            {"name": name, "phase": phase, "cause": cause},
        )


class ConfigInvalid(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "CONFIG_INVALID"

    def __init__(self, name: str, violations: Sequence[Violation]) -> None:
        listed = "; ".join(f"{v.field}: {v.message}" for v in violations)
        super().__init__(
            f"the configuration does not fit plugin {name!r}: {listed}",
            {"name": name, "violations": listed},
            violations=violations,
        )


class ConfigRejected(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "CONFIG_REJECTED"

    def __init__(self, name: str, instance_id: str, cause: str) -> None:
        super().__init__(
            f"plugin {name!r} refused the configuration at {instance_id!r}: {cause}; the one before it counts on all "
            "its hosts",
            {"name": name, "instance_id": instance_id, "cause": cause},
        )


class ScaleOutOfBounds(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "SCALE_OUT_OF_BOUNDS"

    def __init__(self, name: str, wanted: int, least: int, most: int) -> None:
        super().__init__(
            f"plugin {name!r} runs {least} to {most} instances, not {wanted}; change its section in forgemesh.toml",
            {"name": name, "wanted": str(wanted), "least": str(least), "most": str(most)},
        )
