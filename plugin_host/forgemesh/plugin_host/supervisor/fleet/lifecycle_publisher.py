"""News about a plugin as a whole."""

from __future__ import annotations

import time
from collections.abc import Mapping

from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import Kind, LifecycleEvent


def publish(fleet: Fleet, group: Group, kind: Kind, message: str, facts: Mapping[str, str] | None = None) -> None:
    """Tell the mesh what happened to a plugin."""
    offer = group.offer
    fleet.report(
        LifecycleEvent(
            kind=kind,
            at=time.time(),
            message=message,
            plugin_id=offer.plugin_id if offer else "",
            plugin_version=offer.version if offer else "",
            facts={"name": group.name, **(facts or {})},
        )
    )
