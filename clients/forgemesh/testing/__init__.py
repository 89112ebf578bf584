"""Tests for workflows: the real engine over plugins that a test plays, in a time that skips, without a mesh."""

from forgemesh.testing.outcome import Call, Event, Failure, Outcome, Step
from forgemesh.testing.problem import Refused, RehearsalError, Stuck, Unscripted
from forgemesh.testing.rehearsal import Rehearsal
from forgemesh.testing.script import Script, fails

__all__ = [
    "Call",
    "Event",
    "Failure",
    "Outcome",
    "Refused",
    "Rehearsal",
    "RehearsalError",
    "Script",
    "Step",
    "Stuck",
    "Unscripted",
    "fails",
]
