"""People read what JSON and YAML say, and never what Python would print."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from forgemesh.faults import workflow
from forgemesh.faults.workflow import DefinitionInvalid, ExecutionInputInvalid
from forgemesh.language.allowance import Allowance
from forgemesh.language.json_value import shown
from forgemesh.orchestrator.values.payload import json_payload
from forgemesh.orchestrator.workflow.call_input import input_mistakes, known_of
from forgemesh.orchestrator.workflow.expressions.template import Literal
from forgemesh.orchestrator.workflow.input_check import check_input
from forgemesh.orchestrator.workflow.yaml.source import read_document
from tests.unit.language.every_key import EVERY_KEY
from tests.unit.orchestrator.histories import History
from tests.unit.orchestrator.workflows import call, of_steps, parsed

ODD = [None, True, False, [None], [True, None], {"zz": None}, {"zz": [False]}, -1.5, [], {}]
PYTHON = re.compile(r"\bNone\b|\bTrue\b|\bFalse\b|\{'|\bdict\b|\bNoneType\b|\bfloat\b|<[a-z_]+ ?object")


def places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


def with_odd(tree: Any, place: tuple[Any, ...], odd: Any) -> Any:
    changed = copy.deepcopy(tree)
    around = changed
    for key in place[:-1]:
        around = around[key]
    around[place[-1]] = odd
    return changed


def said_of(text: str) -> list[str]:
    try:
        parsed(text)
    except DefinitionInvalid as error:
        return [error.message, *(violation.message for violation in error.violations)]
    return []


@pytest.mark.parametrize("odd", [None, {"zz": [None, True]}], ids=json.dumps)
def test_a_definition_with_an_odd_value_is_refused_in_words_of_json(odd: Any) -> None:
    tree = read_document(EVERY_KEY).tree
    said = [(place, text) for place in places(tree) for text in said_of(json.dumps(with_odd(tree, place, odd)))]

    assert [one for one in said if PYTHON.search(one[1])] == []


@pytest.mark.parametrize("odd", ODD, ids=json.dumps)
@pytest.mark.parametrize("kind", ["string", "integer", "boolean", "object", "array", "number"])
def test_an_input_with_an_odd_value_is_refused_in_words_of_json(odd: Any, kind: str) -> None:
    definition = of_steps(call("a"), input={"w": kind})

    with pytest.raises(ExecutionInputInvalid) as refused:
        check_input(definition, json_payload({"w": odd, "v": odd}))
    assert not PYTHON.search(refused.value.message)


@pytest.mark.parametrize("odd", ODD, ids=json.dumps)
@pytest.mark.parametrize("schema", [{"type": "string"}, {"enum": [None, "a", True]}, {"const": None}, {"minimum": 3}])
def test_what_cannot_fit_a_schema_is_told_in_words_of_json(odd: Any, schema: dict[str, Any]) -> None:
    whole = json.dumps({"type": "object", "properties": {"v": schema}})

    known = known_of(Literal({"v": odd}))
    assert [said for said in input_mistakes(known, whole, Allowance(10_000)) if PYTHON.search(said)] == []


@pytest.mark.parametrize("field", ["when", "over", "until", "affinity"])
@pytest.mark.parametrize("odd", [None, {"a": None}, [True], True], ids=json.dumps)
def test_an_expression_with_an_odd_value_fails_in_words_of_json(field: str, odd: Any) -> None:
    steps: dict[str, dict[str, Any]] = {
        "when": call("a", when="input.v"),
        "over": {"id": "a", "map": {"over": "${input.v}", "steps": [call("x")]}},
        "until": {"id": "a", "wait": {"until": "${input.v}"}},
        "affinity": call("a", affinity="x ${input.v}"),
    }
    history = History(of_steps(steps[field]), {"v": odd})

    failure = history.state.failure
    assert failure is None or not PYTHON.search(failure.message)


def test_facts_of_a_failure_are_said_in_words_of_json() -> None:
    lost = workflow.HostLost("i-1", accepted=True)

    assert not PYTHON.search(json.dumps(dict(lost.metadata)))


def test_a_value_is_shown_as_json_and_a_text_in_single_quotes() -> None:
    assert [shown(value) for value in ("a", None, True, {"a": [1, None]}, 1.5)] == [
        "'a'",
        "null",
        "true",
        '{"a":[1,null]}',
        "1.5",
    ]
