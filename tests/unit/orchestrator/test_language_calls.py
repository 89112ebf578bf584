from dataclasses import replace

import pytest

from forgemesh.orchestrator.values.retry import RetryRule
from forgemesh.orchestrator.workflow.definition import Call, Child, Timeouts
from forgemesh.orchestrator.workflow.expressions.reading import Reference
from forgemesh.orchestrator.workflow.expressions.template import EMPTY, Fields, Literal
from tests.unit.orchestrator.workflows import CALL, call, child, map_, of_steps, parallel, violations_of


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def read(**more: object) -> Call:
    (step,) = of_steps(call("a", **more)).steps
    assert isinstance(step, Call)
    return step


def test_what_a_call_leaves_out_has_its_documented_default() -> None:
    step = read()

    assert (step.idempotent, step.in_doubt, step.on_exhausted) == (None, "manual", "fail")
    assert (step.compensate, step.cache, step.priority, step.affinity) == (None, None, 0, None)
    assert step.timeouts == Timeouts(start_to_close=0.0)


def test_a_call_is_read_as_it_was_written() -> None:
    step = read(
        timeouts={"start_to_close": "5s", "schedule_to_start": "1m", "schedule_to_close": "1h", "heartbeat": "500ms"},
        idempotent=False,
        in_doubt="retry",
        on_exhausted="incident",
        cache={"ttl": "10m", "key": "${input.k}"},
        priority=-1000,
        affinity="${input.customer}",
    )

    assert step.timeouts == Timeouts(
        start_to_close=5.0, schedule_to_start=60.0, schedule_to_close=3600.0, heartbeat=0.5
    )
    assert (step.idempotent, step.in_doubt, step.on_exhausted, step.priority) == (False, "retry", "incident", -1000)
    assert step.cache is not None
    assert (step.cache.ttl, step.cache.key) == (600.0, Reference("input", ("k",)))
    assert step.affinity == Reference("input", ("customer",))


def test_an_interface_is_called_with_what_its_provider_must_have() -> None:
    target = {"interface": "storage@^1", "operation": "put", "select": {"must": {"region": "eu"}, "prefer": {"t": "1"}}}

    (step,) = of_steps({"id": "a", "call": target}).steps

    assert isinstance(step, Call)
    assert (step.target.plugin_id, step.target.interface, step.target.version_range) == ("", "storage", "^1")
    assert (step.target.name, step.target.must, step.target.prefer) == ("storage", {"region": "eu"}, {"t": "1"})


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"operation": "o"}, "name exactly one of plugin, interface; found neither"),
        ({"plugin": "p", "interface": "i", "operation": "o"}, "found plugin and interface"),
        ({**CALL, "select": {"must": {}}}, "only the provider of an interface can be selected"),
        ({"interface": "i", "operation": "o", "select": {"must": {"a": 1}}}, "a must be a text, not 1"),
        ({"interface": "i", "operation": "o", "select": {"musst": {}}}, "unknown key, did you mean 'must'?"),
        ({"plugin": "p@" + ">=1 " * 100, "operation": "o"}, "the version range has 400 characters, at most 200"),
        ({"interface": "i@new", "operation": "o"}, "'new' is not a version range such as ^1.2"),
        ({"interface": "@^1", "operation": "o"}, "interface names nothing"),
        ({"interface": "i"}, "operation is missing"),
    ],
)
def test_whom_a_call_means_must_be_clear(target: dict[str, object], said: str) -> None:
    assert said in one(violations_of({"id": "a", "call": target}))
    assert said in one(violations_of(call("a", compensate=target)))


def test_a_compensation_sees_the_step_its_output_and_the_error() -> None:
    undo = {
        "plugin": "p@^2",
        "operation": "release",
        "input": {"id": "${steps.a.output.id}", "why": "${error.reason}", "of": "${input.order}"},
        "retry": {"initial": "1s"},
        "timeouts": {"start_to_close": "5s"},
    }

    compensate = read(compensate=undo).compensate

    assert compensate is not None
    assert (compensate.target.plugin_id, compensate.target.version_range, compensate.target.operation) == (
        "p",
        "^2",
        "release",
    )
    assert isinstance(compensate.input, Fields)
    assert compensate.retry == RetryRule(max_attempts=10, initial=1.0)
    assert compensate.timeouts.start_to_close == 5.0


def test_a_compensation_without_more_is_tried_ten_times_with_an_empty_input() -> None:
    compensate = read(compensate=CALL).compensate

    assert compensate is not None
    assert (compensate.input, compensate.retry.max_attempts) == (EMPTY, 10)


def test_a_compensation_inside_a_map_sees_the_item_too() -> None:
    undo = {**CALL, "input": ["${item}", "${index}", "${error}", "${steps.a.output}"]}

    assert not violations_of(map_("m", "${input}", call("a", compensate=undo)))


@pytest.mark.parametrize("name", ["error", "error.reason", "error.code + 'x'"])
def test_the_error_of_the_execution_is_seen_in_a_compensation_alone(name: str) -> None:
    message = one(violations_of(call("a", input=f"${{{name}}}")))

    assert "can be used in `compensate`; of a step, read steps.ID.error" in message


@pytest.mark.parametrize("key", ["input", "when", "affinity"])
def test_a_step_cannot_see_itself_before_it_has_ended(key: str) -> None:
    text = "steps.a.status == 'FAILED'"

    messages = violations_of(call("a", **{key: text if key == "when" else f"${{{text}}}"}))

    assert any("undeclared reference to 'steps.a.status'" in message for message in messages)


