import base64

import pytest
from hypothesis import given, strategies as st

from forgemesh.chassis.pages import key_before, size_of, token_after
from forgemesh.chassis.violations import Violations
from forgemesh.faults.service import InvalidRequest

DEEP = base64.urlsafe_b64encode(b"[" * 10_000).decode()


@pytest.mark.parametrize(("asked", "given_size"), [(0, 100), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)])
def test_a_page_has_the_size_that_was_asked_for_within_bounds(asked: int, given_size: int) -> None:
    assert size_of(asked) == given_size


def test_a_list_may_have_another_usual_size() -> None:
    assert size_of(0, usual=50) == 50


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="page_size"):
        size_of(-1)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_token_leads_to_the_key_that_it_was_made_of(key: list[str]) -> None:
    assert key_before(token_after(*key), len(key)) == tuple(key)


def test_the_first_page_has_no_key_before_it() -> None:
    assert key_before("", 2) is None


@pytest.mark.parametrize("token", ["x", "====", "bnVsbA==", "WzEsMl0=", token_after("only one"), "ä", "[]", DEEP])
def test_a_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        key_before(token, 2)


def test_violations_are_told_together() -> None:
    violations = Violations()
    violations.unless(True, "a", "never told")
    violations.unless(False, "b", "is wrong")
    violations.unless(False, "c", "is wrong too")

    with pytest.raises(InvalidRequest) as refused:
        violations.refuse()

    assert [violation.field for violation in refused.value.violations] == ["b", "c"]


def test_without_violations_nothing_is_refused() -> None:
    Violations().refuse()
