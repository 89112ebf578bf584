from hypothesis import given, strategies as st

from forgemesh.plugin_host.supervisor.hosts.blame import MOST_SUSPECTS, Blame

A, B, C = (bytes([letter]) * 16 for letter in b"abc")


def known(blame: Blame, at: float = 0.0) -> dict[bytes, tuple[bool, bool]]:
    """Of each suspect whether it runs alone, and whether it is poison."""
    return {one.key: (blame.is_alone(one), blame.is_poison(one)) for one in blame.suspects(at)}


def test_crashes_in_which_one_call_ran_count_once_against_the_plugin() -> None:
    blame = Blame(3, 600.0)

    assert [blame.crashed({A}, "", at) for at in (0.0, 1.0, 2.0)] == [True, False, False]


def test_crashes_of_other_calls_and_of_none_count_each() -> None:
    blame = Blame(3, 600.0)

    assert [blame.crashed(running, "", 0.0) for running in ({A}, {B}, set[bytes](), set[bytes]())] == [True] * 4


def test_a_call_runs_alone_when_the_next_crash_would_be_its_last_and_is_poison_after_that() -> None:
    blame = Blame(3, 600.0)
    steps = []
    for _ in range(3):
        blame.crashed({A}, "exit code 3", 0.0)
        steps.append(known(blame)[A])

    assert steps == [(False, False), (True, False), (True, True)]
    assert next(blame.suspects(0.0)).last_words == "exit code 3"


def test_a_call_that_only_stood_beside_it_is_never_poison() -> None:
    blame = Blame(3, 600.0)
    for _ in range(10):
        blame.crashed({A, B}, "", 0.0)

    assert known(blame) == {A: (True, False), B: (True, False)}


def test_suspicion_is_forgotten_in_time_and_when_somebody_has_mended_something() -> None:
    blame = Blame(3, 600.0)
    blame.crashed({A}, "", 0.0)
    blame.crashed({B}, "", 500.0)

    assert set(known(blame, 600.0)) == {B}
    assert blame.crashed({A}, "", 600.0), "what is forgotten counts anew"
    blame.forgive()
    assert known(blame, 600.0) == {}


def test_where_no_call_is_poison_every_crash_counts() -> None:
    blame = Blame(0, 600.0)

    assert [blame.crashed({A}, "", 0.0) for _ in range(5)] == [True] * 5
    assert known(blame) == {A: (False, False)}


def test_where_one_crash_is_enough_it_has_to_be_one_of_that_call_alone() -> None:
    blame = Blame(1, 600.0)
    blame.crashed({A, B}, "", 0.0)
    blame.crashed({C}, "", 0.0)

    assert known(blame) == {A: (True, False), B: (True, False), C: (True, True)}


@given(st.lists(st.sets(st.integers(0, 2_000), max_size=40), max_size=40))
def test_what_is_remembered_is_bounded(crashes: list[set[int]]) -> None:
    blame = Blame(3, 600.0)
    for running in crashes:
        blame.crashed({number.to_bytes(16) for number in running}, "", 0.0)

    assert len(known(blame)) <= MOST_SUSPECTS
