"""What of a step's definition decides its result, so that a fork knows whether a result still holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from forgemesh.orchestrator.workflow.definition import (
    Branch,
    Call,
    Child,
    Join,
    Loop,
    Map,
    Parallel,
    Sequence,
    Step,
    Switch,
    Target,
    Wait,
    branches_of,
)
from forgemesh.orchestrator.workflow.expressions.reading import Reference
from forgemesh.orchestrator.workflow.expressions.template import (
    Computed,
    Fields,
    Items,
    Literal,
    Template,
    Text,
    without_strings,
)

Content: TypeAlias = tuple[object, ...]
_INDEX = re.compile(r"(?<![\w.])index\b")


def content(step: Step) -> Content:
    """
    Equal for steps that do the same: kind, target, templates, conditions, trigger and whatever is inside.

    How often and how long it is tried, what it costs, and how it is undone do not count.
    """
    sets = tuple((name, _form(template)) for name, template in step.sets)
    return (step.kind, step.id, step.trigger, _condition(step.when), sets, *_own(step))


def _own(step: Step) -> Content:
    match step:
        case Call():
            return (_target(step.target), _form(step.input))
        case Child():
            return (step.workflow, step.version, _form(step.input))
        case Switch():
            return (step.no_match, tuple(branch_content(branch) for branch in step.branches))
        case Parallel():
            named = tuple(branch_content(branch) for branch in step.branches)
            return (_join(step.join), step.merge, named if step.merge != "error" else frozenset(named))
        case Map():
            return (_join(step.join), _form(step.over), _sequence(step.steps))
        case Loop():
            return (_condition(step.until), step.max_iterations, step.on_limit, _sequence(step.steps))
        case Wait():
            until = _form(step.until) if step.until is not None else None
            return (step.seconds, until, step.signal, step.on_timeout)


def branch_content(branch: Branch) -> Content:
    """Of a branch: its name, its condition and its steps."""
    return (branch.name, _condition(branch.when), _sequence(branch.steps))


def same_condition(one: Branch, other: Branch) -> bool:
    """Whether two branches of switches are chosen by the same expression."""
    return _condition(one.when) == _condition(other.when)


def _sequence(steps: Sequence) -> Content:
    names = [step.id for step in steps]
    before = tuple(frozenset(names[index] for index in indexes) for indexes in steps.before)
    return (tuple(content(step) for step in steps), before)


def _target(target: Target) -> Content:
    provider = (target.operation, target.plugin_id, target.interface, target.version_range)
    return (*provider, tuple(sorted(target.must.items())), tuple(sorted(target.prefer.items())))


def _join(join: Join) -> Content:
    return (join.mode, join.quorum, join.tolerate)


def _condition(when: Computed | None) -> object:
    return None if when is None else when.program.source


def _form(template: Template) -> object:
    match template:
        case Literal(value):
            return ("value", msgspec.json.encode(value, order="sorted"))
        case Reference():
            return ("path", template.source)
        case Computed(program):
            return ("expression", program.source)
        case Fields(fields):
            return ("object", frozenset((key, _form(value)) for key, value in fields))
        case Items(items):
            return ("list", tuple(_form(item) for item in items))
        case Text(parts):
            return ("text", tuple(part if isinstance(part, str) else _form(part) for part in parts))


def variables_in(template: Template | Computed) -> Iterator[str]:
    """The variables that a template looks into, such as "input" and "steps.a.output"; some more than once."""
    match template:
        case Literal():
            return
        case Reference(variable):
            yield variable
        case Computed(_, reads):
            yield from (reference.variable for reference in reads)
        case Fields(fields):
            for _, value in fields:
                yield from variables_in(value)
        case Items(parts) | Text(parts):
            for part in parts:
                if not isinstance(part, str):
                    yield from variables_in(part)


def reads_index(steps: Sequence) -> bool:
    """Whether what the steps of a map do depends on the index of the item."""
    return any(
        "index" in variables_in(template)
        or (isinstance(template, Computed) and _INDEX.search(without_strings(template.program.source)) is not None)
        for step in steps
        for template in _templates(step)
    )


def _templates(step: Step) -> Iterator[Template | Computed]:
    yield from (template for _, template in step.sets)
    if step.when is not None:
        yield step.when
    match step:
        case Call() | Child():
            yield step.input
        case Wait():
            yield from () if step.until is None else (step.until,)
        case Map():
            yield step.over
        case Loop():
            yield step.until
        case Switch() | Parallel():
            yield from (branch.when for branch in step.branches if branch.when is not None)
    for branch in branches_of(step):
        for inner in branch.steps:
            yield from _templates(inner)
