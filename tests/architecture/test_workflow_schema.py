import importlib.util
import json
import random
from typing import Any

import pytest
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator

from forgemesh.orchestrator.workflow.yaml.source import read_document
from tests.architecture.repository import ROOT, tracked
from tests.architecture.test_documentation import definitions
from tests.unit.client.test_workflow import ORDER
from tests.unit.language.every_key import EVERY_KEY
from tests.unit.orchestrator.random_workflows import Author
from tests.unit.orchestrator.workflows import CALL, call, case, map_, parallel, switch, violations_of, wait

FOLDER = ROOT / "docs" / "schema"
COMMITTED = (FOLDER / "workflow.schema.json").read_text(encoding="utf-8")
VALIDATOR = Draft202012Validator(json.loads(COMMITTED))

STEPS: list[dict[str, Any]] = [
    {},
    {"id": "a"},
    {"call": CALL},
    call("A"),
    call("loop"),
    call("a", wait={"for": "1s"}),
    call("a", tiemouts={}),
    call("a", timeouts={"start_to_close": 5}),
    call("a", timeouts={"start_to_finish": "5s"}),
    call("a", after="b"),
    call("a", trigger="always"),
    call("a", when=True),
    call("a", retry={"max_attempts": 0}),
    call("a", retry={"coefficient": 1e308}),
    call("a", priority=1001),
    call("a", idempotent="yes"),
    call("a", cache={}),
    call("a", cache={"ttl": "1h"}, compensate=CALL),
    call("a", no_match="skip"),
    call("a", on_close="cancel"),
    call("a", compensate={"operation": "o"}),
    call("a", set={"No": 1}),
    {"id": "a", "call": {"plugin": "p", "interface": "i", "operation": "o"}},
    {"id": "a", "call": {"plugin": "p", "operation": "o", "select": {}}},
    {"id": "a", "call": {"plugin": "@^1", "operation": "o"}},
    {"id": "a", "call": {"plugin": "p"}},
    switch("a"),
    switch("a", {"when": "true"}),
    switch("a", {"otherwise": [call("b")], "when": "true"}),
    switch("a", case("true", call("b")), no_match="maybe"),
    switch("a", case("true", call("b")), input={}),
    parallel("a"),
    parallel("a", b=[]),
    parallel("a", **{"no-name": [call("b")]}),
    {"id": "a", "parallel": {"branches": {"b": [call("c")]}, "join": "some"}},
    {"id": "a", "parallel": {"branches": {"b": [call("c")]}, "join": {"quorum": 0}}},
    {"id": "a", "parallel": {"branches": {"b": [call("c")]}, "merge": "mix"}},
    map_("a", [1], call("b"), tolerate="101%"),
    map_("a", [1], call("b"), tolerate=-1),
    map_("a", [1]),
    {"id": "a", "map": {"steps": [call("b")]}},
    wait("a"),
    wait("a", "5 minutes"),
    wait("a", "5m") | {"retry": {}},
    {"id": "a", "wait": {"for": "5m", "signal": "go"}},
    {"id": "a", "wait": {"for": "5m", "timeout": "1h"}},
    {"id": "a", "wait": {"signal": "a b"}},
    {"id": "a", "workflow": {}},
    {"id": "a", "workflow": {"name": "w", "version": "^1"}},
    {"id": "a", "workflow": {"name": "w"}, "timeouts": {}},
]
HEADS: list[dict[str, Any]] = [
    {"name": "a b"},
    {"version": "1"},
    {"timeout": "soon"},
    {"input": {"x": "text"}},
    {"vars": {"No": 1}},
    {"max_concurrency": -1},
    {"concurrency": {"limit": 1}},
    {"step": []},
    {"steps": []},
]


def test_the_schema_is_what_its_generator_makes_of_the_parser() -> None:
    specification = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    generator = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generator)

    assert generator.written() == COMMITTED, "next: make schema"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json.loads(COMMITTED))


def test_every_workflow_of_the_project_fits_the_schema() -> None:
    files = {str(path): path.read_text(encoding="utf-8") for path in tracked() if path.suffix == ".yaml"}
    sources = {place: text for place, text in files.items() if "\nsteps:" in text} | dict(definitions())
    sources |= {"every key": EVERY_KEY, "order": ORDER}

    found = {place: [error.message for error in errors_of(text)] for place, text in sources.items()}

    assert len(found) > 5
    assert {place: errors for place, errors in found.items() if errors} == {}


def errors_of(source: str) -> list[Any]:
    return list(VALIDATOR.iter_errors(read_document(source).tree))


@given(st.randoms(use_true_random=False))
def test_any_workflow_fits_the_schema(draw: random.Random) -> None:
    assert VALIDATOR.is_valid(Author(draw).definition() | {"name": "w"})


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_the_schema_refuses_the_parser_refuses_too(step: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({"name": "w", "steps": [step]})
    assert violations_of(step)


@pytest.mark.parametrize("head", HEADS)
def test_a_definition_that_the_schema_refuses_the_parser_refuses_too(head: dict[str, Any]) -> None:
    tree = {"name": "w", "steps": [call("a")], **head}

    assert not VALIDATOR.is_valid(tree)
    assert violations_of(*tree["steps"], **{key: value for key, value in tree.items() if key != "steps"})
