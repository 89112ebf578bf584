"""
Tests without a mesh: workflows over plugins that a test plays, in a time that skips; plugins in a real process.
"""

from forgemesh.testing.environment import WorkflowEnvironment
from forgemesh.testing.outcome import Call, Event, Failure, Outcome, Step
from forgemesh.testing.plugin_process import Answer, PluginProcess, run_plugin
from forgemesh.testing.problem import (
    PluginDidNotStart,
    PluginEnded,
    Refused,
    Stuck,
    Unscripted,
    WorkflowEnvironmentError,
)
from forgemesh.testing.script import Script, fails

__all__ = [
    "Answer",
    "Call",
    "Event",
    "Failure",
    "Outcome",
    "PluginDidNotStart",
    "PluginEnded",
    "PluginProcess",
    "Refused",
    "Script",
    "Step",
    "Stuck",
    "Unscripted",
    "WorkflowEnvironment",
    "WorkflowEnvironmentError",
    "fails",
    "run_plugin",
]
