import pytest

from forgemesh.orchestrator.workflow.definition import Join, Map, Parallel, Wait
from forgemesh.orchestrator.workflow.expressions.reading import Reference
from forgemesh.orchestrator.workflow.expressions.template import Literal
from tests.unit.orchestrator.workflows import call, case, map_, of_steps, parallel, switch, violations_of, wait


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def two_branches(**group: object) -> dict[str, object]:
    return {"id": "p", "parallel": {"branches": {"one": [call("x")], "two": [call("x")]}, **group}}


@pytest.mark.parametrize(
    ("group", "join"),
    [
        ({}, Join()),
        ({"join": "all"}, Join(mode="all")),
        ({"join": "all_settled"}, Join(mode="all_settled")),
        ({"join": "any"}, Join(mode="quorum", quorum=1)),
        ({"join": {"quorum": 2}}, Join(mode="quorum", quorum=2)),
        ({"tolerate": 1}, Join(tolerate="1")),
        ({"join": "all_settled", "tolerate": "12.5%"}, Join(mode="all_settled", tolerate="12.5%")),
        ({"tolerate": "100%"}, Join(tolerate="100%")),
    ],
)
def test_a_group_is_joined_as_it_says(group: dict[str, object], join: Join) -> None:
    (parallel_step, map_step) = of_steps(two_branches(**group), map_("m", [1, 2], call("x"), **group)).steps

    assert isinstance(parallel_step, Parallel)
    assert isinstance(map_step, Map)
    assert parallel_step.join == map_step.join == join


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"join": "some"}, "'some' is none of all, all_settled, any"),
        ({"join": {}}, "a join is all, all_settled, any or {quorum: n}"),
        ({"join": {"quorum": 0}}, "0 is not between 1 and"),
        ({"join": {"quorum": 1, "of": 2}}, "unknown key"),
        ({"join": "any", "tolerate": 0}, "a quorum says already how many must succeed"),
        ({"join": {"quorum": 1}, "tolerate": "5%"}, "a quorum says already how many must succeed"),
        ({"tolerate": -1}, "-1 is neither a number of branches nor a share such as 20%"),
        ({"tolerate": "101%"}, "neither a number of branches nor a share"),
        ({"tolerate": "many"}, "neither a number of branches nor a share"),
        ({"tolerate": True}, "neither a number of branches nor a share"),
        ({"max_concurrency": -1}, "-1 is not between 0 and 10000"),
        ({"max_concurrency": 10_001}, "10001 is not between 0 and 10000"),
    ],
)
def test_a_join_that_makes_no_sense_is_refused(group: dict[str, object], said: str) -> None:
    assert said in one(violations_of(two_branches(**group)))
    assert said in one(violations_of(map_("m", [1], call("x"), **group)))


def test_a_quorum_of_more_than_all_branches_is_refused() -> None:
    message = one(violations_of(two_branches(join={"quorum": 3})))

    assert message.endswith("a quorum of 3 cannot be reached by 2 branches")
    assert not violations_of(map_("m", [1], call("x"), join={"quorum": 3}))


def test_a_group_has_one_to_five_hundred_branches() -> None:
    def branches(count: int) -> dict[str, object]:
        return {"id": "p", "parallel": {"branches": {f"b{n}": [call("x")] for n in range(count)}}}

    assert one(violations_of(branches(0))).endswith("a parallel group needs at least one branch")
    assert not violations_of(branches(500))
    assert "there are 501 branches, at most 500 are allowed" in one(violations_of(branches(501)))
    empty = {"id": "p", "parallel": {"branches": {f"b{n}": [] for n in range(10_000)}}}
    assert one(violations_of(empty)).endswith(
        "there are 10000 branches, at most 500 are allowed; a map runs over a list"
    )


def test_branches_that_set_the_same_variable_must_say_whose_value_counts() -> None:
    branches = {
        "one": [call("x", set={"v": 1})],
        "two": [switch("y", case("true", call("x", set={"v": 2, "u": 1})))],
        "three": [map_("m", [1], call("x", set={"v": 3}))],
    }

    def with_merge(**merge: object) -> list[str]:
        return violations_of({"id": "p", "parallel": {"branches": branches, **merge}}, vars={"v": 0, "u": 0})

    assert one(with_merge()).endswith(
        "branches one, two all set variable 'v'; say with `merge: first` or `merge: last` whose value counts, in order"
        " of declaration"
    )
    assert "all set variable" in one(with_merge(merge="error"))
    assert not with_merge(merge="first")
    assert not with_merge(merge="last")
    assert "'mix' is none of error, first, last" in with_merge(merge="mix")[0]


