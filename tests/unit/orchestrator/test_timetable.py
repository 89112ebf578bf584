import re
from itertools import islice, pairwise

import pytest
from hypothesis import given, strategies as st

from forgemesh.orchestrator.schedules.timetable import BadTime, Interval, Timetable, check_cron, check_zone
from forgemesh.orchestrator.values.retry import SECOND
from tests.unit.orchestrator.schedules import MINUTE, NOON, at

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def moments(cron: str, zone: str, after: int, count: int) -> list[int]:
    return list(islice(Timetable(crons=(cron,), zone=zone).moments(after), count))


def test_a_cron_rule_holds_on_the_clock_of_its_zone() -> None:
    found = moments("30 9 * * MON-FRI", NEW_YORK, at("2026-11-26 20:00"), 3)

    assert found == [at(f"2026-{day} 09:30", NEW_YORK) for day in ("11-27", "11-30", "12-01")]


@pytest.mark.parametrize(
    ("zone", "day", "gap_ends"), [(BERLIN, "2026-03-29", "03:00"), (NEW_YORK, "2026-03-08", "03:00")]
)
def test_a_time_that_is_left_out_in_spring_comes_at_the_end_of_the_gap(zone: str, day: str, gap_ends: str) -> None:
    found = moments("30 2 * * *", zone, at(f"{day} 00:00", zone), 2)

    assert found[0] == at(f"{day} {gap_ends}", zone)
    assert found[1] - found[0] == 23.5 * 60 * MINUTE


@pytest.mark.parametrize(("zone", "day"), [(BERLIN, "2026-10-25"), (NEW_YORK, "2026-11-01")])
def test_a_time_that_comes_twice_in_autumn_counts_once(zone: str, day: str) -> None:
    hour = 2 if zone == BERLIN else 1
    found = moments(f"30 {hour} * * *", zone, at(f"{day} 00:00", zone), 2)

    assert found[0] == at(f"{day} 0{hour}:30", zone, fold=0)
    assert found[1] - found[0] == 25 * 60 * MINUTE


def test_between_both_times_of_autumn_the_first_is_not_found_again() -> None:
    found = moments("10,50 2 * * *", BERLIN, at("2026-10-25 02:20", BERLIN, fold=1), 1)

    assert found == [at("2026-10-26 02:10", BERLIN)]


def test_two_times_of_the_same_gap_are_one_moment() -> None:
    found = moments("0,30 2 * * *", BERLIN, at("2026-03-29 00:00", BERLIN), 2)

    assert found == [at("2026-03-29 03:00", BERLIN), at("2026-03-30 02:00", BERLIN)]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-03-08", "2026-10-25", "2026-11-01"])
def test_a_rule_for_every_half_hour_follows_the_time_that_passes(zone: str, day: str) -> None:
    found = moments("*/30 * * * *", zone, at(f"{day} 00:00", zone), 20)

    assert {later - earlier for earlier, later in pairwise(found)} == {30 * MINUTE}


def test_intervals_count_from_the_epoch() -> None:
    table = Timetable(intervals=(Interval(7200, offset=600),))

    assert list(islice(table.moments(NOON), 2)) == [at("2026-11-25 12:10"), at("2026-11-25 14:10")]
    assert next(table.moments(at("2026-11-25 12:10"))) == at("2026-11-25 14:10")


def test_rules_that_meet_give_one_moment() -> None:
    table = Timetable(crons=("0 * * * *", "*/30 * * * *"), intervals=(Interval(3600),))

    assert list(islice(table.moments(NOON), 3)) == [NOON + number * 30 * MINUTE for number in (1, 2, 3)]


def test_both_bounds_belong_to_the_timetable() -> None:
    table = Timetable(intervals=(Interval(60),), start_at=NOON + MINUTE, end_at=NOON + 3 * MINUTE)

    assert list(table.moments(0)) == [NOON + number * MINUTE for number in (1, 2, 3)]
    assert list(table.dues(0, "seed")) == [(moment, moment) for moment in table.moments(0)]


