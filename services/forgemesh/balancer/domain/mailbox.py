"""What one subscriber has not been sent yet."""

from __future__ import annotations

from forgemesh.routing.snapshot import Snapshot


class Mailbox:
    """The newest unsent snapshot of each plugin: a slow subscriber misses states between, and costs no more memory."""

    def __init__(self) -> None:
        self._newest: dict[str, Snapshot] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def put(self, snapshot: Snapshot) -> None:
        """Replace what is unsent of the plugin; it keeps its place in the queue."""
        self._newest[snapshot.plugin_id] = snapshot

    def take(self) -> Snapshot:
        """The snapshot of the plugin that has waited longest; there must be one."""
        return self._newest.pop(next(iter(self._newest)))