def test_a_map_is_read_as_it_was_written() -> None:
    (step,) = of_steps(
        map_("m", "${input.days}", call("x", input={"day": "${item.day}", "n": "${index}"}), max_concurrency=4)
    ).steps

    assert isinstance(step, Map)
    assert (step.over, step.max_concurrency, step.undoable) == (Reference("input", ("days",)), 4, False)
    assert [inner.id for inner in step.steps] == ["x"]


def test_a_map_inside_a_map_has_items_of_its_own() -> None:
    inner = map_("n", "${item}", call("x", input=["${item}", "${index}"]))

    assert not violations_of(map_("m", "${input}", inner))


@pytest.mark.parametrize("over", [3, "a text", {"a": 1}, {"a": "${input}"}, "n ${input.n}", True])
def test_a_map_runs_over_a_list(over: object) -> None:
    assert "a map runs over a list; give one" in one(violations_of(map_("m", over, call("x"))))


def test_a_map_needs_a_list_and_steps() -> None:
    assert [found.partition(": ")[0] for found in violations_of({"id": "m", "map": {}})] == [
        "steps[0].map.over",
        "steps[0].map.steps",
    ]


@pytest.mark.parametrize("name", ["item", "item.day", "item['day']", "index", "index + 1"])
def test_the_item_of_a_map_is_seen_in_its_steps_alone(name: str) -> None:
    steps = [map_("m", "${input}", call("x", input=f"${{{name}}}")), call("y", input=f"${{{name}}}")]

    message = one(violations_of(*steps))

    assert message.startswith("steps[1].input: ")
    assert message.endswith("in a map, and can be used in the steps of one") or "is the item of a map" in message


def test_a_wait_is_for_a_time_until_a_moment_or_for_a_signal() -> None:
    steps = of_steps(
        wait("a", "5m"),
        wait("b", until="2030-01-31T12:00:00Z"),
        wait("c", until="${input.when}"),
        wait("d", signal="approved"),
        wait("e", signal="approved", timeout="1h", on_timeout="skip"),
    ).steps

    found = [(step.seconds, step.until, step.signal, step.on_timeout) for step in steps if isinstance(step, Wait)]
    assert found == [
        (300.0, None, "", "fail"),
        (None, Literal("2030-01-31T12:00:00Z"), "", "fail"),
        (None, Reference("input", ("when",)), "", "fail"),
        (None, None, "approved", "fail"),
        (3600.0, None, "approved", "skip"),
    ]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({}, "a wait needs exactly one of for, until, signal; found none"),
        ({"for": "5m", "signal": "go"}, "found for and signal"),
        ({"for": "0s"}, "'0s' is not a duration"),
        ({"for": "-5m"}, "'-5m' is not a duration"),
        ({"for": 300}, "300 is not a duration"),
        ({"for": "5m", "timeout": "1h"}, "unknown key"),
        ({"for": "5m", "on_timeout": "skip"}, "unknown key"),
        ({"until": "tomorrow"}, "'tomorrow' is not a moment before 2262 such as '2026-01-31T12:00:00Z', with a zone"),
        ({"until": "2030-01-31T12:00:00"}, "with a zone"),
        ({"until": "9999-12-31T23:59:59Z"}, "is not a moment before 2262"),
        ({"until": "10000-01-01T00:00:00Z"}, "is not a moment"),
        ({"until": 1893456000}, "1893456000 is not a moment"),
        ({"until": ["${input.when}"]}, "is not a moment"),
        ({"signal": ""}, "'' is not 1 to 200 letters"),
        ({"signal": "a b"}, "'a b' is not 1 to 200 letters"),
        ({"signal": "go", "timeout": "soon"}, "'soon' is not a duration"),
        ({"signal": "go", "on_timeout": "retry"}, "'retry' is none of fail, skip"),
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(kind: dict[str, object], said: str) -> None:
    assert said in one(violations_of({"id": "w", "wait": kind}))


@pytest.mark.parametrize("step", [wait("a", "1s"), parallel("a", b=[call("x")]), map_("a", [1], call("x"))])
@pytest.mark.parametrize("key", ["input", "retry", "compensate", "cache", "timeouts", "idempotent"])
def test_what_has_no_attempts_has_no_keys_for_them(step: dict[str, object], key: str) -> None:
    assert f"steps[0].{key}: " in one(violations_of(step | {key: {}}))


@pytest.mark.parametrize("digits", [5_000, 200_000])
def test_a_number_that_is_too_long_to_be_read_is_a_mistake_and_no_crash(digits: int) -> None:
    long = f"0.{'1' * digits}"

    assert "is not a duration" in violations_of({"id": "w", "wait": {"for": f"{long}s"}})[0]
    assert "nor a share such as 20%" in violations_of(map_("m", [1], call("x"), tolerate=f"{long}%"))[0]
