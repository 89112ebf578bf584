"""From the trees of steps to steps: sequences and the graphs between their steps, groups and waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence as Listed

from forgemesh.language.json_value import shown
from forgemesh.orchestrator.values.moment import moment
from forgemesh.orchestrator.workflow.definition import (
    KINDS,
    OTHERWISE,
    Branch,
    Common,
    Loop,
    Map,
    Parallel,
    Sequence,
    Step,
    Switch,
    Trigger,
    Wait,
    is_undoable,
)
from forgemesh.orchestrator.workflow.expressions.template import Fields as Objects, Items, Literal, Template, Text
from forgemesh.orchestrator.workflow.parse.calls import read_call, read_child
from forgemesh.orchestrator.workflow.parse.document import IDENTIFIER, Reading
from forgemesh.orchestrator.workflow.parse.fields import Fields, Place
from forgemesh.orchestrator.workflow.parse.groups import read_join, variables_set
from forgemesh.orchestrator.workflow.parse.name_scope import EndedSteps, NameScope
from forgemesh.orchestrator.workflow.parse.step_graph import ancestors, before_each, cycle_among, ids_of, path_of
from forgemesh.orchestrator.workflow.step_content import reads_index

MAX_STEPS = 1_000
MAX_EDGES = 5_000
MAX_DEPTH = 50
MAX_BRANCHES = 500
MAX_CONCURRENCY = 10_000
MAX_ITERATIONS = 100_000
"""Rounds of one loop, as many as a map has items."""

_STEP_KEYS = frozenset(
    {*KINDS, "id", "after", "trigger", "when", "set", "input", "retry", "timeouts", "no_match", "idempotent"}
    | {"in_doubt", "on_exhausted", "compensate", "cache", "priority", "affinity", "on_close"}
)
_TRIGGERS = tuple(trigger.value for trigger in Trigger)


class StepReader:
    """Reads all steps of one document."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._mistakes = reading.mistakes
        self._steps = 0
        self._edges = 0

    def sequence(self, trees: Listed[object], place: Place, scope: NameScope, depth: int = 1) -> Sequence:
        """Each step sees those before it in the graph, and what is visible around the sequence."""
        if not trees:
            self._mistakes.add(place, "there must be at least one step")
        trees = trees[: MAX_STEPS + 1]  # the one too many is refused; a graph of all others would cost too much
        if depth > MAX_DEPTH:
            self._mistakes.add(place, f"groups are nested deeper than {MAX_DEPTH}")
            return Sequence.in_order(())
        indexes = ids_of(trees)
        before = before_each(trees, indexes)
        cycle = cycle_among(trees)
        if cycle:
            index, path = cycle
            self._mistakes.add((*place, index), f"the steps wait for one another in a cycle: {path_of(path)}")
            before = [(index - 1,) if index else () for index in range(len(trees))]
        known = {step_id: index for step_id, index in indexes.items() if IDENTIFIER.fullmatch(step_id)}
        seen: set[str] = set()
        steps: list[Step] = []
        for index, ended in enumerate(ancestors(before)):
            inside = scope.within(EndedSteps(known, ended))
            step = self._step(trees[index], (*place, index), before[index], inside, seen, depth)
            if step is not None:
                steps.append(step)
        self._check_after(trees, place, indexes)
        whole = len(steps) == len(trees)
        return Sequence.of(tuple(steps), tuple(before)) if whole else Sequence.in_order(tuple(steps))

    def reach(self, steps: Sequence) -> EndedSteps:
        """All steps of a sequence that has ended."""
        return EndedSteps({step.id: index for index, step in enumerate(steps)}, (1 << len(steps)) - 1)

    def _check_after(self, trees: Listed[object], place: Place, indexes: dict[str, int]) -> None:
        for index, tree in enumerate(trees):
            after = tree.get("after") if isinstance(tree, dict) else None
            for number, name in enumerate(after if isinstance(after, list) else ()):
                self._edges += 1
                where = (*place, index, "after", number)
                if not isinstance(name, str) or name not in indexes:
                    known = ", ".join(indexes) or "none"
                    self._mistakes.add(where, f"{shown(name, 100)} is no step of this sequence; it has: {known:.500}")
        if self._edges > MAX_EDGES:
            self._mistakes.add(place, f"there are more than {MAX_EDGES} entries in `after`")
            self._edges = 0

    def _step(
        self, tree: object, place: Place, before: tuple[int, ...], scope: NameScope, seen: set[str], depth: int
    ) -> Step | None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            if self._steps == MAX_STEPS + 1:
                self._mistakes.add(place, f"there are more than {MAX_STEPS} steps")
            return None
        if not isinstance(tree, dict):
            self._mistakes.add(place, f"a step is a mapping with `id` and one of {', '.join(KINDS)}")
            return None
        fields = Fields(tree, place, self._mistakes)
        step_id = self._step_id(fields, seen)
        kinds = [kind for kind in KINDS if kind in tree]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            self._mistakes.add(place, f"step {step_id!r} needs exactly one of {', '.join(KINDS)}; found {found}")
            fields.taken |= _STEP_KEYS
            fields.finish()
            return None
        common = self._common(fields, step_id, before, scope, kinds[0])
        step = self._of_kind(kinds[0], fields, common, scope, depth)
        fields.finish()
        return step

    def _of_kind(self, kind: str, fields: Fields, common: Common, scope: NameScope, depth: int) -> Step:
        if kind == "call":
            return read_call(fields, common, self._reading, scope)
        if kind == "workflow":
            return read_child(fields, common, self._reading, scope)
        if kind == "wait":
            return self._wait(fields, common, scope)
        readers: dict[str, Callable[[Fields, Common, NameScope, int], Step]] = {
            "switch": self._switch,
            "parallel": self._parallel,
            "map": self._map,
            "loop": self._loop,
        }
        return readers[kind](fields, common, scope, depth)

    def _step_id(self, fields: Fields, seen: set[str]) -> str:
        step_id = fields.text("id", required=True)
        place = (*fields.place, "id")
        if step_id and step_id in seen:
            self._mistakes.add(place, f"two steps have the id {step_id!r}")
        elif step_id or fields.tree.get("id") == "":
            self._reading.check_identifier(step_id, place)
        seen.add(step_id)
        return step_id

    def _common(self, fields: Fields, step_id: str, before: tuple[int, ...], scope: NameScope, kind: str) -> Common:
        fields.items("after")
        trigger = fields.choice("trigger", _TRIGGERS, Trigger.ALL_SUCCEEDED.value)
        if trigger == Trigger.ANY_SUCCEEDED.value and not before:
            self._mistakes.add((*fields.place, "trigger"), f"{trigger} needs a step that comes before; there is none")
        afterwards = scope.with_step(step_id)
        sets = self._reading.assignments(fields, "set", lambda index: afterwards)
        self._reading.check_declared([name for name, _ in sets], (*fields.place, "set"))
        place = (*fields.place, "call", "plugin") if kind == "call" else (*fields.place, kind)
        return Common(
            id=step_id,
            after=before,
            trigger=Trigger(trigger),
            when=self._reading.condition(fields, "when", scope, required=False),
            sets=sets,
            where=self._mistakes.where(place),
        )

    def _switch(self, fields: Fields, common: Common, scope: NameScope, depth: int) -> Switch:
        cases = fields.items("switch")
        place = (*fields.place, "switch")
        branches = [
            branch
            for index, tree in enumerate(cases)
            if (branch := self._case(tree, (*place, index), index, scope, depth)) is not None
        ]
        if not cases:
            self._mistakes.add(place, "a switch needs at least one case")
        names = [branch.name for branch in branches]
        for name in sorted(name for name, count in Counter(names).items() if count > 1):
            self._mistakes.add(place, f"two cases have the name {name!r}")
        if OTHERWISE in names[:-1]:
            self._mistakes.add(place, "`otherwise` must be the last case")
        no_match = fields.choice("no_match", ("fail", "skip"), "fail")
        return Switch(**common.facts(), branches=tuple(branches), no_match="skip" if no_match == "skip" else "fail")

    def _case(self, tree: object, place: Place, index: int, scope: NameScope, depth: int) -> Branch | None:
        if not isinstance(tree, dict):
            self._mistakes.add(place, "a case is a mapping with `when` and `steps`, or with `otherwise`")
            return None
        fields = Fields(tree, place, self._mistakes)
        if OTHERWISE in tree:
            steps = self.sequence(fields.items(OTHERWISE), (*place, OTHERWISE), scope, depth + 1)
            fields.finish()
            return Branch(OTHERWISE, steps)
        name = fields.text("name", default=f"case_{index + 1}")
        self._reading.check_identifier(name, (*place, "name"))
        when = self._reading.condition(fields, "when", scope, required=True)
        steps = self.sequence(fields.items("steps"), (*place, "steps"), scope, depth + 1)
        fields.finish()
        return Branch(name, steps, when)

    def _parallel(self, fields: Fields, common: Common, scope: NameScope, depth: int) -> Parallel:
        group = fields.mapping("parallel", required=True)
        if group is None:
            return Parallel(**common.facts(), branches=())
        named = group.mapping("branches", required=True)
        branches = self._branches(named, scope, depth) if named is not None else ()
        merge = group.choice("merge", ("error", "first", "last"), "error")
        join = read_join(group, len(branches))
        limit = group.whole("max_concurrency", 0, low=0, high=MAX_CONCURRENCY)
        group.finish()
        if merge == "error":
            self._check_merge(branches, group.place)
        return Parallel(**common.facts(), branches=branches, join=join, max_concurrency=limit, merge=merge)  # type: ignore[arg-type]

    def _branches(self, named: Fields, scope: NameScope, depth: int) -> tuple[Branch, ...]:
        if not named.tree:
            self._mistakes.add(named.place, "a parallel group needs at least one branch")
        if len(named.tree) > MAX_BRANCHES:
            message = (
                f"there are {len(named.tree)} branches, at most {MAX_BRANCHES} are allowed; a map runs over a list"
            )
            self._mistakes.add(named.place, message)
            named.taken |= set(named.tree)
            return ()
        branches = []
        for name in named.tree:
            self._reading.check_identifier(name, (*named.place, name))
            steps = self.sequence(named.items(name), (*named.place, name), scope, depth + 1)
            branches.append(Branch(name, steps))
        return tuple(branches)

    def _check_merge(self, branches: tuple[Branch, ...], place: Place) -> None:
        setters: dict[str, list[str]] = {}
        for branch in branches:
            for name in variables_set(branch.steps):
                setters.setdefault(name, []).append(branch.name)
        for name, found in setters.items():
            if len(found) > 1:
                message = f"branches {', '.join(found)} all set variable {name!r}; say with `merge: first` or"
                self._mistakes.add(place, f"{message} `merge: last` whose value counts, in order of declaration")

    def _map(self, fields: Fields, common: Common, scope: NameScope, depth: int) -> Map:
        group = fields.mapping("map", required=True)
        if group is None:
            return Map(**common.facts(), over=Literal([]), steps=Sequence.in_order(()))
        if not group.has("over"):
            self._mistakes.add((*group.place, "over"), "over is missing: say which list the steps run over")
        over = self._reading.template(group, "over", scope, default=Literal([]))
        if isinstance(over, Text | Objects) or (isinstance(over, Literal) and not isinstance(over.value, list)):
            self._mistakes.add(
                (*group.place, "over"), "a map runs over a list; give one, or an expression such as ${input.items}"
            )
        inside = scope.plus("item", "index")
        steps = self.sequence(group.items("steps"), (*group.place, "steps"), inside, depth + 1)
        join = read_join(group, None)
        limit = group.whole("max_concurrency", 0, low=0, high=MAX_CONCURRENCY)
        group.finish()
        return Map(
            **common.facts(),
            over=over,
            steps=steps,
            join=join,
            max_concurrency=limit,
            undoable=is_undoable(steps),
            by_index=reads_index(steps),
        )

    def _loop(self, fields: Fields, common: Common, scope: NameScope, depth: int) -> Loop:
        group = fields.mapping("loop", required=True)
        if group is None:
            return Loop(**common.facts(), until=self._reading.never(), steps=Sequence.in_order(()), max_iterations=1)
        inside = scope.plus("index")
        steps = self.sequence(group.items("steps"), (*group.place, "steps"), inside, depth + 1)
        until = self._reading.condition(group, "until", inside.within(self.reach(steps)), required=True)
        limit = group.whole("max_iterations", 1, low=1, high=MAX_ITERATIONS)
        if not group.has("max_iterations"):
            self._mistakes.add(
                (*group.place, "max_iterations"),
                f"max_iterations is missing: say how many rounds there may be at most, 1 to {MAX_ITERATIONS}",
            )
        on_limit = group.choice("on_limit", ("fail", "succeed"), "fail")
        delay = group.seconds("delay", None)
        group.finish()
        return Loop(
            **common.facts(),
            until=until or self._reading.never(),
            steps=steps,
            max_iterations=limit,
            delay=delay or 0.0,
            on_limit="succeed" if on_limit == "succeed" else "fail",
            undoable=is_undoable(steps),
        )

    def _wait(self, fields: Fields, common: Common, scope: NameScope) -> Wait:
        wait = fields.mapping("wait", required=True)
        if wait is None:
            return Wait(**common.facts())
        given = [key for key in ("for", "until", "signal") if wait.has(key)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            self._mistakes.add(wait.place, f"a wait needs exactly one of for, until, signal; found {found}")
        signal = wait.text("signal")
        self._reading.check_name(signal, (*wait.place, "signal"), wanted=isinstance(wait.tree.get("signal"), str))
        seconds = wait.seconds("for", None)
        if wait.has("signal"):
            seconds = wait.seconds("timeout", None)
            on_timeout = wait.choice("on_timeout", ("fail", "skip"), "fail")
        else:
            on_timeout = "fail"
        until = self._until(wait, scope)
        wait.finish()
        return Wait(
            **common.facts(),
            seconds=seconds,
            until=until,
            signal=signal,
            on_timeout="skip" if on_timeout == "skip" else "fail",
        )

    def _until(self, wait: Fields, scope: NameScope) -> Template | None:
        until = self._reading.optional_template(wait, "until", scope)
        never = isinstance(until, Items | Objects)
        if never or (isinstance(until, Literal) and moment(until.value) is None):
            said = shown(wait.tree["until"], 60)
            message = f"{said} is not a moment before 2262 such as '2026-01-31T12:00:00Z', with a zone"
            self._mistakes.add((*wait.place, "until"), message)
        return until
