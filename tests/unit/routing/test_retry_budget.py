import pytest

from forgemesh.routing.retry_budget import RetryBudget, allows


@pytest.mark.parametrize(
    ("calls", "retries", "allowed"),
    [
        (0, 0, True),
        (0, 2, True),
        (0, 3, False),
        (15, 3, False),
        (20, 3, True),
        (20, 4, False),
        (24, 4, False),
        (100, 19, True),
        (100, 20, False),
    ],
)
def test_a_fifth_of_the_calls_under_way_may_be_retries_and_always_three(
    calls: int, retries: int, allowed: bool
) -> None:
    assert allows(RetryBudget(), calls, retries) is allowed


def test_a_budget_of_nothing_allows_nothing() -> None:
    assert not allows(RetryBudget(share=0.0, least=0), calls=1000, retries=0)
