import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from forgemesh.faults.workflow import DefinitionConflict, DefinitionInvalid
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from forgemesh.orchestrator.workflow.definition import Call, Compensation, Definition, Sequence, Target, Timeouts
from forgemesh.orchestrator.workflow.definitions import Definitions
from forgemesh.orchestrator.workflow.expressions.template import EMPTY, Literal
from forgemesh.orchestrator.workflow.provider import OperationFacts
from tests.component.orchestrator.dispatching import provider
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import AnyPlugin

Make = Callable[..., Definitions]

TARGET = Target(plugin_id="p", version_range="^1", operation="o")
SAID = {True: OperationFacts(True), False: OperationFacts(False), None: OperationFacts()}


def definition(*calls: Call, **facts: Any) -> Definition:
    known: dict[str, Any] = {"name": "w", "version": "1.0.0", "content_hash": "h", "source": "w"}
    return Definition(namespace="default", steps=Sequence.in_order(calls), output=EMPTY, **(known | facts))


def call(step_id: str = "a", **facts: Any) -> Call:
    terms = {name: facts.pop(name) for name in list(facts) if name in Target.__slots__}
    target = Target(**({"operation": "o"} | terms))
    return Call(id=step_id, target=target, where="line 3, column 5: ", **facts)


@pytest.fixture
async def catalogue() -> AnyPlugin:
    found = AnyPlugin()
    found.known = {"gone": None, "p": {"1.0.0": {"o": SAID[None]}}}
    return found


@pytest.fixture
async def definitions(store: SqliteStore, catalogue: AnyPlugin, hosts: ScriptedHosts) -> Make:
    """Definitions whose texts are all read as this one."""

    def over(read: Definition) -> Definitions:
        return Definitions(store, catalogue, hosts, lambda namespace, source: read, lambda: 1)

    return over


async def refused(over: Definitions) -> list[str]:
    with pytest.raises(DefinitionInvalid) as refusal:
        await over.register("default", "w")
    return [f"{violation.field}: {violation.message}" for violation in refusal.value.violations]


async def test_every_target_that_is_not_there_is_named_at_once(definitions: Make, catalogue: AnyPlugin) -> None:
    catalogue.provided = {"shape": [provider("circle", metadata={"zone": "eu"})]}
    steps = [
        call("a", plugin_id="gone"),
        call("b", plugin_id="p", version_range="^2"),
        call("c", plugin_id="p", operation="p"),
        call("d", interface="nobody"),
        call("e", interface="shape", version_range="^3"),
        call("f", interface="shape", operation="x"),
        call("g", interface="shape", must={"zone": "us"}),
        call("h", plugin_id="p", compensate=Compensation(target=Target(plugin_id="gone", operation="undo"))),
        call("i", interface="shape", must={"zone": "eu"}),
    ]

    found = await refused(definitions(definition(*steps)))

    at = "line 3, column 5: "
    assert found == [
        f"a: {at}no plugin 'gone' was ever published; see `forgemesh plugin list`",
        f"b: {at}no version of 'p' fits '^2'; published: 1.0.0",
        f"c: {at}'p' has no operation 'p'; known: o",
        f"d: {at}no published plugin provides the interface 'nobody'; see `forgemesh plugin list`",
        f"e: {at}no provider of 'shape' fits '^3'; published: 1.0.0",
        f"f: {at}no provider of 'shape' has an operation 'x'; known: o",
        f"g: {at}no provider of 'shape' with 'o' has zone=us in its metadata; there are: circle",
        f"h:compensate: {at}no plugin 'gone' was ever published; see `forgemesh plugin list`",
    ]


async def test_an_input_that_no_version_in_range_takes_is_refused(definitions: Make, catalogue: AnyPlugin) -> None:
    def wants(field: str) -> dict[str, OperationFacts]:
        return {"o": OperationFacts(input_schema=f'{{"type": "object", "required": ["{field}"]}}')}

    catalogue.known["p"] = {"1.0.0": wants("new"), "2.0.0": wants("old"), "3.0.0": wants("else")}
    steps = [
        call("a", plugin_id="p", version_range="^2"),
        call("b", plugin_id="p", input=Literal({"new": 1})),
        call("c", plugin_id="p", input=Literal({"new": 1}), version_range=">=2"),
        call("d", plugin_id="p", input=Literal({"new": 1}), compensate=Compensation(target=TARGET)),
    ]

    found = await refused(definitions(definition(*steps)))

    at = "line 3, column 5: "
    assert found == [
        f"a: {at}'o' does not take this: input: 'old' is a required property",
        f"c: {at}'o' does not take this: input: 'else' is a required property",
        f"d:compensate: {at}'o' does not take this: input: 'new' is a required property",
    ]


