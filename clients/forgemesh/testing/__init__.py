"""
Tests without a mesh: workflows over plugins that a test plays, in a time that skips; plugins in a real process.
"""

from forgemesh.testing.outcome import Call, Event, Failure, Outcome, Step
from forgemesh.testing.plugin_process import Answer, PluginProcess, run_plugin
from forgemesh.testing.problem import (
    PluginDidNotStart,
    PluginEnded,
    Refused,
    RehearsalError,
    Stuck,
    Unscripted,
)
from forgemesh.testing.rehearsal import Rehearsal
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
    "Rehearsal",
    "RehearsalError",
    "Script",
    "Step",
    "Stuck",
    "Unscripted",
    "fails",
    "run_plugin",
]