@pytest.mark.parametrize("seconds", ["0s", "-1s", "NaN", "nan", ".inf", "1e400s", 5, 0.0, "9" * 400 + "s", "400d", "1"])
@pytest.mark.parametrize("key", ["start_to_close", "schedule_to_start", "schedule_to_close", "heartbeat"])
def test_a_timeout_is_a_length_of_time(key: str, seconds: object) -> None:
    message = one(violations_of(call("a", timeouts={key: seconds})))

    assert message.startswith(f"steps[0].timeouts.{key}: ")
    assert message.endswith("is not a duration such as 200ms, 5s, 2m, 1h or 1d")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_attempts", -1),
        ("max_attempts", 2**31),
        ("max_attempts", 2**70),
        ("max_attempts", "3"),
        ("initial", "0s"),
        ("max_interval", "0ms"),
        ("coefficient", 1e308),
        ("coefficient", -1),
        ("coefficient", 0),
        ("coefficient", True),
    ],
)
def test_a_retry_rule_stays_within_its_bounds(key: str, value: object) -> None:
    for more in ({"retry": {key: value}}, {"compensate": {**CALL, "retry": {key: value}}}):
        assert f"retry.{key}: " in one(violations_of(call("a", **more)))
    assert f"retry.{key}: " in one(violations_of(child("a", "w", retry={key: value})))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"priority": 1001}, "1001 is not between -1000 and 1000"),
        ({"priority": 0.5}, "priority must be a whole number"),
        ({"idempotent": "yes"}, "idempotent must be true or false, not 'yes'"),
        ({"in_doubt": "guess"}, "'guess' is none of retry, fail, manual"),
        ({"on_exhausted": "give_up"}, "'give_up' is none of fail, incident"),
        ({"cache": {}}, "ttl is missing"),
        ({"cache": {"ttl": "0s"}}, "is not a duration"),
        ({"cache": {"ttl": "1h", "size": 3}}, "unknown key"),
        ({"compensate": {**CALL, "compensate": CALL}}, "unknown key"),
        ({"cache": {"ttl": "1h"}, "compensate": CALL}, "has no effect to undo: leave `cache` or `compensate` out"),
        ({"affinity": "${nope}"}, "undeclared reference to 'nope'"),
        ({"no_match": "skip"}, "unknown key"),
        ({"on_close": "cancel"}, "unknown key"),
    ],
)
def test_what_stands_beside_a_call_is_checked(more: dict[str, object], said: str) -> None:
    assert said in one(violations_of(call("a", **more)))


def test_another_workflow_is_a_step() -> None:
    first, second = of_steps(
        child("a", "billing"),
        {"id": "b", "workflow": {"name": "billing", "version": "2.0.0"}, "input": {"x": "${steps.a.output}"}}
        | {"on_close": "abandon", "retry": {"max_attempts": 2}, "on_exhausted": "incident"},
    ).steps

    assert isinstance(first, Child)
    assert isinstance(second, Child)
    assert (first.workflow, first.version, first.on_close, first.retry.max_attempts) == ("billing", "", "cancel", 1)
    assert (second.version, second.on_close, second.on_exhausted) == ("2.0.0", "abandon", "incident")
    assert (first.input, second.retry.max_attempts) == (Literal({}), 2)


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        ({}, "name is missing"),
        ({"name": "../x"}, "'../x' is not 1 to 200 letters, digits, '.', '_' or '-'"),
        ({"name": "a\u0000b"}, "is not 1 to 200 letters"),
        ({"name": "bіlling"}, "is not 1 to 200 letters"),  # noqa: RUF001 - the second letter is Cyrillic
        ({"name": "w", "version": "^1"}, "'^1' is not a semantic version such as 1.0.0"),
        ({"name": "w", "input": {}}, "unknown key"),
    ],
)
def test_another_workflow_is_named_properly(workflow: dict[str, object], said: str) -> None:
    assert said in one(violations_of({"id": "a", "workflow": workflow}))


def test_a_map_remembers_its_iterations_if_anything_inside_can_be_undone() -> None:
    plain = map_("m", [1], call("a"))
    deep = map_("m", [1], parallel("p", one=[map_("n", [1], call("a", compensate=CALL))]))

    assert [getattr(of_steps(step).steps[0], "undoable", None) for step in (plain, deep)] == [False, True]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"call": {"plugin": None, "operation": "o"}}, "name exactly one of plugin, interface; found neither"),
        ({"call": {"interface": "i", "operation": "o", "select": {"must": {"a": None}}}}, "a is missing"),
        ({"call": CALL, "cache": {"ttl": None}}, "ttl is missing"),
        ({"wait": {"for": None}}, "a wait needs exactly one of for, until, signal; found none"),
        ({"wait": {"signal": None}}, "a wait needs exactly one of for, until, signal; found none"),
        ({"map": {"over": None, "steps": [call("x")]}}, "over is missing"),
        ({"map": {"over": [], "steps": [call("x")], "join": {"quorum": None}}}, "a join is all, all_settled, any"),
    ],
)
def test_what_is_null_is_not_there(step: dict[str, object], message: str) -> None:
    found = violations_of({"id": "a", **step})

    assert any(message in line for line in found), found


def test_a_null_beside_what_is_said_changes_nothing() -> None:
    said = of_steps({"id": "a", "call": CALL}, {"id": "b", "wait": {"for": "5m"}})

    also = of_steps({"id": "a", "call": CALL | {"interface": None}}, {"id": "b", "wait": {"for": "5m", "until": None}})

    assert (also, also.content_hash) == (replace(said, source=also.source), said.content_hash)
