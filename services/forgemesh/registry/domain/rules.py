"""What operators say about versions: which are out of use, and which alone may be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from forgemesh.registry.domain.manifest import Key


@dataclass(frozen=True, slots=True)
class Rules:
    """`quarantined` says why, by plugin id and version; `pins` are ranges of versions, by plugin id."""

    quarantined: Mapping[Key, str] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)

    def with_quarantine(self, key: Key, reason: str | None) -> Rules:
        """The version out of use for a reason or, if that is None, back in use."""
        others = {one: said for one, said in self.quarantined.items() if one != key}
        return replace(self, quarantined=others if reason is None else {**others, key: reason})

    def with_pin(self, plugin_id: str, version_range: str) -> Rules:
        """The plugin held to a range or, if that is empty, let go."""
        others = {one: held for one, held in self.pins.items() if one != plugin_id}
        return replace(self, pins={**others, plugin_id: version_range} if version_range else others)
