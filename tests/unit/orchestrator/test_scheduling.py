from dataclasses import replace

import pytest

from forgemesh.orchestrator.schedules.schedule import MAX_WAITING, Occasion, Overlap, Pause, RunState, Tally, Target
from forgemesh.orchestrator.schedules.scheduling import TOLD, decide
from forgemesh.orchestrator.schedules.timetable import Interval, Timetable
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from tests.unit.orchestrator.schedules import MINUTE, NOON, World, at, plan, schedule, world


def test_nothing_happens_before_the_first_moment() -> None:
    decision = decide(schedule(), NOON + 59 * SECOND, busy=False)

    assert decision.schedule == schedule()
    assert (decision.runs, decision.stop, decision.wake, decision.more) == ((), None, NOON + MINUTE, False)


def test_an_execution_is_named_for_the_moment_that_started_it() -> None:
    decision = decide(schedule(at("2026-11-25 07:59:30")), at("2026-11-25 08:00:07"), busy=False)
    (run,) = decision.schedule.starting

    assert run.state is RunState.STARTING
    assert decision.schedule.execution_id(run) == "s-20261125T080000Z"
    assert decision.schedule.start_request_id(run).startswith("schedule-")
    assert decision.wake == at("2026-11-25 08:01")


def test_what_is_decided_is_not_decided_again() -> None:
    first = decide(schedule(), NOON + MINUTE, busy=False)
    again = decide(first.schedule, NOON + MINUTE, busy=False)

    assert again.schedule == first.schedule
    assert again.runs == ()


def test_skip_leaves_out_what_comes_while_one_is_open() -> None:
    running = world(Overlap.SKIP)
    running.minute(1)
    running.minute(2)
    running.minute(3)
    running.end()
    running.minute(4)

    assert running.outcomes() == {1: "STARTED", 2: "SKIPPED OVERLAP", 3: "SKIPPED OVERLAP", 4: "STARTED"}
    assert running.schedule.tally == Tally(started=2, skipped=2)


def test_buffer_one_keeps_the_first_that_comes_and_starts_it_at_the_end() -> None:
    running = world(Overlap.BUFFER_ONE)
    for minute in (1, 2, 3):
        running.minute(minute)
    waiting = [run.moment for run in running.schedule.waiting]
    running.end()
    running.decide(NOON + 3 * MINUTE + SECOND)

    assert waiting == [NOON + 2 * MINUTE]
    assert running.outcomes() == {1: "STARTED", 2: "STARTED", 3: "SKIPPED OVERLAP"}
    assert running.schedule.waiting == ()


def test_buffer_all_starts_one_after_the_other_in_order() -> None:
    running = world(Overlap.BUFFER_ALL)
    for minute in (1, 2, 3, 4):
        running.minute(minute)
    started = []
    while running.open:
        started += running.open
        running.end()
        running.decide(NOON + 4 * MINUTE + SECOND)

    assert started == [f"s-20261125T120{minute}00Z" for minute in (1, 2, 3, 4)]
    assert running.schedule.tally == Tally(started=4)


def test_buffer_all_holds_a_bounded_number() -> None:
    running = world(Overlap.BUFFER_ALL)
    running.minute(MAX_WAITING + 3)

    assert len(running.schedule.waiting) == MAX_WAITING
    assert running.schedule.tally == Tally(started=1, skipped=2)
    assert running.outcomes()[MAX_WAITING + 3] == "SKIPPED BUFFER_FULL"


@pytest.mark.parametrize(
    ("overlap", "stop"), [(Overlap.CANCEL_OTHER, "cancel"), (Overlap.TERMINATE_OTHER, "terminate")]
)
def test_a_replacing_start_stops_what_is_open_and_waits_for_its_end(overlap: Overlap, stop: str) -> None:
    running = world(overlap)
    for minute in (1, 2, 3):
        running.minute(minute)
    waiting = [run.moment for run in running.schedule.waiting]
    stops = list(running.stops)
    running.end()
    running.decide(NOON + 3 * MINUTE + SECOND)

    assert waiting == [NOON + 3 * MINUTE]
    assert stops == [stop, stop]
    assert running.outcomes() == {1: "STARTED", 2: "SKIPPED SUPERSEDED", 3: "STARTED"}


def test_what_waits_to_replace_stops_again_after_a_crash() -> None:
    running = world(Overlap.CANCEL_OTHER)
    running.minute(1)
    running.minute(2)
    restarted = decide(running.schedule, NOON + 2 * MINUTE + SECOND, busy=True)

    assert restarted.stop == "cancel"
    assert restarted.runs == ()


def test_replacing_starts_that_come_together_are_one() -> None:
    running = world(Overlap.TERMINATE_OTHER)
    running.minute(5)

    assert running.open == ["s-20261125T120500Z"]
    assert running.stops == []
    assert running.schedule.tally == Tally(started=1, skipped=4)


def test_allow_all_starts_whatever_is_open() -> None:
    running = world(Overlap.ALLOW_ALL)
    running.minute(1)
    running.minute(3)

    assert running.open == [f"s-20261125T120{minute}00Z" for minute in (1, 2, 3)]


