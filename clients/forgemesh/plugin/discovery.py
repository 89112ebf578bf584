"""Plugins that installed distributions announce, found without importing any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "forgemesh.plugins"
"""The group of entry points, e.g. in pyproject.toml: [project.entry-points."forgemesh.plugins"]."""
ENTRY = "entry"
"""What stands in front of an entry point's name where a plugin is named: "entry:words"."""


@dataclass(frozen=True, slots=True, order=True)
class DiscoveredPlugin:
    """An entry point; `target` is the "module:attribute" behind it, `distribution` the one that announces it."""

    name: str
    target: str
    distribution: str
    distribution_version: str

    @property
    def load(self) -> str:
        """What a host takes to load it."""
        return f"{ENTRY}:{self.name}"


def discovered() -> list[DiscoveredPlugin]:
    """Every plugin that is announced in this environment, by name; nothing is imported."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - a tenth of a process's start, and few ask

    return sorted(_described(point) for point in entry_points(group=GROUP))


def target_of(name: str) -> str:
    """
    The "module:attribute" behind the entry point of this name.

    Raises LookupError, with what there is instead, if there is none, or if several distributions announce the name.
    """
    found = [plugin for plugin in discovered() if plugin.name == name]
    targets = {plugin.target for plugin in found}
    if len(targets) > 1:
        who = ", ".join(sorted(f"{plugin.distribution} {plugin.distribution_version}" for plugin in found))
        raise LookupError(f"several distributions announce {name!r} in {GROUP}: {who}; uninstall all but one")
    if not targets:
        known = ", ".join(plugin.name for plugin in discovered()) or "none"
        raise LookupError(f"no entry point {name!r} in the group {GROUP}; announced here: {known}")
    return targets.pop()


def _described(point: EntryPoint) -> DiscoveredPlugin:
    distribution = point.dist
    named = (distribution.name, distribution.version) if distribution is not None else ("", "")
    return DiscoveredPlugin(point.name, point.value, *named)