async def test_a_schema_that_asks_for_too_much_work_is_left_unchecked_and_named(
    definitions: Make, catalogue: AnyPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    chain = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(40)}
    endless = OperationFacts(input_schema=json.dumps({"$defs": {**chain, "d40": {}}, "$ref": "#/$defs/d0"}))
    catalogue.known["p"] = {"1.0.0": {"o": endless}}

    await definitions(definition(call("a", plugin_id="p"))).register("default", "w")

    assert "a of w: whether 'o' takes its input is not checked: that takes too much work" in caplog.text


async def test_what_calls_do_not_say_about_idempotence_is_taken_from_the_manifests(
    definitions: Make, catalogue: AnyPlugin
) -> None:
    catalogue.known["p"] = {
        "1.0.0": {"mixed": SAID[True], "safe": SAID[True], "unsaid": SAID[None]},
        "1.1.0": {"mixed": SAID[False], "safe": SAID[True], "unsaid": SAID[True]},
        "2.0.0": {"mixed": SAID[True], "safe": SAID[False], "unsaid": SAID[False]},
    }
    catalogue.provided = {
        "shape": [
            provider("circle", operations={"o": SAID[True]}),
            provider("square", operations={"o": SAID[False]}, interface_version="2.0.0"),
        ]
    }
    steps = [
        *(call(name, plugin_id="p", version_range="^1", operation=name) for name in ("mixed", "safe", "unsaid")),
        call("own", plugin_id="p", operation="safe", idempotent=True),
        call("old", interface="shape", version_range="^1"),
        call("both", interface="shape"),
    ]

    stored, created = await definitions(definition(*steps)).register("default", "w")

    assert created
    said = {path: one.idempotent for path, one in stored.definition.published.items()}
    assert said == {"mixed": False, "safe": True, "own": False, "old": True, "both": False}


async def test_how_long_calls_may_take_is_taken_from_the_manifests(definitions: Make, catalogue: AnyPlugin) -> None:
    catalogue.known["p"] = {
        "1.0.0": {"long": OperationFacts(timeout=300.0), "mixed": OperationFacts(timeout=5.0)},
        "1.1.0": {"long": OperationFacts(timeout=200.0), "mixed": OperationFacts()},
    }
    steps = [
        call("long", plugin_id="p", operation="long"),
        call(
            "mixed",
            plugin_id="p",
            operation="mixed",
            compensate=Compensation(target=Target(operation="long", plugin_id="p")),
        ),
    ]

    stored, _ = await definitions(definition(*steps)).register("default", "w")

    said = {path: one.timeout for path, one in stored.definition.published.items()}
    assert said == {"long": 300.0, "mixed": 60.0, "mixed:compensate": 300.0}


async def test_a_validation_keeps_nothing_and_tells_what_looks_like_a_mistake(
    definitions: Make, catalogue: AnyPlugin, hosts: ScriptedHosts
) -> None:
    catalogue.known["p"] = {"1.0.0": {"o": SAID[False]}, "2.0.0": {"o": SAID[False]}}
    catalogue.provided = {"shape": [provider("circle")]}
    hosts.show("p", endpoint("i-1"))
    steps = [
        call("fine", plugin_id="p", timeouts=Timeouts(start_to_close=5.0)),
        call("slow", plugin_id="p", timeouts=Timeouts(start_to_close=50.0)),
        call("new", plugin_id="p", version_range="^2", timeouts=Timeouts(start_to_close=5.0)),
        call("doubtful", plugin_id="p", in_doubt="retry", timeouts=Timeouts(start_to_close=5.0)),
        call("any", interface="shape", timeouts=Timeouts(start_to_close=5.0)),
    ]
    over = definitions(definition(*steps, timeout=10.0))

    checked, warnings, registered = await over.validate("default", "w")

    at = "line 3, column 5: "
    waits = "that fits is registered right now; the step would wait until one is"
    assert warnings == [
        f"new: {at}no instance of 'p' {waits}",
        f"any: {at}no instance of 'shape' {waits}",
        f"slow: {at}its start_to_close of 50 s is longer than the execution's timeout of 10 s",
        f"doubtful: {at}'o' is not idempotent, and `in_doubt: retry` repeats it although it may have taken effect",
    ]
    assert not registered
    assert checked.published["slow"].idempotent is False
    assert await over.known("default", "") == []


async def test_a_validation_says_whether_the_same_is_registered_and_refuses_what_could_not_be(
    definitions: Make,
) -> None:
    one = definition(call("a", plugin_id="p"))
    await definitions(one).register("default", "w")

    _, _, registered = await definitions(one).validate("default", "w")

    assert registered
    with pytest.raises(DefinitionConflict):
        await definitions(replace(one, content_hash="other")).validate("default", "w")
