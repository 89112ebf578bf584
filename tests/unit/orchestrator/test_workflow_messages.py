import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from forgemesh.api.orchestrator.v1.workflow_pb2 import Workflow
from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.language.json_text import json_text
from forgemesh.language.words import words_of
from forgemesh.orchestrator.api.workflows import workflow_from_message, workflow_to_message
from forgemesh.orchestrator.workflow.yaml.source import read_document
from tests.unit.language.every_key import EVERY_KEY
from tests.unit.orchestrator.random_workflows import Author
from tests.unit.orchestrator.workflows import CALL, call, loop, map_, parallel, parsed, switch, violations

MINIMAL: dict[str, Any] = {"name": "w", "steps": [call("a")]}


def through_message(source: str) -> str:
    """Over the wire and back."""
    message = workflow_to_message(source)
    assert message is not None
    return workflow_from_message(Workflow.FromString(message.SerializeToString()))


def refused(message: Workflow) -> list[str]:
    with pytest.raises(DefinitionInvalid) as invalid:
        workflow_from_message(message)
    return [f"{violation.field}: {violation.message}" for violation in invalid.value.violations]


def test_every_key_of_the_language_has_a_field() -> None:
    assert not violations(EVERY_KEY)

    assert read_document(through_message(EVERY_KEY)).tree == read_document(EVERY_KEY).tree


def test_every_field_of_the_message_is_a_key_of_the_language() -> None:
    """What the reference workflow does not use would not be tested above."""
    used = set()

    def note(message: Any) -> None:
        for field, value in message.ListFields():
            used.add(field.full_name)
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for inner in value if field.is_repeated else [value]:
                    note(inner)

    message = workflow_to_message(EVERY_KEY)
    note(message)
    kinds = [Workflow.DESCRIPTOR, *Workflow.DESCRIPTOR.nested_types]
    fields = {field.full_name for kind in kinds if not kind.GetOptions().map_entry for field in kind.fields}

    assert fields - used == set()


@given(st.randoms(use_true_random=False))
def test_any_workflow_survives_the_message_with_its_content(draw: random.Random) -> None:
    source = msgspec.json.encode(Author(draw).definition() | {"name": "w"}).decode()

    back = through_message(source)

    assert read_document(back).tree == read_document(source).tree
    assert parsed(back).content_hash == parsed(source).content_hash


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(json_values)
def test_any_value_survives_in_a_template(value: object) -> None:
    source = json_text(MINIMAL | {"output": {"value": value}})

    back = through_message(source)

    assert msgspec.json.decode(back) == msgspec.json.decode(source)


@pytest.mark.parametrize(
    ("step", "same"),
    [
        ({"retry": {"coefficient": 2}}, {"retry": {"coefficient": 2.0}}),
        ({"retry": None, "when": None}, {}),
    ],
)
def test_what_means_the_same_has_the_same_content_whichever_way_it_came(
    step: dict[str, object], same: dict[str, object]
) -> None:
    first, second = (msgspec.json.encode(MINIMAL | {"steps": [call("a", **more)]}).decode() for more in (step, same))

    hashes = {parsed(text).content_hash for text in (first, second, through_message(first), through_message(second))}

    assert len(hashes) == 1


def test_an_empty_after_is_not_an_absent_one() -> None:
    source = msgspec.json.encode({"name": "w", "steps": [call("a"), call("b", after=[])]}).decode()

    assert parsed(through_message(source)).steps.first == (0, 1)


def nested(depth: int) -> dict[str, Any]:
    step = call("a", compensate={**CALL, "select": None, "retry": {"non_retryable": ["X"]}})
    for level in range(depth):
        step = [parallel("g", b=[step]), switch("g", {"otherwise": [step]}), map_("g", [1], step)][level % 3]
    return step


def test_groups_nested_deeper_than_messages_can_be_have_none() -> None:
    fits, too_deep = (msgspec.json.encode({"name": "w", "steps": [nested(depth)]}).decode() for depth in (30, 31))

    assert parsed(through_message(fits)).content_hash == parsed(fits).content_hash
    assert workflow_to_message(too_deep) is None


def test_what_no_text_can_say_is_refused_all_at_once() -> None:
    message = Workflow(name="w", output=Workflow.Template(json="${input.x}"))
    step = message.steps.add(id="a", trigger=Workflow.Trigger.ValueType(99))
    step.retry.coefficient = float("nan")
    step.input.json = '{"a": 1}, "b": 2'
    for value in ("1", "2"):
        step.set.assignments.add(name="v").value.json = value
    for _ in range(2):
        message.steps.add(id="g").parallel.branches.add(name="b")
    message.steps[2].parallel.branches.add(name="b")

    found = refused(message)

    assert [line.partition(":")[0] for line in found] == [
        "steps[0].trigger",
        "steps[0].set.v",
        "steps[0].input",
        "steps[0].retry.coefficient",
        "steps[2].parallel.branches.b",
        "output",
    ]
    assert "'${input.x}' is not JSON text, in which a text stands in quotes" in found[-1]


@pytest.mark.parametrize("text", ["", "nul", "{", "[" * 100_000, '{"a": NaN}', "1 2"])
def test_a_template_that_is_no_json_is_refused(text: str) -> None:
    message = Workflow(name="w", output=Workflow.Template(json=text))

    assert refused(message)[0].startswith("output: ")


def test_what_is_missing_in_a_message_is_for_the_parser_to_say() -> None:
    message = Workflow()
    message.steps.add()
    message.steps.add(id="b").parallel.branches.add(name="x")
    message.steps.add(id="c").wait.signal = ""
    message.steps.add(id="d").parallel.join.SetInParent()

    assert [line.partition(":")[0] for line in violations(workflow_from_message(message))][:3] == [
        "name",
        "steps[0].id",
        "steps[0]",
    ]


WHERE: dict[str, Any] = {
    "OnConflict": lambda word: of_words(call("a"), concurrency={"key": "k", "on_conflict": word}),
    "Trigger": lambda word: of_words(call("a"), call("b", trigger=word)),
    "InDoubt": lambda word: of_words(call("a", in_doubt=word)),
    "OnExhausted": lambda word: of_words(call("a", on_exhausted=word)),
    "NoMatch": lambda word: of_words(switch("a", {"otherwise": [call("b")]}, no_match=word)),
    "JoinMode": lambda word: of_words(map_("a", [1], call("b"), join=word)),
    "Merge": lambda word: of_words({"id": "a", "parallel": {"branches": {"b": [call("c")]}, "merge": word}}),
    "OnTimeout": lambda word: of_words({"id": "a", "wait": {"signal": "s", "on_timeout": word}}),
    "OnClose": lambda word: of_words({"id": "a", "workflow": {"name": "w"}, "on_close": word}),
    "OnLimit": lambda word: of_words(loop("a", "true", call("b"), on_limit=word)),
}
"""By enumeration, what is wrong with a definition that has a word of it."""


def of_words(*steps: object, **more: object) -> list[str]:
    return violations(json.dumps({"name": "w", "steps": steps, **more}))


@pytest.mark.parametrize("enumeration", list(Workflow.DESCRIPTOR.enum_types), ids=lambda one: one.name)
def test_the_language_has_the_words_of_its_messages_and_no_others(enumeration: Any) -> None:
    words = words_of(enumeration)

    assert [WHERE[enumeration.name](word) for word in words] == [[] for _ in words]
    (refused,) = WHERE[enumeration.name]("other")
    assert set(refused.rpartition("is none of ")[2].split(", ")) == set(words)
