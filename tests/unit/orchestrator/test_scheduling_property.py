"""Whatever happens to a schedule in whatever order, every moment is accounted for exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings, strategies as st

from forgemesh.orchestrator.schedules.schedule import Occasion, Overlap, Pause, Run, RunState, Schedule
from forgemesh.orchestrator.schedules.scheduling import decide
from tests.unit.orchestrator.schedules import MINUTE, NOON, plan, schedule

OPEN = (RunState.WAITING, RunState.STARTING)


class Crash(Exception):
    """The process dies here."""


@dataclass
class Process:
    """
    Follows a keeper's protocol step by step, over what is durable: the schedule, its runs, the executions.

    `fuse` counts the writes and starts that still happen before the process dies; None: it lives.
    """

    stored: Schedule
    rows: dict[tuple[int, Occasion, int], Run] = field(default_factory=dict)
    created: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    now: int = NOON
    asked: int = 0
    fuse: int | None = None

    @property
    def loaded(self) -> Schedule:
        """The schedule as a new process finds it."""
        waiting = tuple(run for run in self.rows.values() if run.state is RunState.WAITING)
        starting = tuple(run for run in self.rows.values() if run.state is RunState.STARTING)
        assert waiting == self.stored.waiting
        assert set(starting) == set(self.stored.starting)
        return self.stored

    def turn(self) -> None:
        self.carry_out()
        more = True
        while more:
            decision = decide(self.loaded, self.now, busy=bool(self.open))
            self.save(decision.schedule, decision.runs)
            more = decision.more
            if decision.stop == "terminate":
                self.open.clear()
                more = True
            self.carry_out()

    def carry_out(self) -> None:
        for run in self.loaded.starting:
            self.start(self.stored.execution_id(run))
            confirmed, told = self.stored.started(run, self.now)
            self.save(confirmed, (told,))

    def start(self, execution_id: str) -> None:
        self.burn()
        if execution_id not in self.created:
            self.created[execution_id] += 1
            self.open.add(execution_id)

    def save(self, schedule: Schedule, runs: tuple[Run, ...]) -> None:
        self.burn()
        self.stored = schedule
        self.rows |= {run.name: run for run in runs}

    def burn(self) -> None:
        if self.fuse is not None:
            if self.fuse == 0:
                raise Crash
            self.fuse -= 1

    def ask(self, count: int, overlap: Overlap | None) -> None:
        moments = [NOON - number * MINUTE for number in range(count, 0, -1)]
        occasion = Occasion.BACKFILLED if moments else Occasion.TRIGGERED
        schedule, asked = self.loaded.asked_for(moments, occasion, self.now, overlap, "", "")
        decision = decide(schedule, self.now, busy=bool(self.open), asked=asked)
        self.save(decision.schedule, decision.runs)
        self.asked += len(asked)
        self.carry_out()

    def check(self) -> None:
        tally, runs = self.stored.tally, list(self.rows.values())
        due = (self.stored.cursor - NOON) // MINUTE
        held = len(self.stored.waiting) + len(self.stored.starting)
        assert tally.started + tally.skipped + tally.missed + tally.refused + held == due + self.asked
        moments = [run.moment for run in runs if run.scheduled]
        assert sorted(moments) == [NOON + number * MINUTE for number in range(1, due + 1)]
        states = Counter(run.state for run in runs)
        assert states[RunState.STARTED] == tally.started
        assert set(self.created.values()) <= {1}
        started = {self.stored.execution_id(run) for run in runs if run.state is RunState.STARTED}
        starting = {self.stored.execution_id(run) for run in runs if run.state is RunState.STARTING}
        assert started <= set(self.created) <= started | starting
        if self.stored.plan.overlap is Overlap.BUFFER_ONE:
            own = [run for run in self.stored.waiting if run.overlap in (None, Overlap.BUFFER_ONE)]
            assert len(own) <= 1


policies = st.sampled_from(Overlap)
steps = st.one_of(
    st.tuples(st.just("pass"), st.integers(0, 12)),
    st.tuples(st.just("end"), st.integers(0, 3)),
    st.tuples(st.just("pause"), st.none()),
    st.tuples(st.just("resume"), st.none()),
    st.tuples(st.just("ask"), st.tuples(st.integers(0, 4), st.none() | policies)),
    st.tuples(st.just("crash"), st.integers(0, 6)),
)


@settings(max_examples=400)
@given(policies, st.sampled_from([10, 200, 10_000]), st.lists(steps, max_size=40))
def test_every_moment_is_accounted_for_exactly_once(
    overlap: Overlap, window: int, script: list[tuple[str, object]]
) -> None:
    process = Process(schedule(overlap=overlap, catchup_window=window))
    for name, detail in script:
        try:
            _do(process, name, detail)
        except Crash:
            process.fuse = None
        process.check()

    process.fuse = None
    process.turn()
    process.check()
    assert process.stored.starting == ()
    assert process.now - process.stored.cursor < MINUTE


def _do(process: Process, name: str, detail: object) -> None:
    match name, detail:
        case "pass", int(minutes):
            process.now += minutes * MINUTE + MINUTE // 3
            process.turn()
        case "end", int(index):
            process.open -= set(sorted(process.open)[index : index + 1])
            process.turn()
        case "pause", _:
            process.turn()
            process.save(process.stored.paused(Pause("ann", "", process.now)), ())
        case "resume", _:
            process.turn()
            process.save(process.stored.resumed(), ())
        case "ask", (int(count), overlap):
            process.ask(count, overlap if isinstance(overlap, Overlap) else None)
        case "crash", int(fuse):
            process.fuse = fuse


@given(st.integers(1, 5), st.lists(st.integers(1, 7), max_size=20))
def test_a_limit_of_starts_is_kept_to_the_last_one(limit: int, pauses: list[int]) -> None:
    process = Process(schedule(overlap=Overlap.ALLOW_ALL, max_starts=limit))
    for minutes in pauses:
        process.now += minutes * MINUTE
        process.turn()
        process.check()

    assert len(process.created) == min(limit, sum(pauses))


def test_a_change_of_the_policy_under_a_crash_repeats_nothing() -> None:
    process = Process(schedule(overlap=Overlap.BUFFER_ALL))
    process.now += 3 * MINUTE
    process.fuse = 2
    try:
        process.turn()
    except Crash:
        process.fuse = None
    process.save(process.stored.updated(plan(overlap=Overlap.ALLOW_ALL), process.now), ())
    process.turn()

    process.check()
    assert len(process.created) == 3
