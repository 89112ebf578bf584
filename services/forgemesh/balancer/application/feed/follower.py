"""Somebody who is told what becomes of plugins, whatever he makes of it."""

from __future__ import annotations

from typing import Protocol

from forgemesh.routing.snapshot import Snapshot


class Follower(Protocol):
    """Takes what it is offered and returns at once; what it does not want, it lets pass."""

    def follows(self, plugin_id: str) -> bool:
        """Whether it wants to hear of the plugin."""

    def offer(self, snapshot: Snapshot) -> None:
        """There is a newer state of a plugin."""

    def offer_loads(self, plugin_id: str) -> None:
        """The load of a plugin's instances has changed."""

    def close(self) -> None:
        """There will be nothing more."""
