import pytest

from forgemesh.chassis.steady_clock import SteadyClock

HOUR = 3_600_000_000_000


class Machine:
    """Its two clocks, which a test moves."""

    def __init__(self) -> None:
        self.wall = 1_764_000_000 * 10**9
        self.passed = 7

    def advance(self, nanoseconds: int) -> None:
        self.wall += nanoseconds
        self.passed += nanoseconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> SteadyClock:
    return SteadyClock(lambda: machine.wall, lambda: machine.passed)


@pytest.mark.parametrize("put", [HOUR, -HOUR, 0])
def test_it_runs_evenly_whatever_is_done_to_the_wall_clock(machine: Machine, clock: SteadyClock, put: int) -> None:
    before = clock.now()

    machine.advance(5)
    machine.wall += put
    machine.advance(5)

    assert clock.now() - before == 10
    assert clock.wall_ahead() == put


def test_it_begins_where_the_wall_clock_stands(machine: Machine, clock: SteadyClock) -> None:
    assert clock.now() == machine.wall
    assert clock.seconds() == pytest.approx(machine.wall / 1e9)


def test_the_real_one_is_near_the_real_wall_clock() -> None:
    assert abs(SteadyClock().wall_ahead()) < 10**9
