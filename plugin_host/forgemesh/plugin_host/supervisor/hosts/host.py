"""A supervised plugin host as a value: where it stands, why, and what may come next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from forgemesh.plugin_host.supervisor.plan.restart import RestartRule
from forgemesh.plugin_host.supervisor.processes.ending import Ending

LONGEST_HISTORY = 50


class State(Enum):
    """Where a host stands."""

    STARTING = "starting"
    HANDSHAKING = "handshaking"
    INITIALIZING = "initializing"
    READY = "ready"
    DEGRADED = "degraded"
    DRAINING = "draining"
    STOPPED = "stopped"
    BACKOFF = "backoff"
    CRASH_LOOP = "crash loop"
    DISABLED = "disabled"


class Phase(Enum):
    """Where in its life a host failed."""

    SPAWN = "SPAWN"
    HANDSHAKE = "HANDSHAKE"
    VERSION = "VERSION"
    INIT = "INIT"
    HEALTH = "HEALTH"
    CONFIG = "CONFIG"
    SERVING = "SERVING"


_ENDED = {State.BACKOFF, State.CRASH_LOOP, State.STOPPED}
_LEGAL = {
    State.STOPPED: {State.STARTING, State.BACKOFF, State.CRASH_LOOP, State.DISABLED},
    State.STARTING: {State.HANDSHAKING, State.DRAINING, *_ENDED},
    State.HANDSHAKING: {State.INITIALIZING, State.READY, State.DRAINING, *_ENDED},
    State.INITIALIZING: {State.READY, State.DRAINING, *_ENDED},
    State.READY: {State.DEGRADED, State.DRAINING, *_ENDED},
    State.DEGRADED: {State.READY, State.DRAINING, *_ENDED},
    State.DRAINING: {State.STOPPED},
    State.BACKOFF: {State.STARTING, State.STOPPED, State.BACKOFF, State.CRASH_LOOP},
    State.CRASH_LOOP: {State.STOPPED},
    State.DISABLED: {State.STOPPED},
}

_PHASES = {
    State.STOPPED: Phase.SPAWN,
    State.BACKOFF: Phase.SPAWN,
    State.STARTING: Phase.HANDSHAKE,
    State.HANDSHAKING: Phase.HANDSHAKE,
    State.INITIALIZING: Phase.INIT,
}
RUNNING = frozenset(
    (State.STARTING, State.HANDSHAKING, State.INITIALIZING, State.READY, State.DEGRADED, State.DRAINING)
)
"""States in which a process runs."""
SERVING = frozenset((State.READY, State.DEGRADED))
"""States in which it takes calls."""


class IllegalTransition(Exception):
    """A host cannot go from here to there."""

    def __init__(self, instance_id: str, state: State, wanted: State) -> None:
        super().__init__(f"{instance_id} is {state.value} and cannot become {wanted.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step of a host's life; `exit_code` is None unless a process ended by itself, `phase` unless one ended."""

    at: float
    state: State
    reason: str
    pid: int
    exit_code: int | None = None
    signal: int = 0
    phase: Phase | None = None
    memory_peak: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """
    One instance over its restarts. Times are seconds of one clock; 0 means never, and `pid` 0 that no process runs.

    `crashes` are the times of the exits that nobody asked for and that still count. `missing` names what it works
    without, or waits for; `trouble` says why it does not keep up, if it does not.
    """

    instance_id: str
    name: str
    load: str
    rule: RestartRule = field(default_factory=RestartRule)
    state: State = State.STOPPED
    reason: str = ""
    pid: int = 0
    restarts: int = 0
    crashes: tuple[float, ...] = ()
    started_at: float = 0.0
    ready_at: float = 0.0
    next_start_at: float = 0.0
    plugin_id: str = ""
    plugin_version: str = ""
    missing: tuple[str, ...] = ()
    trouble: str = ""
    memory_peak: int = 0
    config_revision: int = 0
    phase: Phase | None = None
    history: tuple[Transition, ...] = ()

    @property
    def failing_phase(self) -> Phase:
        """Where it would fail now."""
        return _PHASES.get(self.state, Phase.SERVING)

    def started(self, pid: int, now: float) -> Host:
        """Its process runs."""
        restarts = self.restarts + (self.state is State.BACKOFF)
        started = self._to(State.STARTING, "", now, pid=pid)
        return replace(
            started,
            restarts=restarts,
            started_at=now,
            ready_at=0.0,
            next_start_at=0.0,
            missing=(),
            trouble="",
            phase=None,
        )

    def called_back(self, plugin_id: str, plugin_version: str, now: float) -> Host:
        """It has said which plugin it serves."""
        return replace(self._to(State.HANDSHAKING, "", now), plugin_id=plugin_id, plugin_version=plugin_version)

    def waiting(self, missing: tuple[str, ...], reason: str) -> Host:
        """What keeps it from being initialised; without effect unless it is HANDSHAKING."""
        return replace(self, missing=missing, reason=reason) if self.state is State.HANDSHAKING else self

    def initializing(self, config_revision: int, now: float) -> Host:
        """It was told to go on: everything that it needs serves."""
        return replace(self._to(State.INITIALIZING, "", now), missing=(), config_revision=config_revision)

    def ready(self, now: float) -> Host:
        """It serves and is registered."""
        return replace(self._to(State.READY, "", now), ready_at=now, missing=())

    def lacking(self, missing: tuple[str, ...], trouble: str, now: float) -> Host:
        """What it lacks, and why it does not keep up, at `now`; unchanged if it was so before, or does not serve."""
        if self.state not in SERVING or (self.missing, self.trouble) == (missing, trouble):
            return self
        reason = "; ".join(text for text in (f"missing: {', '.join(missing)}" if missing else "", trouble) if text)
        lacking = replace(self, missing=missing, trouble=trouble, reason=reason)
        state = State.DEGRADED if reason else State.READY
        return lacking if state is self.state else lacking._to(state, reason, now)

    def configured(self, revision: int) -> Host:
        """It has taken on another configuration."""
        return replace(self, config_revision=revision)

    def failed(
        self,
        reason: str,
        ending: Ending,
        now: float,
        jitter: float,
        *,
        phase: Phase | None = None,
        counts: bool = True,
    ) -> Host:
        """
        It ended by itself, or did not start; `counts` says whether that speaks against the plugin.

        By its rule the next start comes after a pause with full jitter (`jitter` in [0, 1)), or not at all.
        """
        phase = phase or self.failing_phase
        again = self.rule.again(ending.exit_code)
        recent = self.rule.recent(self.crashes, self.ready_at, now)
        crashes = (*recent, now) if again and counts else recent if again else self.crashes
        loop = again and counts and len(crashes) >= self.rule.crashes
        state = State.CRASH_LOOP if loop else State.BACKOFF if again else State.STOPPED
        if loop:
            reason = f"{len(crashes)} crashes, the last one: {reason}" if len(crashes) > 1 else f"1 crash: {reason}"
        ended = self._to(state, reason, now, ending=ending, phase=phase)
        return replace(
            ended,
            pid=0,
            crashes=crashes,
            ready_at=0.0,
            missing=(),
            trouble="",
            phase=phase,
            memory_peak=ending.memory_peak or self.memory_peak,
            next_start_at=now + self.rule.pause(len(crashes), jitter) if state is State.BACKOFF else 0.0,
        )

    def draining(self, now: float, reason: str = "it was told to stop") -> Host:
        """It was told to stop."""
        return self._to(State.DRAINING, reason, now)

    def stopped(self, reason: str, now: float, ending: Ending | None = None) -> Host:
        """It has ended as it was told to, or is not started again."""
        stopped = self._to(State.STOPPED, reason, now, ending=ending)
        peak = ending.memory_peak if ending else 0
        return replace(
            stopped,
            pid=0,
            ready_at=0.0,
            next_start_at=0.0,
            missing=(),
            trouble="",
            memory_peak=peak or self.memory_peak,
        )

    def disabled(self, reason: str, now: float) -> Host:
        """It is taken out of use."""
        return self._to(State.DISABLED, reason, now)

    def reset(self, reason: str, now: float) -> Host:
        """Its crashes are forgotten."""
        return replace(self.stopped(reason, now), crashes=()) if self.state is not State.STOPPED else self

    def _to(
        self,
        state: State,
        reason: str,
        now: float,
        *,
        pid: int | None = None,
        ending: Ending | None = None,
        phase: Phase | None = None,
    ) -> Host:
        if state not in _LEGAL[self.state]:
            raise IllegalTransition(self.instance_id, self.state, state)
        pid = self.pid if pid is None else pid
        step = Transition(
            at=now,
            state=state,
            reason=reason,
            pid=pid,
            exit_code=ending.exit_code if ending else None,
            signal=ending.signal if ending else 0,
            phase=phase,
            memory_peak=ending.memory_peak if ending else 0,
        )
        return replace(self, state=state, reason=reason, pid=pid, history=(*self.history, step)[-LONGEST_HISTORY:])