def test_a_single_moment_may_have_jitter() -> None:
    table = Timetable(intervals=(Interval(60),), start_at=NOON, end_at=NOON, jitter=30)
    ((moment, due),) = table.dues(0, "seed")

    assert moment == NOON
    assert NOON <= due < NOON + 30 * SECOND


@given(st.integers(1, 86_400), st.integers(1, 100_000), st.text(max_size=5))
def test_jitter_delays_each_moment_and_keeps_their_order(jitter: int, every: int, seed: str) -> None:
    table = Timetable(intervals=(Interval(every),), jitter=jitter)
    found = list(islice(table.dues(NOON, seed), 20))

    assert all(0 <= due - moment <= jitter * SECOND for moment, due in found)
    assert all(due < following for (_, due), (following, _) in pairwise(found))
    assert found == list(islice(table.dues(NOON, seed), 20))


def test_jitter_tells_schedules_apart() -> None:
    table = Timetable(crons=("0 0 * * *",), jitter=3600)

    assert len({next(table.dues(NOON, str(number)))[1] for number in range(50)}) > 40


@pytest.mark.parametrize(
    ("cron", "wrong"),
    [
        ("61 * * * *", "minute '61' must be 0 to 59"),
        ("* 24 * * *", "hour '24' must be 0 to 23"),
        ("* * 0 * *", "day-of-month '0' must be 1 to 31"),
        ("* * * XYZ *", "month 'XYZ' must be 1 to 12 or JAN to DEC"),
        ("* * * * 8", "day-of-week '8' must be 0 to 7 or SUN to SAT"),
        ("*/0 * * * *", "minute '*/0' must be"),
        ("5-1 * * * *", "minute '5-1' must be"),
        ("0 0 30 2 *", "day-of-month '30' must be 1 to 31, L or LW, in a month that has such a day"),
        ("* * */20 * 1L", "never comes up in 50 years"),
        ("* * * *", "has 4 fields; it needs five: minute hour day-of-month month day-of-week"),
        ("0 * * * * *", "has 6 fields"),
        ("", "has 0 fields"),
        ("@reboot", "is none of @hourly"),
        ("@every 5m", "take an interval"),
        ("1," * 200 + "1 * * * *", "has 409 characters"),
    ],
)
def test_a_bad_rule_is_refused_with_the_field_that_is_wrong(cron: str, wrong: str) -> None:
    with pytest.raises(BadTime, match=re.escape(wrong)):
        check_cron(cron, "")


@pytest.mark.parametrize("cron", ["@daily", "@Hourly", "0 0 L * *", "0 9 * * 5#2", "0 9 LW * *", "0 0 29 2 MON#5"])
def test_rules_of_the_reference_are_read(cron: str) -> None:
    check_cron(cron, BERLIN)

    assert moments(cron, BERLIN, NOON, 1)


@given(st.text("0123456789*/-,#LW MONJAN@", max_size=40) | st.text(max_size=20))
def test_whatever_stands_in_a_rule_it_is_refused_or_it_works(cron: str) -> None:
    try:
        check_cron(cron, BERLIN)
    except BadTime:
        return

    found = moments(cron, BERLIN, NOON, 3)
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berlinn", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("New_York", "did you mean 'America/New_York'?"),
        ("../../etc/passwd", "write it like"),
        ("/etc/localtime", ""),
        ("localtime", ""),
        ("x\0y", "write it like"),
        ("Z" * 10_000, "write it like"),
    ],
)
def test_an_unknown_zone_is_refused_with_one_that_may_be_meant(zone: str, hint: str) -> None:
    with pytest.raises(BadTime, match="no time zone of the IANA database") as refused:
        check_zone(zone)

    assert hint in str(refused.value)
    assert len(str(refused.value)) < 250


def test_known_zones_are_taken() -> None:
    for zone in ("", "UTC", BERLIN, NEW_YORK, "Asia/Kolkata"):
        check_zone(zone)

    assert next(Timetable(crons=("0 0 * * *",), zone="Asia/Kolkata").moments(NOON)) == at("2026-11-25 18:30")
