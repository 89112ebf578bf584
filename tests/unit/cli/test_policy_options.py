import pytest

from forgemesh.balancer.domain.policies import CIRCUIT, OUTLIERS, RETRY_BUDGET, SLOW_START
from forgemesh.cli.policy_options import in_options


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("policy.circuit.max_open_seconds", "--max-open"),
        ("policy.slow_start.window_seconds", "--slow-start"),
        ("policy.retry_budget.least", "--retry-least"),
        ("policy.panic_threshold", "--panic"),
        ("policy.operations[render].slow_call_seconds", "--slow"),
        ("policy.operations[render].hedge_after_seconds", "--hedge-after"),
        ("policy.operations[a b]", "policy.operations[a b]"),
        ("author.actor", "author.actor"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_by_the_option_that_was_typed(field: str, option: str) -> None:
    assert in_options(field) == option


def test_every_number_that_may_be_wrong_has_an_option() -> None:
    groups = {"circuit": CIRCUIT, "outliers": OUTLIERS, "slow_start": SLOW_START, "retry_budget": RETRY_BUDGET}

    fields = [f"policy.{group}.{name}" for group, bounds in groups.items() for name in bounds]

    assert [field for field in fields if not in_options(field).startswith("--")] == []
