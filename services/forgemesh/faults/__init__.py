"""Every refusal of the mesh, grouped by area; no transport, no framework."""

from forgemesh.faults import control, plugin, registry, routing, schedule, service, supervisor, tracing, workflow
from forgemesh.faults.fault import Code, Fault, ForeignFault, Violation, code_of, reason_of

__all__ = [
    "Code",
    "Fault",
    "ForeignFault",
    "Violation",
    "code_of",
    "control",
    "plugin",
    "reason_of",
    "registry",
    "routing",
    "schedule",
    "service",
    "supervisor",
    "tracing",
    "workflow",
]
