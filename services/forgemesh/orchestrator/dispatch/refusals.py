"""Refusals by which a host says that an operation did not begin."""

from __future__ import annotations

from forgemesh.faults import plugin

NOTHING_RAN = frozenset(
    fault.reason
    for fault in (
        *(plugin.InstanceDraining, plugin.WrongIncarnation, plugin.PermitRefused, plugin.OperationNotFound),
        *(plugin.InstanceFull, plugin.QueueTooLong, plugin.InputInvalid, plugin.InstanceReserved, plugin.Poison),
    )
)
"""Refusals by which a host says, as the protocol defines it, that the operation did not begin. Nothing else says so."""
