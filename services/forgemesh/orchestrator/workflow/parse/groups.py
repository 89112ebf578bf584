"""The parts of a group: how its branches are joined, and which variables they set."""

from __future__ import annotations

import re

from forgemesh.language.json_value import shown
from forgemesh.notation.duration import LONGEST_NUMBER
from forgemesh.orchestrator.workflow.definition import Join, Sequence, branches_of
from forgemesh.orchestrator.workflow.parse.fields import Fields

MAX_QUORUM = 100_000
"""As many items as a map runs over."""
MODES = ("all", "all_settled", "any")
SHARE = re.compile(r"([0-9]{1,2}(?:\.[0-9]+)?|100)%")


def read_join(group: Fields, branches: int | None) -> Join:
    """`branches` is None for a map: how many there will be is not known yet."""
    mode, quorum = _mode(group)
    tolerate = _tolerate(group)
    if mode == "quorum" and group.has("tolerate"):
        group.mistakes.add(
            (*group.place, "tolerate"), "a quorum says already how many must succeed; leave `tolerate` out"
        )
    if branches is not None and quorum > max(branches, 1):
        group.mistakes.add((*group.place, "join"), f"a quorum of {quorum} cannot be reached by {branches} branches")
    return Join(mode=mode, quorum=quorum, tolerate=tolerate)  # type: ignore[arg-type]


def _mode(group: Fields) -> tuple[str, int]:
    given = group.tree.get("join")
    if isinstance(given, dict):
        quorum = group.mapping("join")
        assert quorum is not None
        number = quorum.whole("quorum", 1, low=1, high=MAX_QUORUM)
        if not quorum.has("quorum"):
            quorum.mistakes.add(quorum.place, "a join is all, all_settled, any or {quorum: n}")
        quorum.finish()
        return "quorum", number
    mode = group.choice("join", MODES, "all")
    return ("quorum", 1) if mode == "any" else (mode, 0)


def _tolerate(group: Fields) -> str:
    given = group.take("tolerate")
    if given is None:
        return "0"
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= MAX_QUORUM:
        return str(given)
    if isinstance(given, str) and len(given) <= LONGEST_NUMBER and SHARE.fullmatch(given):
        return given
    group.mistakes.add(
        (*group.place, "tolerate"), f"{shown(given, 60)} is neither a number of branches nor a share such as 20%"
    )
    return "0"


def variables_set(steps: Sequence) -> set[str]:
    """Variables that the steps set for what comes after them; those of a map's iterations stay inside."""
    found = {name for step in steps for name, _ in step.sets}
    for step in steps:
        if not step.keeps_variables:
            found |= {name for branch in branches_of(step) for name in variables_set(branch.steps)}
    return found