def test_after_downtime_only_moments_within_the_window_are_made_up_for() -> None:
    running = world(Overlap.ALLOW_ALL, catchup_window=150)
    running.minute(10)

    assert running.schedule.tally == Tally(started=3, missed=7)
    assert running.outcomes()[7] == "MISSED CATCHUP_WINDOW"
    assert running.outcomes()[8] == "STARTED"


def test_usually_even_a_long_downtime_is_followed_by_one_start() -> None:
    running = world(Overlap.SKIP)
    running.decide(NOON + 30 * 24 * 60 * MINUTE)

    assert running.open == ["s-20261125T120100Z"]
    assert running.schedule.tally == Tally(started=1, skipped=30 * 24 * 60 - 1)


@pytest.mark.parametrize("overlap", [Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER])
def test_after_a_long_downtime_nothing_starts_only_to_be_replaced(overlap: Overlap) -> None:
    running = world(overlap)
    running.minute(2500)

    assert running.stops == []
    assert running.schedule.tally == Tally(started=1, skipped=2499)
    assert running.outcomes()[2500] == "STARTED"


def test_moments_that_were_missed_are_counted_all_and_told_in_part() -> None:
    decision = decide(schedule(catchup_window=10), NOON + 900 * MINUTE + 30 * SECOND, busy=False)

    assert decision.schedule.tally.missed == 900
    assert len(decision.runs) == TOLD


def test_moments_that_come_in_a_pause_are_skipped_for_good() -> None:
    running = world(Overlap.BUFFER_ALL)
    running.schedule = running.schedule.paused(Pause("ann", "holiday", NOON))
    running.minute(2)
    running.schedule = running.schedule.resumed()
    running.minute(3)

    assert running.outcomes() == {1: "SKIPPED PAUSED", 2: "SKIPPED PAUSED", 3: "STARTED"}


def test_a_pause_holds_what_waits() -> None:
    running = world(Overlap.BUFFER_ONE)
    running.minute(1)
    running.minute(2)
    running.schedule = running.schedule.paused(Pause("ann", "", NOON))
    running.end()
    running.minute(3)
    held = running.outcomes()
    running.schedule = running.schedule.resumed()
    running.decide(NOON + 3 * MINUTE + SECOND)

    assert held == {1: "STARTED", 2: "WAITING", 3: "SKIPPED PAUSED"}
    assert running.outcomes() == {1: "STARTED", 2: "STARTED", 3: "SKIPPED PAUSED"}


def test_a_paused_schedule_still_starts_what_somebody_asks_for() -> None:
    running = world(Overlap.SKIP)
    paused = running.schedule.paused(Pause("ann", "", NOON))
    running.schedule, asked = paused.asked_for((), Occasion.TRIGGERED, NOON + SECOND, None, "", "")
    running.decide(NOON + SECOND, asked)

    assert running.open == ["s-20261125T120001Z-manual"]


def test_starts_that_are_asked_for_within_a_second_are_told_apart() -> None:
    running = world(Overlap.ALLOW_ALL)
    for _ in range(3):
        running.schedule, asked = running.schedule.asked_for((), Occasion.TRIGGERED, NOON + SECOND, None, "", "")
        running.decide(NOON + SECOND, asked)

    assert running.open == [f"s-20261125T12000{second}Z-manual" for second in (1, 2, 3)]


def test_a_backfill_starts_its_moments_in_order_under_names_of_its_own() -> None:
    running = world(Overlap.SKIP)
    moments = [NOON - 2 * MINUTE, NOON - MINUTE]
    running.schedule, asked = running.schedule.asked_for(
        moments, Occasion.BACKFILLED, NOON + 5 * SECOND, Overlap.BUFFER_ALL, "", ""
    )
    running.decide(NOON + 5 * SECOND, asked)
    first = list(running.open)
    running.end()
    running.decide(NOON + 6 * SECOND)

    assert first == ["s-20261125T115800Z-backfill-20261125T120005Z"]
    assert running.open == ["s-20261125T115900Z-backfill-20261125T120005Z"]
    assert running.schedule.cursor == NOON


def test_a_trigger_obeys_the_policy_that_it_names() -> None:
    running = world(Overlap.BUFFER_ALL)
    running.minute(1)
    later = NOON + MINUTE + SECOND
    running.schedule, asked = running.schedule.asked_for((), Occasion.TRIGGERED, later, Overlap.SKIP, "", "")
    decision = running.decide(later, asked)

    assert [(run.state, run.reason) for run in decision.runs] == [(RunState.SKIPPED, "OVERLAP")]


def test_after_its_last_start_a_schedule_is_over() -> None:
    running = world(Overlap.ALLOW_ALL, max_starts=2)
    running.minute(1)
    following = running.schedule.following(10)
    running.minute(5)

    assert following == [(NOON + 2 * MINUTE, NOON + 2 * MINUTE)]
    assert running.schedule.tally.started == 2
    assert running.schedule.exhausted
    assert running.schedule.following(10) == []
    assert running.wake is None


