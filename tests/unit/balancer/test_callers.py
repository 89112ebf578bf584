from forgemesh.balancer.application.callers.callers import MEMORY, PATIENCE, Callers
from forgemesh.balancer.domain.caller import Caller, InstanceKey, Told
from forgemesh.routing.outcome import CallCounts, CountKey
from tests.manual_clock import ManualClock

HERE: InstanceKey = ("a", 4)
KEY = CountKey("weather.stats", "a", 4, 1)


def told(succeeded: int = 0, failed: int = 0, *, in_flight: int = 0, key: CountKey = KEY) -> Told:
    return Told(key, CallCounts(started=succeeded + failed, succeeded=succeeded, failed=failed), in_flight)


class Counted:
    """Callers of the instance `a`, and what they were found to have done."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.callers = Callers(self.clock.monotonic)
        self.callers.keep([HERE])
        self.moved: list[InstanceKey] = []
        self.lost: list[Caller] = []
        self.succeeded = self.failed = 0
        self.callers.on_counts = self.count
        self.callers.on_load = self.moved.append
        self.callers.on_lost = self.lost.append

    def count(self, key: CountKey, counts: CallCounts) -> None:
        assert key == KEY
        self.succeeded += counts.succeeded
        self.failed += counts.failed


def test_only_what_is_new_in_a_report_counts() -> None:
    world = Counted()
    caller = world.callers.arrived("o-1", "boot-1", [])
    for sequence, succeeded in ((1, 3), (1, 3), (2, 5), (4, 9), (3, 7), (4, 9)):
        world.callers.reported(caller, sequence, [told(succeeded)], {})

    assert world.succeeded == 9


def test_a_caller_that_is_new_here_begins_with_what_it_had_counted_and_one_that_comes_back_where_it_stopped() -> None:
    world = Counted()
    caller = world.callers.arrived("o-1", "boot-1", [told(100)])
    world.callers.reported(caller, 1, [told(101)], {})
    world.callers.left(caller)
    same = world.callers.arrived("o-1", "boot-1", [told(150)])
    world.callers.reported(same, 2, [told(151)], {})

    assert same is caller
    assert world.succeeded == 51


def test_calls_that_a_caller_has_under_way_when_it_comes_are_counted_whether_it_was_here_before_or_not() -> None:
    world = Counted()
    caller = world.callers.arrived("o-1", "boot-1", [told(100, in_flight=3)])
    at_first = world.callers.in_flight(HERE)
    world.callers.left(caller)
    world.clock.advance(PATIENCE)
    world.callers.sweep()
    away = world.callers.in_flight(HERE)
    world.callers.arrived("o-1", "boot-1", [told(100, in_flight=2)])

    assert (at_first, away, world.callers.in_flight(HERE)) == (3, 0, 2)
    assert world.moved == [HERE, HERE, HERE]


def test_a_caller_that_has_started_anew_counts_from_zero() -> None:
    world = Counted()
    world.callers.reported(world.callers.arrived("o-1", "boot-1", []), 9, [told(5)], {})
    world.callers.reported(world.callers.arrived("o-1", "boot-2", []), 1, [told(2)], {})

    assert world.succeeded == 7


def test_a_new_generation_is_counted_from_its_own_beginning_and_an_older_one_not_any_more() -> None:
    world = Counted()
    caller = world.callers.arrived("o-1", "boot-1", [])
    seen: list[tuple[int, int]] = []
    world.callers.on_counts = lambda key, counts: seen.append((key.generation, counts.succeeded))
    world.callers.reported(caller, 1, [told(10)], {})
    world.callers.reported(caller, 2, [told(12), told(1, key=KEY._replace(generation=2))], {})
    world.callers.reported(caller, 3, [told(20), told(4, key=KEY._replace(generation=2))], {})

    assert seen == [(1, 10), (1, 2), (2, 1), (2, 3)]


def test_calls_under_way_are_those_of_all_callers_and_end_some_time_after_their_caller_has_left() -> None:
    world = Counted()
    first, second = world.callers.arrived("o-1", "1", []), world.callers.arrived("o-2", "1", [])
    world.callers.reported(first, 1, [told(in_flight=3)], {})
    world.callers.reported(second, 1, [told(in_flight=2)], {})
    both = world.callers.in_flight(HERE)
    world.callers.left(first)
    world.callers.sweep()
    at_once = world.callers.in_flight(HERE)
    world.clock.advance(PATIENCE)
    world.callers.sweep()

    assert (both, at_once, world.callers.in_flight(HERE)) == (5, 5, 2)
    assert world.lost == [first]
    assert world.moved == [HERE, HERE, HERE]


def test_a_caller_that_comes_back_in_time_has_lost_nothing() -> None:
    world = Counted()
    caller = world.callers.arrived("o-1", "1", [])
    world.callers.reported(caller, 1, [told(in_flight=3)], {})
    world.callers.left(caller)
    world.clock.advance(PATIENCE / 2)
    world.callers.arrived("o-1", "1", [])
    world.clock.advance(PATIENCE)
    world.callers.sweep()

    assert world.callers.in_flight(HERE) == 3
    assert world.lost == []


def test_a_caller_that_stays_away_is_forgotten() -> None:
    world = Counted()
    caller = world.callers.arrived("o-1", "1", [])
    world.callers.left(caller)
    world.clock.advance(MEMORY)
    world.callers.sweep()

    assert world.callers.arrived("o-1", "1", []) is not caller


def test_nothing_is_kept_of_instances_that_there_are_not() -> None:
    world = Counted()
    caller = world.callers.arrived("o-1", "1", [told(key=KEY._replace(instance_id="ghost"))])
    world.callers.reported(caller, 1, [told(5, in_flight=1), told(7, key=KEY._replace(instance_id="ghost"))], {})
    world.callers.keep([])

    assert caller.counts == {}
    assert caller.in_flight == {}
    assert world.callers.in_flight(HERE) == 0
