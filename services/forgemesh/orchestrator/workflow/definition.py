"""What a workflow is: an immutable tree of steps, checked and compiled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from forgemesh.orchestrator.values.retry import RetryRule
from forgemesh.orchestrator.workflow.expressions.template import EMPTY, Computed, Template

OTHERWISE = "otherwise"
EACH = "*"
"""In declared paths, whichever iteration it is."""


class Trigger(Enum):
    """What the steps before a step must have come to, so that it runs; otherwise it is skipped (see triggers.py)."""

    ALL_SUCCEEDED = "all_succeeded"
    """None failed, and none did nothing behind a failure."""
    NONE_FAILED = "none_failed"
    """None failed; whatever was skipped does not count."""
    ANY_SUCCEEDED = "any_succeeded"
    """At least one succeeded; does not wait for the others. Takes their failures up once it has succeeded."""
    ALL_DONE = "all_done"
    """All have ended, however. Takes their failures up once it has succeeded."""

    @property
    def tolerant(self) -> bool:
        """Whether a step that succeeds by this rule takes up the failures before it, so that its sequence goes on."""
        return self in (Trigger.ALL_DONE, Trigger.ANY_SUCCEEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """
    What every step has. `after` are indexes into its sequence; `when` false skips it; `sets` are variables that it sets
    once it has succeeded, evaluated in order with its own output in sight; `where` says where its text stands.
    """

    id: str
    after: tuple[int, ...] = ()
    trigger: Trigger = Trigger.ALL_SUCCEEDED
    when: Computed | None = None
    sets: tuple[tuple[str, Template], ...] = ()
    where: str = field(default="", compare=False)

    rounds = False
    """Whether its steps run again and again, one round after the other, each judged at its end."""
    keeps_variables = False
    """Whether what its steps set stays inside."""
    itemwise = False
    """Whether it has a branch for each item of a list."""

    def facts(self) -> dict[str, Any]:
        """Its fields by name, for a step that has more of them."""
        return {name: getattr(self, name) for name in ("id", "after", "trigger", "when", "sets", "where")}


START_TO_CLOSE = 60.0
"""Seconds of an attempt of which neither the step nor the operation says how long it may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """
    Seconds; None is no limit, and a `start_to_close` of 0 is the one of the operation.

    `schedule_to_start` and `start_to_close` are of one attempt: until it leaves for an instance, and from then on;
    `heartbeat` is the longest silence of a running one. `schedule_to_close` is of the step, all attempts and pauses
    between them included.
    """

    start_to_close: float = START_TO_CLOSE
    schedule_to_start: float | None = None
    schedule_to_close: float | None = None
    heartbeat: float | None = None


class Published(msgspec.Struct, frozen=True, omit_defaults=True):
    """What manifests say about the operation of a call: `timeout` in seconds; None is unsaid."""

    idempotent: bool | None = None
    timeout: float | None = None


UNSAID = Published()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    Who is called: a plugin by id, or any provider of an interface; `version_range` is the plugin's or the interface's.

    `must` are facts of the manifest's metadata that a provider has to have, `prefer` those that decide among several.
    """

    operation: str
    plugin_id: str = ""
    interface: str = ""
    version_range: str = ""
    must: Mapping[str, str] = field(default_factory=dict)
    prefer: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The plugin's id, or the interface's name."""
        return self.plugin_id or self.interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """The call that undoes a step's effect. Sees what the step saw, its output, and `error`."""

    target: Target
    input: Template = EMPTY
    retry: RetryRule = field(default_factory=lambda: RetryRule(max_attempts=10))
    timeouts: Timeouts = field(default_factory=Timeouts)


class CallTerms(NamedTuple):
    """
    What counts for a call, or for the compensation of one, before it is known which version gets it. `timed` and
    `vouched` are whether the step itself says how long it may take, and if it is safe to repeat (None: nobody does).
    """

    target: Target
    timeouts: Timeouts
    timed: bool
    idempotent: bool | None
    vouched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRule:
    """Keep the output under `key` (None: the input) for `ttl` seconds."""

    ttl: float
    key: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Common):
    """
    One call of a plugin's operation.

    `idempotent` None is unsaid: what the manifest of the version that is called says counts. `affinity` is a key: equal
    keys go to the same instance as long as it is there.
    """

    target: Target
    input: Template = EMPTY
    retry: RetryRule = field(default_factory=RetryRule)
    timeouts: Timeouts = field(default_factory=Timeouts)
    idempotent: bool | None = None
    in_doubt: Literal["retry", "fail", "manual"] = "manual"
    on_exhausted: Literal["fail", "incident"] = "fail"
    compensate: Compensation | None = None
    cache: CacheRule | None = None
    priority: int = 0
    affinity: Template | None = None

    kind = "call"


