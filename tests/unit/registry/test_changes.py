import pytest
from hypothesis import given, strategies as st

from forgemesh.faults.registry import RevisionCompacted
from forgemesh.registry.domain.changes import ChangeLog, Gone, GoneReason
from forgemesh.registry.domain.instance import Revision


def log_of(count: int, *, start: int = 0, limit: int = 10) -> ChangeLog:
    log = ChangeLog(epoch=7, revision=start, limit=limit)
    for revision in range(start + 1, start + count + 1):
        log.append(Gone(revision, "stats-1", 1, GoneReason.EXPIRED))
    return log


@given(st.integers(0, 30), st.integers(0, 5), st.integers(1, 12))
def test_a_watch_goes_on_with_every_change_it_missed_or_is_told_to_start_over(
    count: int, start: int, limit: int
) -> None:
    log = log_of(count, start=start, limit=limit)
    newest = start + count
    for seen in range(newest + 3):
        if max(start, newest - limit) <= seen <= newest:
            revisions = [change.revision for change in log.after(Revision(7, seen))]

            assert revisions == list(range(seen + 1, newest + 1))
        else:
            with pytest.raises(RevisionCompacted):
                log.after(Revision(7, seen))


def test_another_history_cannot_be_gone_on_with() -> None:
    with pytest.raises(RevisionCompacted):
        log_of(3).after(Revision(8, 3))
