"""Where a call may be made again: a guarantee belongs to the version that gave it."""

from __future__ import annotations

from typing import NamedTuple

from forgemesh.orchestrator.domain import events as e
from forgemesh.orchestrator.domain.fate import is_in_doubt


class Doubt(NamedTuple):
    """A call may have had its effect there; `plugin_id` is empty if it is the one that the step names."""

    plugin_id: str
    version: str


def line_of(version: str) -> str:
    """
    Versions of one line know one another's idempotency keys: "1" for 1.4.2, "0.3" for 0.3.1, as `^` has it.

    What is no version is a line of its own.
    """
    major, _, rest = version.partition("-")[0].partition("+")[0].partition(".")
    if not major.isdecimal():
        return version
    return f"0.{rest.partition('.')[0]}" if major == "0" else major


def doubts_after(doubts: tuple[Doubt, ...], fact: e.AttemptFailed) -> tuple[Doubt, ...]:
    """Those of a step once one more attempt has failed."""
    if fact.dispatch is None or not is_in_doubt(fact):
        return doubts
    doubt = Doubt(fact.dispatch.plugin_id, fact.dispatch.plugin_version)
    return doubts if doubt in doubts else (*doubts, doubt)
