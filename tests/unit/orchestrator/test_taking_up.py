"""
What a step does by how those before it ended, who takes up a failure, and what a branch counts for: the tables of
docs/workflows.md, each combination against a model that knows nothing of the engine.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import pytest

from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.definition import Definition
from tests.unit.orchestrator.histories import History, broken
from tests.unit.orchestrator.workflows import call, case, map_, of_steps, parallel, switch, wait

BEFORE = ("ok", "fail", "skipped", "upstream", "skipped_behind", "idle", "idle_behind")
"""How a step before another ended: the last two are groups in which nothing was done; `behind`: a failure."""
BAD = {"fail", "upstream", "skipped_behind", "idle_behind"}
TRIGGERS = ("all_succeeded", "none_failed", "any_succeeded", "all_done")
TOLERANT = ("any_succeeded", "all_done")


def before(name: str, outcome: str) -> list[dict[str, object]]:
    """The steps that make the step `name` end as `outcome`."""
    failing = [call(f"f_{name}", after=[])]
    match outcome:
        case "skipped":
            return [call(name, after=[], when="false")]
        case "upstream":
            return [*failing, call(name, after=[f"f_{name}"])]
        case "skipped_behind":
            return [*failing, call(name, after=[f"f_{name}"], trigger="all_done", when="false")]
        case "idle":
            return [map_(name, [], call("x")) | {"after": []}]
        case "idle_behind":
            return [*failing, map_(name, [], call("x")) | {"after": [f"f_{name}"], "trigger": "all_done"}]
        case _:
            return [call(name, after=[])]


def graph(outcomes: tuple[str, ...], trigger: str) -> Definition:
    names = [f"p{number}" for number in range(len(outcomes))]
    steps = [step for name, outcome in zip(names, outcomes, strict=True) for step in before(name, outcome)]
    handler = call("h", after=names, trigger=trigger, when="input.go")
    return of_steps(*steps, handler, call("n", after=["h"]))


def tick(history: History) -> None:
    history.now += SECOND


def played(definition: Definition, outcomes: tuple[str, ...], go: bool, fate: str) -> History:
    """The execution at its end; those before end in order, what ends by itself the first."""
    history = History(definition, {"go": go})
    for number, outcome in enumerate(outcomes):
        tick(history)
        if outcome == "ok":
            history.succeed(f"p{number}")
        elif outcome == "fail":
            history.fail(f"p{number}", broken(f"P{number}"))
        elif outcome in BAD:
            history.fail(f"f_p{number}", broken(f"P{number}"))
    for path in ("h", "n"):
        tick(history)
        if path in history.open:
            if path == "h" and fate == "fail":
                history.fail(path, broken("H"))
            else:
                history.succeed(path)
    return history


def expected(outcomes: tuple[str, ...], trigger: str, go: bool, fate: str) -> tuple[str, str, str]:
    """What becomes of `h`, of `n` behind it, and of the execution."""
    ended: list[str] = []
    by_itself = [outcome for outcome in outcomes if outcome in ("skipped", "idle")]
    in_turn = [outcome for outcome in outcomes if outcome not in ("skipped", "idle")]
    for outcome in (*by_itself, *in_turn):
        ended.append(outcome)
        if trigger == "any_succeeded" and outcome in ("ok", "idle"):
            break
    runs = {
        "all_done": True,
        "any_succeeded": bool({"ok", "idle"} & set(ended)),
        "none_failed": "fail" not in ended,
        "all_succeeded": not BAD & set(ended),
    }[trigger]
    behind_failure = bool(BAD & set(ended))
    if not runs:
        handler = "UPSTREAM_FAILED" if behind_failure else "UPSTREAM_SKIPPED"
    elif not go:
        handler = "CONDITION_FALSE"
    else:
        handler = "SUCCEEDED" if fate == "ok" else "FAILED"
    stuck = handler in ("FAILED", "UPSTREAM_FAILED") or (handler == "CONDITION_FALSE" and behind_failure)
    first = next((f"P{number}" for number, outcome in enumerate(outcomes) if outcome in BAD), "")
    if first and handler == "SUCCEEDED" and trigger in TOLERANT:
        first = ""
    if not first and handler == "FAILED" and not any(outcome in BAD for outcome in outcomes):
        first = "H"
    return handler, "UPSTREAM_FAILED" if stuck else "SUCCEEDED", first or "SUCCEEDED"


def told(history: History, path: str) -> str:
    step = history.step(path)
    return step.skipped or step.status.value


def ending(history: History) -> str:
    state = history.state
    return state.failure.reason if state.failure is not None else state.status.value


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("count", [2, 3])
def test_every_combination_of_outcomes_triggers_and_conditions_ends_as_the_table_says(count: int, trigger: str) -> None:
    for outcomes in combinations_with_replacement(BEFORE, count):
        definition = graph(outcomes, trigger)
        for go, fate in ((True, "ok"), (True, "fail"), (False, "ok")):
            history = played(definition, outcomes, go, fate)

            shown = told(history, "h"), told(history, "n"), ending(history)
            assert shown == expected(outcomes, trigger, go, fate), (outcomes, trigger, go, fate)


BANK_DOWN = "BANK_DOWN"
UNDO = {"plugin": "p", "operation": "undo"}
IDLE_HANDLERS = {
    "condition": call("on_refused", when="false"),
    "no match": switch("on_refused", case("false", call("x")), no_match="skip"),
    "only skipped inside": switch("on_refused", case("true", call("x", when="false"))),
    "only skipped branches": parallel("on_refused", a=[call("x", when="false")], b=[call("x", when="false")]),
    "no items": map_("on_refused", [], call("x")),
    "only skipped items": map_("on_refused", [1, 2], call("x", when="false")),
    "nested": parallel("on_refused", a=[map_("m", [], call("x"))], b=[parallel("i", a=[call("x", when="false")])]),
}


def refused(handler: dict[str, object], trigger: str, *then: dict[str, object]) -> History:
    """`reserve` succeeded, `charge` failed, and `handler` comes after both."""
    reserve = call("reserve", compensate=UNDO)
    steps = (reserve, call("charge"), handler | {"after": ["reserve", "charge"], "trigger": trigger}, *then)
    history = History(of_steps(*steps))
    history.succeed("reserve")
    history.fail("charge", broken(BANK_DOWN))
    return history


@pytest.mark.parametrize("kind", IDLE_HANDLERS)
@pytest.mark.parametrize("trigger", TOLERANT)
def test_a_handler_in_which_nothing_was_done_takes_up_no_failure(kind: str, trigger: str) -> None:
    history = refused(IDLE_HANDLERS[kind], trigger)
    history.succeed("reserve:compensate")

    assert (history.reason, history.state.status.value) == (BANK_DOWN, "COMPENSATED")


@pytest.mark.parametrize("trigger", TOLERANT)
def test_a_wait_that_is_skipped_takes_up_no_failure(trigger: str) -> None:
    handler = wait("on_refused", signal="go", timeout="1s", on_timeout="skip")
    history = refused(handler, trigger)
    history.wait(1)
    history.succeed("reserve:compensate")

    assert history.reason == BANK_DOWN


@pytest.mark.parametrize("trigger", TOLERANT)
def test_a_wait_that_comes_to_its_end_takes_the_failure_up(trigger: str) -> None:
    history = refused(wait("on_refused", signal="go"), trigger)
    history.turn(*control.signal(history.state, e.SignalReceived("go", Payload(b"1"))))

    assert history.state.status.value == "SUCCEEDED"


def test_what_comes_after_a_handler_that_was_skipped_does_not_run_as_if_nothing_had_failed() -> None:
    history = refused(call("on_refused", when="false"), "all_done", call("ship"))

    assert history.step("ship").skipped == "UPSTREAM_FAILED"
    assert history.state.status.value == "COMPENSATING"


def test_a_later_step_that_runs_takes_up_what_a_skipped_handler_left() -> None:
    history = refused(call("on_refused", when="false"), "all_done", call("last", trigger="all_done"), call("then"))
    history.succeed("last")
    history.succeed("then")

    assert history.state.status.value == "SUCCEEDED"


def test_a_handler_that_fails_takes_nothing_up_and_the_first_failure_counts() -> None:
    history = refused(call("on_refused"), "all_done")
    history.fail("on_refused", broken("SECOND"))
    history.succeed("reserve:compensate")

    assert history.reason == BANK_DOWN


def test_a_step_after_a_handler_that_failed_takes_both_failures_up() -> None:
    history = refused(call("on_refused"), "all_done", call("last", trigger="all_done"))
    history.fail("on_refused", broken("SECOND"))
    history.succeed("last")

    assert history.state.status.value == "SUCCEEDED"


def test_a_handler_that_is_cancelled_takes_nothing_up() -> None:
    history = refused(call("on_refused"), "all_done")
    history.take_back(history.turn(*control.cancel(history.state, "somebody", "")))
    history.succeed("reserve:compensate")

    assert history.reason == "EXECUTION_CANCELLED"


def test_a_step_of_which_nothing_before_it_succeeded_or_failed_says_so_and_stands_in_nobodys_way() -> None:
    steps = (call("a", when="false"), call("b", after=[], when="false"))
    history = History(of_steps(*steps, call("c", after=["a", "b"], trigger="any_succeeded"), call("d")))
    history.succeed("d")

    assert history.step("c").skipped == "UPSTREAM_SKIPPED"
    assert history.state.status.value == "SUCCEEDED"


INSIDE = ("ok", "fail", "skipped", "idle", "mixed", "taken_up", "not_taken_up")
JOINS: tuple[tuple[object, int, int], ...] = (
    ("all", 0, 0),
    ("all", 1, 0),
    ("all_settled", 0, 0),
    ("all_settled", 1, 0),
    ("any", 0, 1),
    ({"quorum": 2}, 0, 2),
    ({"quorum": 3}, 0, 3),
)


def branch(outcome: str) -> list[dict[str, object]]:
    match outcome:
        case "skipped":
            return [call("x", when="false"), call("y", when="false")]
        case "idle":
            return [map_("x", [], call("z"))]
        case "mixed":
            return [call("s", when="false"), call("x"), call("t", when="false")]
        case "taken_up":
            return [call("x"), call("h", trigger="all_done")]
        case "not_taken_up":
            return [call("x"), call("h", trigger="all_done", when="false")]
        case _:
            return [call("x")]


def counted(outcomes: tuple[str, ...], join: object, tolerate: int, quorum: int) -> str:
    nothing = [outcome for outcome in outcomes if outcome in ("skipped", "idle")]
    rest = [outcome for outcome in outcomes if outcome not in ("skipped", "idle")]
    good = bad = 0
    for left, outcome in zip(range(len(outcomes) - 1, -1, -1), (*nothing, *rest), strict=True):
        good += outcome in ("ok", "mixed", "taken_up")
        bad += outcome in ("fail", "not_taken_up")
        if quorum and good >= quorum:
            return "SUCCEEDED"
        if (quorum and good + left < quorum) or (join == "all" and bad > tolerate):
            return "FAILED"
    return "FAILED" if bad > tolerate else "SUCCEEDED"


def joined(outcomes: tuple[str, ...], join: object, tolerate: int) -> History:
    branches = {f"b{number}": branch(outcome) for number, outcome in enumerate(outcomes)}
    more = {"tolerate": tolerate} if tolerate else {}
    history = History(of_steps({"id": "g", "parallel": {"join": join, "branches": branches, **more}}))
    for number, outcome in enumerate(outcomes):
        for step in ("x", "h"):
            path = f"g/b{number}/{step}"
            if path in history.open:
                fails = step == "x" and outcome in ("fail", "taken_up", "not_taken_up")
                history.take_back(history.fail(path, broken()) if fails else history.succeed(path))
    return history


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("join", "tolerate", "quorum"), JOINS)
def test_every_combination_of_branches_and_joins_ends_as_the_table_says(
    join: object, tolerate: int, quorum: int, count: int
) -> None:
    for outcomes in product(INSIDE, repeat=2) if count == 2 else combinations_with_replacement(INSIDE, 3):
        if quorum <= count:
            history = joined(outcomes, join, tolerate)

            assert history.step("g").status.value == counted(outcomes, join, tolerate, quorum), outcomes


def test_a_branch_that_was_skipped_does_not_win_against_one_that_runs() -> None:
    group = {"id": "g", "parallel": {"join": "any", "branches": {"a": branch("skipped"), "b": [call("x")]}}}
    history = History(of_steps(group, output="${steps.g.output}"))
    assert history.open == ["g/b/x"]
    history.succeed("g/b/x", "real")

    assert history.output == {"a": None, "b": "real"}


def test_the_next_branch_begins_when_one_was_skipped() -> None:
    branches = {"a": branch("skipped"), "b": [call("x")]}
    group = {"id": "g", "parallel": {"join": "any", "max_concurrency": 1, "branches": branches}}

    assert History(of_steps(group)).open == ["g/b/x"]


def test_a_quorum_that_cannot_be_reached_because_of_skipped_branches_fails_and_says_how_many_there_were() -> None:
    branches = {"a": branch("skipped"), "b": branch("skipped"), "c": [call("x")]}
    history = History(of_steps({"id": "g", "parallel": {"join": {"quorum": 2}, "branches": branches}}))

    history.take_back(history.events)

    assert history.state.failure is not None
    assert history.state.failure.message == (
        "0 of 3 branches of 'g' failed, 2 did nothing because their steps were skipped, and 2 had to succeed"
    )


def test_iterations_that_were_skipped_do_not_win_an_any() -> None:
    group = map_("m", [0, 0, 1], call("x", when="item > 0"), join="any")
    history = History(of_steps(group, output="${steps.m.output}"))
    history.succeed("m/2/x", "real")

    assert history.output == [None, None, "real"]


@pytest.mark.parametrize(
    ("share", "branches", "most"),
    [("64.6%", 500, 323), ("0.1%", 1000, 1), ("57.1%", 1000, 571), ("28.999999999999999%", 100, 28), ("100%", 7, 7)],
)
def test_a_share_of_the_branches_is_exact(share: str, branches: int, most: int) -> None:
    definition = of_steps(map_("m", list(range(branches)), call("x"), tolerate=share))

    group = definition.steps[0]

    assert group.join.tolerated(branches) == most  # type: ignore[union-attr]


def test_an_execution_keeps_the_rules_that_it_began_with() -> None:
    definition = of_steps(call("a"), call("b", trigger="all_done", when="false"), call("c"))
    history = History(definition)
    history.events.clear()
    history.state = type(history.state)("default", "e-1", definition)
    history.turn(
        e.ExecutionStarted(
            workflow="w", workflow_version="1.0.0", content_hash="", input=Payload(b"{}"), trace_id=b"t" * 16, rules=0
        )
    )
    history.fail("a", broken())
    history.succeed("c")

    assert history.state.status.value == "SUCCEEDED"
    assert history.refolded().status.value == "SUCCEEDED"
