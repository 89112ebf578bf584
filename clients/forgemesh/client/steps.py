"""Sequences of steps, as authors write them in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack

from forgemesh.client.expression import Expression, Path, source_of, template
from forgemesh.client.policy import Cache, Compensation, Length, Retry, Target, Timeouts, length, tree_of

Tree: TypeAlias = dict[str, Any]
Trigger: TypeAlias = Literal["all_succeeded", "none_failed", "any_succeeded", "all_done"]
Condition: TypeAlias = Expression | str
"""An expression, or its CEL text."""


class Placing(TypedDict, total=False):
    """
    What every step may have.

    Without `after` it follows the step before it in its sequence; with an empty list it starts at once. `set` gives
    variables new values once the step has succeeded.
    """

    after: Step | str | Iterable[Step | str]
    trigger: Trigger
    when: Condition
    set: Mapping[str, object]


class Calling(Placing, total=False):
    """What a call may have."""

    must: Mapping[str, str]
    prefer: Mapping[str, str]
    retry: Retry
    timeouts: Timeouts
    idempotent: bool
    in_doubt: Literal["retry", "fail", "manual"]
    on_exhausted: Literal["fail", "incident"]
    compensate: Compensation
    cache: Cache
    priority: int
    affinity: object


class ChildOptions(Placing, total=False):
    """What another workflow as a step may have."""

    retry: Retry
    on_close: Literal["cancel", "terminate", "abandon"]
    on_exhausted: Literal["fail", "incident"]


class Joining(Placing, total=False):
    """
    What a group of branches may have: when it has ended, and how.

    `quorum` is how many successes are enough, in place of `join`.
    """

    join: Literal["all", "all_settled", "any"]
    quorum: int
    tolerate: int | str
    max_concurrency: int


class Step:
    """A step that others may wait for and read; `Step("reserve").output` is how a step names itself."""

    def __init__(self, step_id: str) -> None:
        self.id = step_id

    @property
    def output(self) -> Path:
        """What it returned; null if it was skipped."""
        return Path(f"steps.{self.id}.output")

    @property
    def status(self) -> Path:
        """What it came to, such as SUCCEEDED, FAILED or SKIPPED."""
        return Path(f"steps.{self.id}.status")

    @property
    def error(self) -> Path:
        """Why it failed: code, reason, message and step_path; null if it did not."""
        return Path(f"steps.{self.id}.error")


class Block:
    """As a context manager it does nothing but indent what belongs to it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class Sequence(Block):
    """Steps in order of declaration."""

    def __init__(self, tree: list[Tree]) -> None:
        self._tree = tree

    def call(
        self,
        step_id: str,
        /,
        *,
        operation: str,
        plugin: str | None = None,
        interface: str | None = None,
        input: object = None,  # noqa: A002 - what the language calls it
        **options: Unpack[Calling],
    ) -> Step:
        """Call an operation of a plugin, or of whoever provides an interface."""
        facts: Any = {key: options.pop(key) for key in ("must", "prefer") if key in options}
        target = Target(operation=operation, plugin=plugin, interface=interface, **facts)
        return self._add(step_id, {"call": tree_of(target), "input": _said(input)}, options)

    def child(
        self,
        step_id: str,
        /,
        workflow: str,
        *,
        version: str | None = None,
        input: object = None,  # noqa: A002 - what the language calls it
        **options: Unpack[ChildOptions],
    ) -> Step:
        """Run another workflow; the highest version at the time if none is named."""
        named = {"name": workflow} | ({"version": version} if version else {})
        return self._add(step_id, {"workflow": named, "input": _said(input)}, options)

    def pause(self, step_id: str, /, duration: Length, **placing: Unpack[Placing]) -> Step:
        """Wait for a length of time."""
        return self._add(step_id, {"wait": {"for": length(duration)}}, placing)

    def until(self, step_id: str, /, moment: object, **placing: Unpack[Placing]) -> Step:
        """Wait until a moment: an RFC 3339 text, or an expression that gives one."""
        return self._add(step_id, {"wait": {"until": template(moment)}}, placing)

    def signal(
        self,
        step_id: str,
        /,
        name: str,
        *,
        timeout: Length | None = None,
        on_timeout: Literal["fail", "skip"] | None = None,
        **placing: Unpack[Placing],
    ) -> Step:
        """Wait for a signal; its payload is the step's output."""
        wait = {"signal": name, "timeout": timeout and length(timeout), "on_timeout": on_timeout}
        return self._add(step_id, {"wait": {key: value for key, value in wait.items() if value is not None}}, placing)

    def switch(
        self, step_id: str, /, *, no_match: Literal["fail", "skip"] | None = None, **placing: Unpack[Placing]
    ) -> Switch:
        """Run the first of its cases whose condition is true."""
        cases: list[Tree] = []
        self._add(step_id, {"switch": cases, "no_match": no_match}, placing)
        return Switch(step_id, cases)

    def parallel(
        self, step_id: str, /, *, merge: Literal["error", "first", "last"] | None = None, **joining: Unpack[Joining]
    ) -> Parallel:
        """Run branches side by side."""
        branches: dict[str, list[Tree]] = {}
        group = _group({"branches": branches}, joining) | ({"merge": merge} if merge else {})
        self._add(step_id, {"parallel": group}, joining)
        return Parallel(step_id, branches)

    def map(self, step_id: str, /, over: object, **joining: Unpack[Joining]) -> Map:
        """Run the same steps for each item of a list."""
        steps: list[Tree] = []
        self._add(step_id, {"map": _group({"over": template(over), "steps": steps}, joining)}, joining)
        return Map(step_id, steps)

    def loop(
        self,
        step_id: str,
        /,
        until: Condition,
        *,
        max_iterations: int,
        delay: Length | None = None,
        on_limit: Literal["fail", "succeed"] | None = None,
        **placing: Unpack[Placing],
    ) -> Loop:
        """
        Run the same steps again and again until `until` is true of a round, `max_iterations` times at most.

        `until` names the steps of the round by their ids: `Step("ask").output.ready`.
        """
        steps: list[Tree] = []
        pause = None if delay is None else length(delay)
        loop: Tree = {"until": source_of(until), "max_iterations": max_iterations, "delay": pause, "on_limit": on_limit}
        said = {key: value for key, value in loop.items() if value is not None}
        self._add(step_id, {"loop": said | {"steps": steps}}, placing)
        return Loop(step_id, steps)

    def _add(self, step_id: str, kind: Tree, options: Placing) -> Step:
        """As people write it: when it begins, the kind's own keys, and what else stands beside them."""
        said: Tree = {key: _said(value, key) for key, value in options.items() if key not in _GROUP}
        begins: Tree = {key: said.pop(key) for key in ("after", "trigger", "when") if key in said}
        step = {"id": step_id, **begins, **kind, **said}
        self._tree.append({key: value for key, value in step.items() if value is not None})
        return Step(step_id)


