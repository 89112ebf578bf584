"""From a document's tree to a definition, or to everything that is wrong with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec
import semantic_version

from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.orchestrator.domain.definition import (
    OTHERWISE,
    Branch,
    Call,
    Definition,
    InputField,
    Parallel,
    Step,
    Switch,
)
from forgemesh.orchestrator.domain.expression import Compiler, ExpressionMistake
from forgemesh.orchestrator.domain.fields import Fields, Mistakes, Place
from forgemesh.orchestrator.domain.order import cycle_among
from forgemesh.orchestrator.domain.retry import RetryRule
from forgemesh.orchestrator.domain.template import (
    EMPTY,
    Computed,
    Literal,
    Template,
    TemplateCompiler,
    compile_expression,
)

MAX_STEPS = 1_000
MAX_DEPTH = 50
MAX_ATTEMPTS = 100

_ID = re.compile(r"[a-z_][a-z0-9_]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)
_STEP_KEYS = frozenset({"id", "call", "switch", "parallel", "input", "retry", "timeouts", "no_match"})
_TYPES = ("string", "integer", "number", "boolean", "object", "array", "any")


def parse_definition(
    tree: object, source: str, compiler: Compiler, mistakes: Mistakes, *, namespace: str = "default"
) -> Definition:
    """The checked and compiled definition; raises DefinitionInvalid with every violation."""
    if not isinstance(tree, dict):
        mistakes.add((), "a definition is a mapping with `name` and `steps`")
        raise DefinitionInvalid("", mistakes.found)
    definition = _Parser(compiler, mistakes).definition(tree, source, namespace)
    if mistakes.found:
        raise DefinitionInvalid(definition.name, mistakes.found)
    return definition


def content_hash(tree: object) -> str:
    """SHA-256 of the tree's canonical JSON: comments, layout and the order of keys do not count."""
    return hashlib.sha256(msgspec.json.encode(tree, order="sorted")).hexdigest()


