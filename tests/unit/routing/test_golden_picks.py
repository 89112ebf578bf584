"""The picks that pickers in all languages are held to."""

import json
from typing import Any

import pytest

from forgemesh.routing.eligibility import Exclusion
from forgemesh.routing.pick import NoPickReason
from forgemesh.routing.policy import Policy
from tests.golden.generate import PICKS, text
from tests.golden.vectors import replay

VECTORS = json.loads(PICKS.read_text(encoding="utf-8"))
RESULTS = ("picks", "excluded")


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_picks_are_the_golden_ones(case: dict[str, Any]) -> None:
    draws = iter([draw for stage in case["stages"] for draw in stage.get("draws", ())])

    given = [result for _, result in replay(case["stages"], draws.__next__)]

    assert given == [{name: stage[name] for name in RESULTS if name in stage} for stage in case["stages"]]
    assert list(draws) == []


def test_the_file_is_what_its_script_writes() -> None:
    assert PICKS.read_text(encoding="utf-8") == text(), "see docs/routing.md, Golden vectors"


def test_every_policy_refusal_and_exclusion_occurs() -> None:
    written = PICKS.read_text(encoding="utf-8")

    assert [policy for policy in Policy if f'"pick": "{policy.name}"' not in written] == [Policy.ROUND_ROBIN]
    assert [reason for reason in NoPickReason if f'"refused": "{reason.value}"' not in written] == []
    assert [exclusion for exclusion in Exclusion if f': "{exclusion.name}"' not in written] == []
