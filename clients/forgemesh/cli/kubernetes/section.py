"""What a section of forgemesh.toml says about pods of its plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from forgemesh.cli.kubernetes.workload import Limits
from forgemesh.notation.duration import seconds_of
from forgemesh.plugin.size import bytes_of

MOST_PODS = 1000

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_PODS)]
_Duration = str | int | float


class _Limits(msgspec.Struct, frozen=True, kw_only=True):
    memory: str | int | None = None
    cpu: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None
    open_files: Annotated[int, msgspec.Meta(ge=16, le=2**30)] | None = None


class _Scale(msgspec.Struct, frozen=True, kw_only=True):
    target: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.7
    tolerance: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    up_after: _Duration = 0
    down_after: _Duration = "5m"


class DeployedSection(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that mean something for pods, as they are written; the supervisor's own are left alone."""

    instances: _Count = 1
    environment: dict[str, str] = {}
    inherit: list[str] = []
    config: dict[str, Any] = {}
    limits: _Limits = _Limits()
    min_instances: _Count | None = None
    max_instances: _Count | None = None
    scale: _Scale = _Scale()
    start_timeout: _Duration = "30s"
    grace: _Duration | None = None
    exclusive: bool = False
    lazy: bool = False
    idle_stop: _Duration | None = None
    owner_key_file: str | None = None


def deployed_section(table: Mapping[str, Any]) -> DeployedSection:
    """The section; raises ValueError that names the key which is wrong."""
    section = msgspec.convert(table, DeployedSection)
    for key, value in durations_of(section).items():
        if value is not None and value != 0:
            try:
                seconds_of(value)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
    limits_of(section, Limits())
    return section


def durations_of(section: DeployedSection) -> dict[str, _Duration | None]:
    """Its lengths of time, by key."""
    return {
        "start_timeout": section.start_timeout,
        "grace": section.grace,
        "idle_stop": section.idle_stop,
        "scale.up_after": section.scale.up_after,
        "scale.down_after": section.scale.down_after,
    }


def limits_of(section: DeployedSection, own: Limits) -> Limits:
    """The section's limits, else the plugin's own; raises ValueError for what is no amount of memory."""
    said = section.limits
    try:
        memory = bytes_of(said.memory) if said.memory is not None else own.memory_bytes
    except ValueError as error:
        raise ValueError(f"limits.memory: {error}") from error
    return Limits(
        memory_bytes=memory,
        cpu_millis=max(1, round(said.cpu * 1000)) if said.cpu is not None else own.cpu_millis,
        open_files=said.open_files if said.open_files is not None else own.open_files,
    )


def length_of(written: _Duration) -> float:
    """Seconds of a length of time that may be none at all."""
    return 0.0 if written == 0 else seconds_of(written)
