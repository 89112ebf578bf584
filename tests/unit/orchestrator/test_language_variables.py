import pytest

from forgemesh.orchestrator.workflow.expressions.reading import Reference
from forgemesh.orchestrator.workflow.expressions.template import Literal
from tests.unit.orchestrator.workflows import call, map_, of_steps, parallel, violations_of


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_variables_are_read_in_order_and_each_sees_those_before_it() -> None:
    definition = of_steps(call("a"), vars={"z": 1, "y": "${vars.z}", "x": "${input.n + vars.y}"})

    assert [name for name, _ in definition.vars] == ["z", "y", "x"]
    assert dict(definition.vars)["z"] == Literal(1)
    assert dict(definition.vars)["y"] == Reference("vars.z")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"a": "${vars.b}", "b": 1}, "undeclared reference to 'vars.b'; `vars` declares none here"),
        ({"b": 1, "a": "${vars.a}"}, "undeclared reference to 'vars.a'; declared before this place: b"),
        ({"a": "${steps.s.output}"}, "undeclared reference to 'steps.s.output'; no step has ended here yet"),
        ({"a": "${item}"}, "can be used in the steps of one"),
        ({"A": 1}, "'A' is not an identifier"),
        ({"for": 1}, "'for' is not an identifier"),
        ({"__class__": "${vars.__dict__}"}, "undeclared reference to 'vars.__dict__'"),
        ([1], "vars must be a mapping, not [1]"),
    ],
)
def test_a_variable_that_cannot_be_had_is_refused(variables: object, said: str) -> None:
    assert said in one(violations_of(call("s"), vars=variables))


def test_every_expression_sees_the_variables() -> None:
    assert not violations_of(
        call("a", input="${vars.n}", when="vars.n > 0", affinity="${vars.n}", cache={"ttl": "1h", "key": "${vars.n}"}),
        map_("m", "${vars.list}", call("x", input="${vars.n + item}", set={"n": "${vars.n + index}"})),
        vars={"n": 1, "list": [1]},
        output="${vars.n}",
    )


@pytest.mark.parametrize("text", ["${vars.m}", "${vars.m + 1}", "${vars}", "${vars['n']}", "${size(vars)}"])
def test_a_variable_is_read_by_its_declared_name(text: str) -> None:
    assert "declared before this place: n" in one(violations_of(call("a", input=text), vars={"n": 1}))


def test_a_step_sets_declared_variables_and_sees_its_own_output() -> None:
    step = of_steps(call("a", set={"n": "${steps.a.output.n}", "m": "${vars.n}"}), vars={"n": 0, "m": 0}).steps[0]

    assert step.sets == (("n", Reference("steps.a.output", ("n",))), ("m", Reference("vars.n")))


def test_a_group_sets_variables_from_its_output() -> None:
    assert not violations_of(parallel("g", b=[call("x")]) | {"set": {"n": "${steps.g.output.b}"}}, vars={"n": 0})


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, "variable 'cuont' is not declared in `vars`; the definition declares none"),
        ({"count": 0}, "variable 'cuont' is not declared in `vars`, did you mean 'count'?"),
    ],
)
def test_only_declared_variables_can_be_set(declared: dict[str, object], said: str) -> None:
    assert one(violations_of(call("a", set={"cuont": 1}), vars=declared)).endswith(said)


def test_a_concurrency_key_is_over_the_input() -> None:
    rule = of_steps(call("a"), concurrency={"key": "${input.customer}"}).concurrency
    other = of_steps(call("a"), concurrency={"key": "k", "limit": 3, "on_conflict": "cancel_newest"}).concurrency

    assert rule is not None
    assert other is not None
    assert (rule.key, rule.limit, rule.on_conflict) == (Reference("input", ("customer",)), 1, "queue")
    assert (other.key, other.limit, other.on_conflict) == (Literal("k"), 3, "cancel_newest")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "key is missing: executions with the same key share places"),
        ({"key": "k", "limit": 0}, "0 is not between 1 and 10000"),
        ({"key": "k", "on_conflict": "wait"}, "'wait' is none of queue, cancel_in_progress, cancel_newest"),
        ({"key": "${vars.v}"}, "undeclared reference to 'vars.v'"),
        ({"key": "${steps.a.output}"}, "undeclared reference to 'steps.a.output'"),
        ({"key": "k", "limits": 1}, "unknown key, did you mean 'limit'?"),
    ],
)
def test_a_concurrency_rule_that_makes_no_sense_is_refused(rule: dict[str, object], said: str) -> None:
    assert said in one(violations_of(call("a"), concurrency=rule, vars={"v": 1}))


@pytest.mark.parametrize("limit", [-1, 10_001, 1.5, "4"])
def test_the_attempts_at_once_are_bounded(limit: object) -> None:
    assert one(violations_of(call("a"), max_concurrency=limit)).startswith("max_concurrency: ")


def test_the_attempts_at_once_are_unbounded_without_a_word() -> None:
    assert [of_steps(call("a"), **more).max_concurrency for more in ({}, {"max_concurrency": 8})] == [0, 8]


@pytest.mark.parametrize("merge", [{}, {"merge": "error"}, {"merge": "first"}, {"merge": "last"}])
def test_the_order_of_branches_counts_where_it_decides_whose_value_counts(merge: dict[str, object]) -> None:
    def of(*names: str) -> str:
        branches = {name: [call("x")] for name in names}
        return of_steps({"id": "p", "parallel": {"branches": branches, **merge}}).content_hash

    assert (of("a", "b") == of("b", "a")) is (merge.get("merge") not in ("first", "last"))


def test_the_order_of_what_a_step_sets_counts() -> None:
    def of(*names: str) -> str:
        return of_steps(call("x", set={n: f"${{vars.{n}}}" for n in names}), vars={"a": 1, "b": 2}).content_hash

    assert of("a", "b") != of("b", "a")


def test_reading_ends_after_two_hundred_mistakes() -> None:
    found = violations_of(*[call(f"s{n}", set={"nope": 1}, zzz=2) for n in range(900)])

    assert len(found) == 201
    assert found[-1] == "document: there may be more mistakes; reading ended after these"
