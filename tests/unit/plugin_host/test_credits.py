from dataclasses import dataclass

from hypothesis import given, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from forgemesh.plugin_host.host.session.credits import CreditPool

SIZE = 12


@dataclass(eq=False)
class Session:
    """A caller that uses its credits at its own pace."""

    held: int = 0
    in_flight: int = 0
    finished: int = 0


def test_the_first_session_gets_the_whole_pool() -> None:
    assert CreditPool(72).grant(held=0, finished=0, others=0, sessions=1) == 72


def test_a_newcomer_gets_its_share_though_the_others_hold_everything() -> None:
    assert CreditPool(72).grant(held=0, finished=0, others=72, sessions=2) == 36


def test_a_session_alone_gets_every_credit_back() -> None:
    assert CreditPool(72).grant(held=72, finished=10, others=0, sessions=1) == 10


def test_a_session_above_its_share_gives_back_until_the_sum_is_the_pool() -> None:
    assert CreditPool(72).grant(held=72, finished=10, others=36, sessions=2) == 0
    assert CreditPool(72).grant(held=46, finished=20, others=36, sessions=2) == 10


def test_a_session_gets_more_when_another_one_leaves() -> None:
    assert CreditPool(72).grant(held=36, finished=0, others=0, sessions=1) == 36


def test_every_session_may_send_something_however_many_there_are() -> None:
    assert CreditPool(2).grant(held=0, finished=0, others=2, sessions=5) == 1


@given(st.integers(1, 500), st.integers(1, 50))
def test_the_shares_together_never_exceed_the_pool_while_each_can_have_one(size: int, sessions: int) -> None:
    assert CreditPool(size).share(sessions) * sessions <= max(size, sessions)


class CreditMachine(RuleBasedStateMachine):
    """Sessions that come and go, send and finish in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = CreditPool(SIZE)
        self.open: list[Session] = []

    sessions = Bundle("sessions")

    def total(self) -> int:
        return sum(session.held for session in self.open)

    def settle(self, session: Session) -> None:
        others = self.total() - session.held
        granted = self.pool.grant(held=session.held, finished=session.finished, others=others, sessions=len(self.open))
        session.held += granted - session.finished
        session.finished = 0

    @rule(target=sessions)
    def comes(self) -> Session:
        session = Session()
        self.open.append(session)
        self.settle(session)
        return session

    @rule(session=consumes(sessions))
    def goes(self, session: Session) -> None:
        self.open.remove(session)
        for other in self.open:
            self.settle(other)

    @rule(session=sessions, calls=st.integers(1, SIZE))
    def sends(self, session: Session, calls: int) -> None:
        session.in_flight += min(calls, session.held - session.in_flight - session.finished)

    @rule(session=sessions, calls=st.integers(1, SIZE))
    def finishes(self, session: Session, calls: int) -> None:
        ended = min(calls, session.in_flight)
        session.in_flight -= ended
        session.finished += ended
        before = self.total()
        self.settle(session)

        assert self.total() <= max(before, SIZE), "work never brings the sum above the pool"

    @rule()
    def all_use_what_they_hold(self) -> None:
        for session in self.open:
            session.finished, session.in_flight = session.held, 0
            self.settle(session)

        assert self.total() <= max(SIZE, len(self.open)), "work brings the sum back to the pool"

    @invariant()
    def nobody_holds_less_than_its_share_or_more_than_the_pool(self) -> None:
        share = self.pool.share(len(self.open))
        for session in self.open:
            assert share <= session.held <= SIZE

    @invariant()
    def nobody_has_more_calls_than_credits(self) -> None:
        for session in self.open:
            assert session.in_flight + session.finished <= session.held


TestCredits = CreditMachine.TestCase
