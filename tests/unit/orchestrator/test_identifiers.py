from ulid import ULID

from forgemesh.orchestrator.execution.engine.run_ids import new_run_id, new_ulid
from forgemesh.orchestrator.values.identifiers import is_run_id


def test_what_is_made_up_is_a_ulid_in_lower_case() -> None:
    before, made, after = ULID(), new_ulid(), ULID()

    assert (made, len(made)) == (made.lower(), 26)
    assert before.milliseconds <= ULID.from_str(made.upper()).milliseconds <= after.milliseconds
    assert str(ULID.from_str(made.upper())).lower() == made


def test_no_two_are_equal_and_all_are_runs() -> None:
    made = [new_run_id() for _ in range(10_000)]

    assert len(set(made)) == len(made)
    assert all(is_run_id(one) for one in made)


def test_what_an_older_execution_got_is_a_run() -> None:
    assert is_run_id(f"{42:026d}")
    assert not any(is_run_id(text) for text in ("", "42", "0" * 25, "0" * 27, "A" * 26, "x" * 25 + "~"))