class _Parser:
    """`_visible` holds, while a step is read, the variables that its expressions may name."""

    def __init__(self, compiler: Compiler, mistakes: Mistakes) -> None:
        self._compiler = compiler
        self._mistakes = mistakes
        self._steps = 0
        self._visible: dict[str, None] = {"input": None, "execution": None}

    def definition(self, tree: dict[str, object], source: str, namespace: str) -> Definition:
        fields = Fields(tree, (), self._mistakes)
        name = fields.text("name", required=True)
        if isinstance(tree.get("name"), str) and not _NAME.fullmatch(name):
            self._mistakes.add(("name",), f"{name!r} is not 1 to 200 letters, digits, '.', '_' or '-'")
        digest = content_hash(tree)
        declared = self._input(fields)
        description = fields.text("description")
        timeout = fields.seconds("timeout", None)
        steps = self._sequence(fields.items("steps"), ("steps",), 1)
        for step in steps:
            self._visible |= _facts_of(step.id)
        output = self._template(fields, "output", default=Literal(None))
        version = self._version(fields, digest)
        fields.finish()
        return Definition(
            namespace=namespace,
            name=name,
            version=version,
            content_hash=digest,
            source=source,
            description=description,
            input=declared,
            timeout=timeout,
            steps=steps,
            output=output,
        )

    def _version(self, fields: Fields, digest: str) -> str:
        version = fields.text("version", default=f"0.0.0+{digest[:12]}")
        if not semantic_version.validate(version):
            self._mistakes.add(("version",), f"{version!r} is not a semantic version such as 1.0.0")
        return version

    def _input(self, fields: Fields) -> Mapping[str, InputField] | None:
        declared = fields.mapping("input")
        if declared is None:
            return None
        result: dict[str, InputField] = {}
        for key in declared.tree:
            word = declared.text(key)
            type_name = word.removesuffix("?")
            if type_name not in _TYPES:
                self._mistakes.add(("input", key), f"{word!r} is none of {', '.join(_TYPES)} (with ? if optional)")
            result[key] = InputField(type_name, required=not word.endswith("?"))
        return result

    def _sequence(self, trees: Sequence[object], place: Place, depth: int) -> tuple[Step, ...]:
        """Each step sees those before it and those around it that are complete when it runs."""
        if not trees:
            self._mistakes.add(place, "there must be at least one step")
        if depth > MAX_DEPTH:
            self._mistakes.add(place, f"groups are nested deeper than {MAX_DEPTH}")
            return ()
        cycle = cycle_among(trees)
        if cycle:
            index, path = cycle
            self._mistakes.add((*place, index), f"the steps wait for one another in a cycle: {' -> '.join(path)}")
        steps: list[Step] = []
        known: set[str] = set()
        added: dict[str, None] = {}
        for index, tree in enumerate(trees):
            step = self._step(tree, (*place, index), known, depth)
            if step is not None:
                known.add(step.id)
                steps.append(step)
                new = {name: None for name in _facts_of(step.id) if name not in self._visible}
                self._visible |= new
                added |= new
        for name in added:
            del self._visible[name]
        return tuple(steps)

    def _step(self, tree: object, place: Place, known: set[str], depth: int) -> Step | None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            if self._steps == MAX_STEPS + 1:
                self._mistakes.add(place, f"there are more than {MAX_STEPS} steps")
            return None
        if not isinstance(tree, dict):
            self._mistakes.add(place, "a step is a mapping with `id` and one of call, switch, parallel")
            return None
        fields = Fields(tree, place, self._mistakes)
        step_id = self._step_id(fields, known)
        kinds = [kind for kind in ("call", "switch", "parallel") if kind in tree]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            self._mistakes.add(place, f"step {step_id!r} needs exactly one of call, switch, parallel; found {found}")
            fields.taken |= _STEP_KEYS
            fields.finish()
            return None
        parsers: dict[str, Callable[[Fields, str, int], Step]] = {
            "call": self._call,
            "switch": self._switch,
            "parallel": self._parallel,
        }
        step = parsers[kinds[0]](fields, step_id, depth)
        fields.finish()
        return step

    def _step_id(self, fields: Fields, known: set[str]) -> str:
        step_id = fields.text("id", required=True)
        place = (*fields.place, "id")
        if step_id and step_id in known:
            self._mistakes.add(place, f"two steps have the id {step_id!r}")
        elif step_id or fields.tree.get("id") == "":
            self._check_identifier(step_id, place)
        return step_id

    def _check_identifier(self, name: str, place: Place) -> None:
        if not _ID.fullmatch(name) or name in _RESERVED:
            self._mistakes.add(
                place,
                f"{name!r:.100} is not an identifier: lower-case letters, digits and _, at most 64, no reserved word",
            )

    def _call(self, fields: Fields, step_id: str, depth: int) -> Call:
        call = fields.mapping("call", required=True)
        plugin_id, version_range, operation = "", "", ""
        if call is not None:
            plugin_id, _, version_range = call.text("plugin", required=True).partition("@")
            operation = call.text("operation", required=True)
            self._check_range(version_range, (*call.place, "plugin"))
            for key, value in (("plugin", plugin_id), ("operation", operation)):
                if not value and isinstance(call.tree.get(key), str):
                    self._mistakes.add((*call.place, key), f"{key} names nothing")
            call.finish()
        timeouts = fields.mapping("timeouts")
        start_to_close = timeouts.seconds("start_to_close", 60.0) if timeouts else 60.0
        if timeouts:
            timeouts.finish()
        return Call(
            id=step_id,
            plugin_id=plugin_id,
            version_range=version_range,
            operation=operation,
            input=self._template(fields, "input", default=EMPTY),
            retry=self._retry(fields),
            start_to_close=start_to_close or 60.0,
            where=self._mistakes.where((*fields.place, "call", "plugin")),
        )

    def _check_range(self, version_range: str, place: Place) -> None:
        try:
            if version_range:
                semantic_version.NpmSpec(version_range)
        except ValueError:
            self._mistakes.add(place, f"{version_range!r} is not a version range such as ^1.2 or >=1.0.0")

    def _retry(self, fields: Fields) -> RetryRule:
        retry = fields.mapping("retry")
        if retry is None:
            return RetryRule()
        rule = RetryRule(
            max_attempts=retry.whole("max_attempts", 3, low=1, high=MAX_ATTEMPTS),
            initial=retry.seconds("initial", 0.2) or 0.2,
            coefficient=retry.number("coefficient", 2.0, low=1.0, high=100.0),
            max_interval=retry.seconds("max_interval", 10.0) or 10.0,
            non_retryable=frozenset(self._reasons(retry)),
        )
        retry.finish()
        return rule

    def _reasons(self, retry: Fields) -> list[str]:
        reasons = retry.items("non_retryable")
        for index, reason in enumerate(reasons):
            if not isinstance(reason, str):
                self._mistakes.add((*retry.place, "non_retryable", index), f"{reason!r:.60} is not a text")
        return [str(reason) for reason in reasons]

    def _switch(self, fields: Fields, step_id: str, depth: int) -> Switch:
        cases = fields.items("switch")
        branches = [
            branch
            for index, tree in enumerate(cases)
            if (branch := self._case(tree, (*fields.place, "switch", index), index, depth)) is not None
        ]
        if not cases:
            self._mistakes.add((*fields.place, "switch"), "a switch needs at least one case")
        names = [branch.name for branch in branches]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._mistakes.add((*fields.place, "switch"), f"two cases have the name {name!r}")
        if OTHERWISE in names[:-1]:
            self._mistakes.add((*fields.place, "switch"), "`otherwise` must be the last case")
        no_match = fields.choice("no_match", ("fail", "skip"), "fail")
        return Switch(id=step_id, branches=tuple(branches), no_match="skip" if no_match == "skip" else "fail")

    def _case(self, tree: object, place: Place, index: int, depth: int) -> Branch | None:
        if not isinstance(tree, dict):
            self._mistakes.add(place, "a case is a mapping with `when` and `steps`, or with `otherwise`")
            return None
        fields = Fields(tree, place, self._mistakes)
        if OTHERWISE in tree:
            steps = self._sequence(fields.items(OTHERWISE), (*place, OTHERWISE), depth + 1)
            fields.finish()
            return Branch(OTHERWISE, steps)
        name = fields.text("name", default=f"case_{index + 1}")
        self._check_identifier(name, (*place, "name"))
        when = self._condition(fields)
        steps = self._sequence(fields.items("steps"), (*place, "steps"), depth + 1)
        fields.finish()
        return Branch(name, steps, when)

    def _condition(self, fields: Fields) -> Computed | None:
        source = fields.text("when", required=True)
        if not source and fields.tree.get("when") != "":
            return None
        try:
            return compile_expression(source, self._compiler, self._visible, boolean=True)
        except ExpressionMistake as error:
            self._mistakes.add((*fields.place, "when"), error.message, offset=error.offset_in(source))
            return None

    def _parallel(self, fields: Fields, step_id: str, depth: int) -> Parallel:
        group = fields.mapping("parallel", required=True)
        named = group.mapping("branches", required=True) if group else None
        branches: list[Branch] = []
        if named is not None:
            for name in named.tree:
                self._check_identifier(name, (*named.place, name))
                steps = self._sequence(named.items(name), (*named.place, name), depth + 1)
                branches.append(Branch(name, steps))
            if not branches:
                self._mistakes.add(named.place, "a parallel group needs at least one branch")
        if group is not None:
            group.choice("join", ("all",), "all")
            group.finish()
        return Parallel(id=step_id, branches=tuple(branches))

    def _template(self, fields: Fields, key: str, *, default: Template) -> Template:
        tree = fields.take(key)
        if tree is None:
            return default
        compiler = TemplateCompiler(self._compiler, self._visible)
        template = compiler.compile(tree)
        for found in compiler.mistakes:
            self._mistakes.add((*fields.place, key, *found.path), found.message, offset=found.offset)
        return template


def _facts_of(step_id: str) -> dict[str, None]:
    """The variables that a step is to those that come after it."""
    return {f"steps.{step_id}.output": None, f"steps.{step_id}.status": None} if _ID.fullmatch(step_id) else {}