@dataclass(frozen=True, slots=True)
class Sequence:
    """
    Steps in order of declaration with the graph between them: `before[i]` and `following[i]` are indexes, `first` those
    with nothing before them.

    A step that names nothing in `after` follows the one before it in the list.
    """

    steps: tuple[Step, ...]
    before: tuple[tuple[int, ...], ...] = ()
    following: tuple[tuple[int, ...], ...] = ()
    first: tuple[int, ...] = ()

    @classmethod
    def of(cls, steps: tuple[Step, ...], before: tuple[tuple[int, ...], ...]) -> Sequence:
        following: list[list[int]] = [[] for _ in steps]
        for index, sources in enumerate(before):
            for source in sources:
                following[source].append(index)
        first = tuple(index for index, sources in enumerate(before) if not sources)
        return cls(steps, before, tuple(tuple(targets) for targets in following), first)

    @classmethod
    def in_order(cls, steps: tuple[Step, ...]) -> Sequence:
        """Each step after the one before it."""
        return cls.of(steps, tuple((index - 1,) if index else () for index in range(len(steps))))

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Step:
        return self.steps[index]


@dataclass(frozen=True, slots=True)
class Branch:
    """A named sequence of steps inside a group; `when` only in a switch."""

    name: str
    steps: Sequence
    when: Computed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """
    When a group of branches has ended, and how.

    `all` fails at the first failure beyond what is tolerated; `all_settled` lets every branch end first; `quorum`
    (`any` is a quorum of one) succeeds with the `quorum`-th success and stops the others, and fails as soon as so many
    cannot be reached; a branch in which nothing was done is neither a success nor a failure. Tolerated are `tolerate`
    failures, or that share of the branches if it ends in `%`.
    """

    mode: Literal["all", "all_settled", "quorum"] = "all"
    quorum: int = 0
    tolerate: str = "0"

    def tolerated(self, branches: int) -> int:
        """How many branches may fail; a share is rounded down, exactly."""
        if self.tolerate.endswith("%"):
            return int(branches * Fraction(self.tolerate[:-1]) / 100)
        return int(self.tolerate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Common):
    """Its conditions are evaluated once, in order; the first true one's branch runs, else `otherwise`."""

    branches: tuple[Branch, ...]
    no_match: Literal["fail", "skip"] = "fail"

    kind = "switch"
    join = Join()
    max_concurrency = 0

    def may_open(self, names: tuple[str, ...]) -> bool:
        """One of its branches runs."""
        return len(names) == 1 and names[0] in {branch.name for branch in self.branches}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(Common):
    """
    Named branches, at most `max_concurrency` (0: all) at once.

    `merge` says which branch's value of a variable that several set counts once the group has succeeded, in order of
    declaration; "error" refuses such definitions.
    """

    branches: tuple[Branch, ...]
    join: Join = field(default_factory=Join)
    max_concurrency: int = 0
    merge: Literal["error", "first", "last"] = "error"

    kind = "parallel"

    def may_open(self, names: tuple[str, ...]) -> bool:
        """All of its branches run."""
        return names == tuple(branch.name for branch in self.branches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(Common):
    """
    The same steps for each item of a list, as branches named by index; variables that they set stay inside.

    `undoable`: a step inside has a compensation, so that iterations are remembered after their end; `by_index`: what is
    done with an item depends on its place in the list.
    """

    over: Template
    steps: Sequence
    join: Join = field(default_factory=Join)
    max_concurrency: int = 0
    undoable: bool = False
    by_index: bool = False

    kind = "map"
    keeps_variables = itemwise = True

    def may_open(self, names: tuple[str, ...]) -> bool:
        """Iterations have no names."""
        return not names


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Common):
    """
    The same steps again and again, as rounds named by index, one after the other, until `until` is true of a round.

    A round sees the variables as the one before it left them. After `max_iterations` rounds the step fails, or has
    succeeded all the same, as `on_limit` says. `delay` is in seconds, from the end of a round to the next one;
    `undoable`: a step inside has a compensation, so that rounds are remembered after their end.
    """

    until: Computed
    steps: Sequence
    max_iterations: int
    delay: float = 0.0
    on_limit: Literal["fail", "succeed"] = "fail"
    undoable: bool = False

    kind = "loop"
    rounds = True
    join = Join()
    max_concurrency = 1

    def may_open(self, names: tuple[str, ...]) -> bool:
        """Rounds have no names."""
        return not names


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Common):
    """
    For `seconds`, until a moment (an RFC 3339 text), or for a signal, for which it waits `seconds` at most if they are
    set; when those are over, it fails or, with `on_timeout: skip`, is skipped.
    """

    seconds: float | None = None
    until: Template | None = None
    signal: str = ""
    on_timeout: Literal["fail", "skip"] = "fail"

    kind = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child(Common):
    """
    Another workflow as a step; `on_close` says what becomes of it when this execution is stopped before it has ended.

    An empty `version` is the highest at the time.
    """

    workflow: str
    version: str = ""
    input: Template = EMPTY
    retry: RetryRule = field(default_factory=lambda: RetryRule(max_attempts=1))
    on_close: Literal["cancel", "terminate", "abandon"] = "cancel"
    on_exhausted: Literal["fail", "incident"] = "fail"

    kind = "workflow"