def test_what_somebody_asks_for_does_not_use_up_the_starts() -> None:
    running = world(Overlap.ALLOW_ALL, max_starts=1)
    running.minute(1)
    later = NOON + MINUTE + SECOND
    running.schedule, asked = running.schedule.asked_for((), Occasion.TRIGGERED, later, None, "", "")
    running.decide(later, asked)

    assert len(running.open) == 2


def test_more_starts_let_a_schedule_go_on_from_then() -> None:
    running = world(Overlap.ALLOW_ALL, max_starts=1)
    running.minute(1)
    running.minute(9)
    more = plan(overlap=Overlap.ALLOW_ALL, max_starts=2)
    running.schedule = running.schedule.updated(more, NOON + 9 * MINUTE)
    running.minute(10)

    assert running.open == ["s-20261125T120100Z", "s-20261125T121000Z"]


def test_nothing_comes_after_the_end_of_the_timetable() -> None:
    table = Timetable(intervals=(Interval(60),), end_at=NOON + 2 * MINUTE)
    running = World(schedule(timetable=table, overlap=Overlap.ALLOW_ALL))
    running.minute(9)

    assert running.schedule.tally == Tally(started=2)
    assert running.wake is None


def test_a_moment_with_jitter_is_due_later_and_keeps_its_name() -> None:
    jittered = schedule(timetable=Timetable(crons=("0 * * * *",), jitter=600))
    ((moment, due),) = jittered.following(1)
    early = decide(jittered, due - 1, busy=False)
    late = decide(jittered, due, busy=False)

    assert moment < due
    assert (early.schedule.starting, early.wake) == ((), due)
    assert [late.schedule.execution_id(run) for run in late.schedule.starting] == ["s-20261125T130000Z"]


def test_a_changed_timetable_counts_from_the_change_on() -> None:
    hourly = schedule(timetable=Timetable(crons=("0 * * * *",)), overlap=Overlap.ALLOW_ALL)
    running = World(hourly)
    running.minute(30)
    running.schedule = running.schedule.updated(plan(overlap=Overlap.ALLOW_ALL), NOON + 30 * MINUTE)
    running.minute(31)

    assert running.open == ["s-20261125T123100Z"]
    assert running.schedule.revision == 2


def test_another_change_loses_no_moment() -> None:
    running = world(Overlap.SKIP)
    running.schedule = running.schedule.updated(plan(description="every minute"), NOON + MINUTE)
    running.minute(1)

    assert running.open == ["s-20261125T120100Z"]


def test_starts_that_wait_obey_the_policy_of_the_day() -> None:
    running = world(Overlap.BUFFER_ALL)
    running.minute(4)
    running.schedule = running.schedule.updated(plan(overlap=Overlap.BUFFER_ONE), NOON + 4 * MINUTE)
    running.decide(NOON + 4 * MINUTE + SECOND)

    assert running.outcomes() == {1: "STARTED", 2: "WAITING", 3: "SKIPPED OVERLAP", 4: "SKIPPED OVERLAP"}
    assert [run.moment for run in running.schedule.waiting] == [NOON + 2 * MINUTE]


def test_every_waiting_start_that_is_over_is_told() -> None:
    running = world(Overlap.BUFFER_ALL)
    running.minute(1 + 3 * TOLD)
    running.schedule = running.schedule.updated(plan(overlap=Overlap.SKIP), running.schedule.cursor)
    decision = running.decide(running.schedule.cursor + SECOND)

    assert len(decision.runs) == 3 * TOLD


def test_a_clock_that_is_put_back_starts_nothing_again() -> None:
    running = world(Overlap.ALLOW_ALL)
    running.minute(3)
    running.minute(1)
    running.minute(3)

    assert running.schedule.tally == Tally(started=3)


def test_a_refused_start_is_counted_and_does_not_hold_up_the_next() -> None:
    decided = decide(schedule(), NOON + MINUTE, busy=False).schedule
    refused, run = decided.refused(decided.starting[0], "EXECUTION_INPUT_INVALID", "n is missing")
    following = decide(refused, NOON + 2 * MINUTE, busy=False)

    assert (run.state, run.reason, run.message) == (RunState.REFUSED, "EXECUTION_INPUT_INVALID", "n is missing")
    assert refused.tally == Tally(refused=1)
    assert len(following.schedule.starting) == 1


def test_a_start_that_is_not_confirmed_counts_as_open() -> None:
    decided = decide(schedule(), NOON + MINUTE, busy=False).schedule
    following = decide(decided, NOON + 2 * MINUTE, busy=False)

    assert following.schedule.tally == Tally(skipped=1)
    assert following.schedule.starting == decided.starting


def test_a_start_may_carry_its_moment_in_the_input() -> None:
    target = Target(workflow="w", input=Payload(b'{"n": 1}'), moment_field="day")

    assert target.input_at(NOON, "Europe/Berlin").value() == {"n": 1, "day": "2026-11-25T13:00:00+01:00"}
    assert replace(target, moment_field="").input_at(NOON, "") is target.input
    with pytest.raises(ValueError, match="JSON object"):
        replace(target, input=Payload(b"[]")).input_at(NOON, "")