class Switch(Step, Block):
    """Cases, tried in order of declaration."""

    def __init__(self, step_id: str, tree: list[Tree]) -> None:
        super().__init__(step_id)
        self._tree = tree

    def case(self, when: Condition, *, name: str | None = None) -> Sequence:
        """What runs if `when` is true and nothing before it was."""
        steps: list[Tree] = []
        self._tree.append(({"name": name} if name else {}) | {"when": source_of(when), "steps": steps})
        return Sequence(steps)

    def otherwise(self) -> Sequence:
        """What runs if nothing was true."""
        steps: list[Tree] = []
        self._tree.append({"otherwise": steps})
        return Sequence(steps)


class Parallel(Step, Block):
    """Branches; their outputs are the group's, by name."""

    def __init__(self, step_id: str, tree: dict[str, list[Tree]]) -> None:
        super().__init__(step_id)
        self._tree = tree

    def branch(self, name: str) -> Sequence:
        """A new branch. Raises ValueError if there is one of this name."""
        if name in self._tree:
            raise ValueError(f"group {self.id!r} has a branch {name!r} already")
        return Sequence(self._tree.setdefault(name, []))


class Map(Step, Sequence):
    """The steps of one iteration."""

    def __init__(self, step_id: str, tree: list[Tree]) -> None:
        Step.__init__(self, step_id)
        Sequence.__init__(self, tree)

    @property
    def item(self) -> Path:
        """The item of the iteration."""
        return Path("item")

    @property
    def index(self) -> Path:
        """Its place in the list, from 0."""
        return Path("index")


class Loop(Step, Sequence):
    """The steps of one round."""

    def __init__(self, step_id: str, tree: list[Tree]) -> None:
        Step.__init__(self, step_id)
        Sequence.__init__(self, tree)

    @property
    def index(self) -> Path:
        """Which round it is, from 0."""
        return Path("index")


_GROUP = ("join", "quorum", "tolerate", "max_concurrency")


def _group(tree: Tree, joining: Joining) -> Tree:
    said: Tree = {key: value for key, value in joining.items() if key in _GROUP}
    if "quorum" in said:
        said["join"] = {"quorum": said.pop("quorum")}
    return tree | said


def _said(value: object, key: str = "") -> object:
    """An option as the language writes it."""
    if key == "after":
        steps = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        return [step.id if isinstance(step, Step) else step for step in steps]
    if key == "when" and isinstance(value, Expression | str):
        return source_of(value)
    if isinstance(value, Retry | Timeouts | Cache | Target):
        return tree_of(value)
    return template(value)