Group: TypeAlias = Switch | Parallel | Map | Loop
"""
What has branches: those that it `may_open`, at most `max_concurrency` (0: all) at once, and ended as its `join` says.
"""
Worker: TypeAlias = Call | Child
"""What has attempts."""
Step: TypeAlias = Call | Switch | Parallel | Map | Loop | Wait | Child
KINDS, GROUP_KINDS = (tuple(kind.kind for kind in get_args(kinds)) for kinds in (Step, Group))


@dataclass(frozen=True, slots=True)
class InputField:
    """One declared input: a JSON type name, or "any"."""

    type: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """
    At most `limit` executions with the same key run at once; one more is queued, takes the place of the oldest one, or
    is itself cancelled. `key` is over the input.
    """

    key: Template
    limit: int = 1
    on_conflict: Literal["queue", "cancel_in_progress", "cancel_newest"] = "queue"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """
    A workflow, immutable by (namespace, name, version).

    `timeout` is in seconds; `input` is None if the definition declares nothing about it; `content_hash` is the
    SHA-256 of the definition's canonical JSON; `max_concurrency` (0: no limit) bounds the attempts that are open at
    once. `vars` are evaluated in order at the start, each with those before it in sight. `published` is what
    the registry said at registration about what is called, by step path, a compensation's with its mark.
    """

    namespace: str
    name: str
    version: str
    content_hash: str
    source: str
    steps: Sequence
    output: Template
    description: str = ""
    input: Mapping[str, InputField] | None = None
    timeout: float | None = None
    vars: tuple[tuple[str, Template], ...] = ()
    max_concurrency: int = 0
    concurrency: Concurrency | None = None
    published: Mapping[str, Published] = field(default_factory=dict)

    def walk(self) -> Iterator[tuple[str, Step]]:
        """Every step with its declared path, in order of declaration; iterations of a map stand as `*`."""
        yield from _walk("", self.steps)

    def calls(self) -> Iterator[tuple[str, Call]]:
        """Every call with its declared path, in order of declaration."""
        for path, step in self.walk():
            if isinstance(step, Call):
                yield path, step

    @cached_property
    def by_path(self) -> Mapping[str, Step]:
        """By declared path."""
        return dict(self.walk())

    @cached_property
    def call_terms(self) -> Mapping[str, CallTerms]:
        """Of every call by declared path, and of its compensation by that with its mark; asked for at every step."""
        found: dict[str, CallTerms] = {}
        for path, call in self.calls():
            found[path] = self._terms(path, call.target, call.timeouts, call.idempotent)
            if call.compensate is not None:  # of which only its operation says whether it is safe to repeat
                undone = path + COMPENSATION
                found[undone] = self._terms(undone, call.compensate.target, call.compensate.timeouts, None)
        return found

    def _terms(self, path: str, target: Target, timeouts: Timeouts, idempotent: bool | None) -> CallTerms:
        published = self.published.get(path, UNSAID)
        timed, vouched = bool(timeouts.start_to_close), idempotent is not None
        if not timed:
            timeouts = replace(timeouts, start_to_close=published.timeout or START_TO_CLOSE)
        return CallTerms(target, timeouts, timed, idempotent if vouched else published.idempotent, vouched)

    @cached_property
    def has_children(self) -> bool:
        """Whether any step starts a workflow."""
        return any(isinstance(step, Child) for step in self.by_path.values())

    def step_at(self, path: str) -> Step:
        """The step of a path as it is in an execution; raises KeyError."""
        return self.by_path[declared(path)]


COMPENSATION = ":compensate"
_INDEX = re.compile(r"(?<![^/])[0-9][^/]*")


@lru_cache(maxsize=4096)
def declared(path: str) -> str:
    """An execution's step path without the indexes of iterations and the mark of a compensation."""
    return _INDEX.sub(EACH, path.removesuffix(COMPENSATION))


def branches_of(step: Step) -> tuple[Branch, ...]:
    """The sequences inside a step, in order of declaration; that of what is run many times is called `*`."""
    match step:
        case Switch() | Parallel():
            return step.branches
        case Map() | Loop():
            return (Branch(EACH, step.steps),)
        case Call() | Child() | Wait():
            return ()


def is_undoable(steps: Sequence) -> bool:
    """Whether one of them, or of those inside, has a compensation."""
    return any(
        (isinstance(step, Call) and step.compensate is not None)
        or any(is_undoable(branch.steps) for branch in branches_of(step))
        for step in steps
    )


def _walk(prefix: str, steps: Sequence) -> Iterator[tuple[str, Step]]:
    for step in steps:
        path = f"{prefix}{step.id}"
        yield path, step
        for branch in branches_of(step):
            yield from _walk(f"{path}/{branch.name}/", branch.steps)
