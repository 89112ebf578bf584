from hypothesis import given, strategies as st

from forgemesh.plugin_host.host.calls.permits import FENCE, REMEMBERED, UsedPermits


def admitted(
    permits: UsedPermits, permit_id: str, incarnation: int = 1, generation: int = 2, at: float = 100.0
) -> bool:
    if permits.refusal(permit_id, incarnation, generation, at):
        return False
    permits.use(permit_id, incarnation, generation, at)
    return True


def test_a_permit_is_good_for_one_call() -> None:
    permits = UsedPermits()

    assert admitted(permits, "p")
    assert permits.refusal("p", 1, 2, 1e9) == "a call was made for it already"
    assert admitted(permits, "q")


def test_asking_uses_nothing_up() -> None:
    permits = UsedPermits()

    assert permits.refusal("p", 1, 2, 100.0) == ""
    assert admitted(permits, "p")


def test_a_newer_generation_shuts_the_older_ones_out() -> None:
    permits = UsedPermits()
    assert admitted(permits, "p", generation=4)

    assert permits.refusal("q", 1, 3, 101.0) == "it is of generation 3 and the circuit is at generation 4 by now"
    assert admitted(permits, "r", generation=6)
    assert not admitted(permits, "s", generation=4)


def test_a_newer_incarnation_counts_its_generations_anew() -> None:
    permits = UsedPermits()
    assert admitted(permits, "p", incarnation=7, generation=9)

    assert admitted(permits, "q", incarnation=8, generation=2)
    assert "incarnation 8" in permits.refusal("r", 7, 10, 101.0)


def test_a_balancer_that_starts_anew_is_not_shut_out_for_ever() -> None:
    permits = UsedPermits()
    assert admitted(permits, "p", generation=9, at=100.0)

    assert not admitted(permits, "q", generation=2, at=100.0 + FENCE - 1)
    assert admitted(permits, "q", generation=2, at=100.0 + FENCE)


def test_a_permit_without_a_name_is_none() -> None:
    assert UsedPermits().refusal("", 1, 2, 100.0) == "it has no name"


def test_what_is_remembered_is_bounded() -> None:
    permits = UsedPermits()
    for number in range(REMEMBERED + 10):
        assert admitted(permits, f"p-{number}")

    assert not admitted(permits, f"p-{REMEMBERED}")
    assert len(permits._used) == REMEMBERED


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2), st.integers(1, 3)), max_size=60))
def test_no_permit_is_admitted_twice_and_no_generation_after_a_newer_one(asked: list[tuple[int, int, int]]) -> None:
    permits, used = UsedPermits(), list[tuple[tuple[int, int], str]]()
    for number, incarnation, generation in asked:
        name = f"{number}-{incarnation}-{generation}"
        if admitted(permits, name, incarnation, generation):
            used.append(((incarnation, generation), name))

    assert len({name for _, name in used}) == len(used)
    assert [position for position, _ in used] == sorted(position for position, _ in used)


def test_a_permit_with_an_endless_name_is_not_kept() -> None:
    permits = UsedPermits()

    assert admitted(permits, "p" * 256)
    assert permits.refusal("p" * 257, 1, 2, 100.0) == "its name has more than 256 characters"
