"""From a document's tree to a definition, or to everything that is wrong with it."""

from __future__ import annotations

import semantic_version

from forgemesh.faults import Violation
from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.orchestrator.workflow.content import content_hash
from forgemesh.orchestrator.workflow.definition import Concurrency, Definition, InputField
from forgemesh.orchestrator.workflow.expressions.expression import Compiler
from forgemesh.orchestrator.workflow.expressions.template import Literal
from forgemesh.orchestrator.workflow.parse.document import Reading
from forgemesh.orchestrator.workflow.parse.fields import Fields, Mistakes, TooManyMistakes
from forgemesh.orchestrator.workflow.parse.name_scope import NameScope
from forgemesh.orchestrator.workflow.parse.steps import MAX_CONCURRENCY, StepReader

TYPES = ("string", "integer", "number", "boolean", "object", "array", "any")
_START = NameScope(frozenset({"input", "execution"}))


def parse_definition(
    tree: object, source: str, compiler: Compiler, mistakes: Mistakes, *, namespace: str = "default"
) -> Definition:
    """The checked and compiled definition; raises DefinitionInvalid with every violation."""
    if not isinstance(tree, dict):
        mistakes.add((), "a definition is a mapping with `name` and `steps`")
        raise DefinitionInvalid("", mistakes.found)
    try:
        definition = _definition(tree, source, Reading(compiler, mistakes), namespace)
    except TooManyMistakes:
        mistakes.found.append(Violation("document", "there may be more mistakes; reading ended after these"))
    if mistakes.found:
        name = tree.get("name")
        raise DefinitionInvalid(name if isinstance(name, str) else "", mistakes.found)
    return definition


def _definition(tree: dict[str, object], source: str, reading: Reading, namespace: str) -> Definition:
    fields = Fields(tree, (), reading.mistakes)
    name = fields.text("name", required=True)
    reading.check_name(name, ("name",), wanted=isinstance(tree.get("name"), str))
    digest = content_hash(tree)
    declared = _input(fields)
    description = fields.text("description")
    timeout = fields.seconds("timeout", None)
    names = _variable_names(tree)
    reading.variables = frozenset(names)
    variables = reading.assignments(fields, "vars", lambda index: _START.plus(*_qualified(names[:index])))
    concurrency = _concurrency(fields, reading)
    limit = fields.whole("max_concurrency", 0, low=0, high=MAX_CONCURRENCY)
    scope = _START.plus(*_qualified(names))
    steps = StepReader(reading)
    sequence = steps.sequence(fields.items("steps"), ("steps",), scope)
    output = reading.template(fields, "output", scope.within(steps.reach(sequence)), default=Literal(None))
    version = _version(fields, digest)
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
        vars=variables,
        max_concurrency=limit,
        concurrency=concurrency,
        steps=sequence,
        output=output,
    )


def _variable_names(tree: dict[str, object]) -> list[str]:
    declared = tree.get("vars")
    return [str(name) for name in declared] if isinstance(declared, dict) else []


def _qualified(names: list[str]) -> list[str]:
    return [f"vars.{name}" for name in names]


def _version(fields: Fields, digest: str) -> str:
    version = fields.text("version", default=f"0.0.0+{digest[:12]}")
    if not semantic_version.validate(version):
        fields.mistakes.add(("version",), f"{version!r} is not a semantic version such as 1.0.0")
    return version


def _input(fields: Fields) -> dict[str, InputField] | None:
    declared = fields.mapping("input")
    if declared is None:
        return None
    result: dict[str, InputField] = {}
    for key in declared.tree:
        word = declared.text(key)
        type_name = word.removesuffix("?")
        if type_name not in TYPES:
            fields.mistakes.add(("input", key), f"{word!r} is none of {', '.join(TYPES)} (with ? if optional)")
        result[key] = InputField(type_name, required=not word.endswith("?"))
    return result


def _concurrency(fields: Fields, reading: Reading) -> Concurrency | None:
    given = fields.mapping("concurrency")
    if given is None:
        return None
    if not given.has("key"):
        given.mistakes.add((*given.place, "key"), "key is missing: executions with the same key share places")
    conflict = given.choice("on_conflict", ("queue", "cancel_in_progress", "cancel_newest"), "queue")
    rule = Concurrency(
        key=reading.template(given, "key", _START, default=Literal("")),
        limit=given.whole("limit", 1, low=1, high=MAX_CONCURRENCY),
        on_conflict=conflict,  # type: ignore[arg-type]
    )
    given.finish()
    return rule
