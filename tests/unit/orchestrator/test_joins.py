"""How groups end: joins, what they tolerate, maps, and limits on what runs at once."""

import json

import pytest

from forgemesh.orchestrator.execution import facts as e
from tests.unit.orchestrator.histories import History, broken, facts_of
from tests.unit.orchestrator.workflows import call, of_steps


def group(join: object, branches: int = 3, **more: object) -> dict[str, object]:
    named = {f"b{number}": [call("x")] for number in range(branches)}
    return {"id": "g", "parallel": {"join": join, "branches": named, **more}}


def stopped(history: History) -> list[str]:
    """The branches that were taken back, as the executor takes them back."""
    history.take_back(history.events)
    return [path for path, status in history.statuses().items() if status == "CANCELLED"]


def test_any_succeeds_with_the_first_success_and_stops_the_losers() -> None:
    history = History(of_steps(group("any"), output="${steps.g.output}"))

    history.succeed("g/b1/x", 7)

    assert stopped(history) == ["g/b0/x", "g/b2/x"]
    assert history.output == {"b0": None, "b1": 7, "b2": None}


def test_a_quorum_succeeds_with_the_nth_success() -> None:
    history = History(of_steps(group({"quorum": 2}, 4)))
    history.succeed("g/b0/x")
    assert not facts_of(history.events, e.StopRequested)

    history.succeed("g/b3/x")

    assert stopped(history) == ["g/b1/x", "g/b2/x"]
    assert history.statuses()["g"] == "SUCCEEDED"


def test_a_quorum_fails_as_soon_as_it_cannot_be_reached() -> None:
    history = History(of_steps(group({"quorum": 2}, 3)))
    history.fail("g/b0/x", broken("FIRST"))
    assert not facts_of(history.events, e.StopRequested)

    history.fail("g/b1/x", broken("SECOND"))

    assert stopped(history) == ["g/b2/x"]
    failure = history.step("g").failure
    assert failure is not None
    assert failure.reason == "BRANCHES_FAILED"
    assert [cause.reason for cause in failure.causes] == ["FIRST", "SECOND"]


def test_the_first_failure_is_the_cause_and_the_others_are_attached_to_it() -> None:
    history = History(of_steps(group("all")))
    history.fail("g/b2/x", broken("FIRST"))
    history.fail("g/b0/x", broken("SECOND"))
    history.fail("g/b1/x", broken("THIRD"))

    failure = history.state.failure
    assert failure is not None
    assert failure.reason == "FIRST"
    assert [cause.reason for cause in failure.causes] == ["SECOND", "THIRD"]


def test_all_settled_waits_for_all_and_lists_every_failure() -> None:
    history = History(of_steps(group("all_settled", 4)))
    history.fail("g/b1/x", broken("FIRST"))
    history.fail("g/b0/x", broken("SECOND"))
    history.succeed("g/b2/x")
    assert history.open == ["g/b3/x"]

    history.succeed("g/b3/x")

    failure = history.state.failure
    assert failure is not None
    assert failure.message.startswith("2 of 4 branches of 'g' failed: b1: does not work; b0: does not work")
    assert [cause.reason for cause in failure.causes] == ["FIRST", "SECOND"]


@pytest.mark.parametrize(("tolerate", "fails"), [(1, 2), ("50%", 3)])
def test_so_many_failures_are_tolerated_and_one_more_is_not(tolerate: object, fails: int) -> None:
    definition = of_steps(group("all", 4, tolerate=tolerate), output="${steps.g.output}")
    good, bad = History(definition), History(definition)
    for number in range(4):
        fate = good.succeed if number >= fails - 1 else good.fail
        fate(f"g/b{number}/x", number if number >= fails - 1 else broken())  # type: ignore[arg-type]
    for number in range(fails):
        bad.fail(f"g/b{number}/x", broken())
    bad.take_back(bad.events)

    assert isinstance(good.output, dict)
    assert [name for name, value in good.output.items() if value is None] == [f"b{n}" for n in range(fails - 1)]
    assert bad.reason == "BRANCHES_FAILED"


