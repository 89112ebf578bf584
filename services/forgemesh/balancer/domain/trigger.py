"""What somebody who starts instances asks about, and what one instance of that can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from semantic_version import Version

from forgemesh.routing.scaling import DEFAULT_CAPACITY


@dataclass(frozen=True, slots=True)
class Trigger:
    """Calls of a plugin, of one version or, if that is empty, of all; `target` as in ScaleRule."""

    plugin_id: str
    version: str
    target: float

    def __str__(self) -> str:
        return f"{self.plugin_id}@{self.version}" if self.version else self.plugin_id

    def capacity(self, published: Mapping[str, int], running: Collection[str]) -> int | None:
        """
        How many calls an instance runs at a time, by its manifest; None if there is nothing of that kind.

        `published` are the capacities of published versions, 0 for one that does not say; `running` are the versions of
        the instances that there are. Where the version is not named, that of the newest that runs counts, and if none
        does, the newest that is published, a prerelease only if there is nothing else.
        """
        if self.version:
            known = self.version in published or self.version in running
            return (published.get(self.version) or DEFAULT_CAPACITY) if known else None
        newest = max(running or published, key=_precedence, default=None)
        return None if newest is None else published.get(newest) or DEFAULT_CAPACITY


def _precedence(text: str) -> tuple[bool, Version]:
    version = Version(text)
    return not version.prerelease, version
