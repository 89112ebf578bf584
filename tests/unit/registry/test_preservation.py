from hypothesis import given, strategies as st

from forgemesh.registry.domain.preservation import LEAST, SHARE, WINDOW, Preservation

NAMES = [f"i-{number}" for number in range(100)]


def test_a_few_leases_may_always_run_out_together() -> None:
    assert Preservation().judged(NAMES[:4], leases=4, now=1.0)[1] == NAMES[:4]


def test_of_too_many_only_a_share_is_let_go_in_the_order_in_which_they_ran_out() -> None:
    preservation, gone = Preservation().judged(NAMES[:40], leases=100, now=1.0)
    assert gone == NAMES[:15]

    assert preservation.judged(NAMES[15:40], leases=85, now=WINDOW)[1] == []
    assert len(preservation.judged(NAMES[15:40], leases=85, now=1.0 + WINDOW)[1]) == 12


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 40)), max_size=20))
def test_within_any_window_no_more_than_the_share_is_let_go(waves: list[tuple[int, float]]) -> None:
    preservation, now, leases, gone_at = Preservation(), 0.0, 100, list[float]()
    for expired, wait in waves:
        now += wait
        preservation, gone = preservation.judged(NAMES[: min(expired, leases)], leases, now)
        gone_at += [now] * len(gone)
        recent = sum(moment > now - WINDOW for moment in gone_at)
        leases -= len(gone)
        assert recent <= max(LEAST - 1, SHARE * (leases + recent))