def test_no_more_branches_run_than_the_group_may_have() -> None:
    history = History(of_steps(group("all", 1_0, max_concurrency=3)))
    seen = set()
    for number in range(10):
        seen |= set(history.open)
        assert len(history.open) <= 3
        history.succeed(f"g/b{number}/x")

    assert len(seen) == 10
    assert history.statuses()["g"] == "SUCCEEDED"


def test_groups_in_one_another_that_run_one_at_a_time_come_to_their_end() -> None:
    inner = {"id": "i", "parallel": {"max_concurrency": 1, "branches": {"p": [call("x")], "q": [call("x")]}}}
    outer = {"id": "g", "parallel": {"max_concurrency": 1, "branches": {"a": [inner], "b": [inner]}}}
    history = History(of_steps(outer, max_concurrency=1))

    order = []
    while history.open:
        assert len(history.open) == 1
        order.append(history.open[0])
        history.succeed(history.open[0])

    assert order == ["g/a/i/p/x", "g/a/i/q/x", "g/b/i/p/x", "g/b/i/q/x"]


def test_no_more_calls_are_open_than_the_execution_may_have() -> None:
    history = History(of_steps(group("all", 1_00), max_concurrency=7))

    assert len(history.open) == 7
    while history.open:
        history.succeed(history.open[-1])
        assert len(history.open) <= 7
    assert history.statuses()["g"] == "SUCCEEDED"


def over(items: object, **more: object) -> dict[str, object]:
    step = call("x", input={"item": "${item}", "index": "${index}"})
    return {"id": "m", "map": {"over": items, "steps": [step], **more}}


def test_a_map_gives_its_results_in_the_order_of_its_items_whoever_ends_first() -> None:
    history = History(of_steps(over("${input.items}"), output="${steps.m.output}"), {"items": ["a", "b", "c"]})
    given = [json.loads(history.step(f"m/{number}/x").input.data) for number in range(3)]  # type: ignore[union-attr]
    for number in (2, 0, 1):
        history.succeed(f"m/{number}/x", number * 10)

    assert given == [{"item": item, "index": index} for index, item in enumerate("abc")]
    assert history.output == [0, 10, 20]


def test_a_map_over_nothing_gives_nothing() -> None:
    assert History(of_steps(over([]), output="${steps.m.output}")).output == []


def test_a_map_over_anything_but_a_list_fails() -> None:
    history = History(of_steps(over("${input.items}")), {"items": {"a": 1}})

    assert history.reason == "EXPRESSION_ERROR"


def test_failed_items_are_null_where_failures_are_tolerated() -> None:
    history = History(of_steps(over([1, 2, 3], tolerate=1), output="${steps.m.output}"))
    history.succeed("m/0/x", "a")
    history.fail("m/1/x", broken())
    history.succeed("m/2/x", "c")

    assert history.output == ["a", None, "c"]


def test_a_map_remembers_no_iteration_that_has_ended() -> None:
    history = History(of_steps(over(list(range(500)), max_concurrency=5)))
    for number in range(250):
        history.succeed(f"m/{number}/x", number)

    assert len(history.state.steps) == 1 + 5
    assert len(history.state.scopes) == 1 + 5


def test_what_a_branch_sets_is_seen_after_the_group_as_merge_says() -> None:
    def outcome(merge: str) -> object:
        branches = {name: [call("x", set={"v": "${steps.x.output}"})] for name in ("a", "b")}
        step = {"id": "g", "parallel": {"merge": merge, "branches": branches}}
        history = History(of_steps(step, vars={"v": 0}, output="${vars.v}"))
        history.succeed("g/b/x", "of b")
        history.succeed("g/a/x", "of a")
        return history.output

    assert (outcome("first"), outcome("last")) == ("of a", "of b")


def test_a_branch_sees_nothing_of_what_its_sibling_sets() -> None:
    branches = {"a": [call("x", set={"v": 1})], "b": [call("x"), call("y", input={"v": "${vars.v}"})]}
    history = History(of_steps({"id": "g", "parallel": {"branches": branches}}, vars={"v": 0}))
    history.succeed("g/a/x")
    history.succeed("g/b/x")

    given = history.step("g/b/y").input
    assert given is not None
    assert json.loads(given.data) == {"v": 0}
