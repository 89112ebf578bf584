"""Where a call may be made again: a guarantee belongs to the version that gave it."""

from __future__ import annotations

from forgemesh.orchestrator.dispatch.doubt import Doubt
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.fate import is_in_doubt


def doubts_after(doubts: tuple[Doubt, ...], fact: e.AttemptFailed) -> tuple[Doubt, ...]:
    """Those of a step once one more attempt has failed."""
    if fact.dispatch is None or not is_in_doubt(fact):
        return doubts
    doubt = Doubt(fact.dispatch.plugin_id, fact.dispatch.plugin_version)
    return doubts if doubt in doubts else (*doubts, doubt)
