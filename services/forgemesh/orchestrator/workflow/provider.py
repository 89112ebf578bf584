"""Who fulfils an interface, and who of them is preferred for a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from forgemesh.notation.version_range import wanted_by, wanted_of_interface
from forgemesh.orchestrator.workflow.definition import START_TO_CLOSE, Published, Target


class OperationFacts(msgspec.Struct, frozen=True):
    """
    What a manifest says about an operation; None is unsaid, `timeout` is in seconds, `input_schema` JSON Schema or
    nothing.
    """

    idempotent: bool | None = None
    timeout: float | None = None
    input_schema: str = ""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One published plugin version that fulfils an interface, in one version of that."""

    plugin_id: str
    plugin_version: str
    interface_version: str
    operations: Mapping[str, OperationFacts]
    metadata: Mapping[str, str] = {}
    priority: int = 0


class Choice(msgspec.Struct, frozen=True):
    """A plugin in the versions in which it may take a call."""

    plugin_id: str
    versions: frozenset[str]


def fits(version: str, version_range: str) -> bool:
    """Whether a plugin version lies in a range; every one does in an empty range."""
    return wanted_by(version_range)(version)


def fulfils(provider: Provider, version_range: str) -> bool:
    """Whether it fulfils its interface in a version in range; a bare version is compatible with later ones."""
    return wanted_of_interface(version_range)(provider.interface_version)


def eligible(providers: Iterable[Provider], target: Target) -> list[Provider]:
    """Those that have the operation, fulfil the interface in a version in range, and have every fact in `must`."""
    return [
        one
        for one in providers
        if target.operation in one.operations
        and fulfils(one, target.version_range)
        and all(one.metadata.get(name) == value for name, value in target.must.items())
    ]


def ranked(providers: Iterable[Provider], target: Target) -> tuple[tuple[Choice, ...], ...]:
    """
    The eligible providers in tiers, the most preferred first: by how many of the facts in `prefer` they have, then by
    the priority in their manifest. Those of one tier are as good as one another.
    """
    tiers: dict[tuple[int, int], dict[str, set[str]]] = {}
    for one in eligible(providers, target):
        score = sum(one.metadata.get(name) == value for name, value in target.prefer.items())
        tier = tiers.setdefault((-score, -one.priority), {})
        tier.setdefault(one.plugin_id, set()).add(one.plugin_version)
    return tuple(_choices(tiers[place]) for place in sorted(tiers))


def _choices(tier: Mapping[str, set[str]]) -> tuple[Choice, ...]:
    return tuple(Choice(plugin_id, frozenset(tier[plugin_id])) for plugin_id in sorted(tier))


def careful(facts: Sequence[OperationFacts]) -> Published:
    """
    What counts of what several versions say: not idempotent if one says so, idempotent only if all do, and the longest
    timeout, where one that says nothing takes the usual one.
    """
    said = [one.idempotent for one in facts]
    idempotent = False if False in said else True if said and all(said) else None
    if all(one.timeout is None for one in facts):
        return Published(idempotent)
    return Published(idempotent, max(one.timeout or START_TO_CLOSE for one in facts))
