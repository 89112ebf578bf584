"""Who owns which plugin, as a value."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from forgemesh.faults.registry import PluginOwnedByOther


@dataclass(frozen=True, slots=True)
class Owners:
    """By plugin id the digest of its owner's key; a plugin that is not in it is everybody's."""

    digests: Mapping[str, bytes] = field(default_factory=dict)

    def refuse_others(self, plugin_id: str, shown: bytes) -> None:
        """Raise PluginOwnedByOther unless nobody owns the plugin, or whoever shows this digest; empty is none."""
        owner = self.digests.get(plugin_id)
        if owner is not None and not hmac.compare_digest(owner, shown):
            raise PluginOwnedByOther(plugin_id, shown=bool(shown))

    def claimed(self, plugin_id: str, shown: bytes) -> Owners:
        """What is true once who shows this has published the plugin; raises PluginOwnedByOther."""
        self.refuse_others(plugin_id, shown)
        if not shown or plugin_id in self.digests:
            return self
        return replace(self, digests={**self.digests, plugin_id: shown})
