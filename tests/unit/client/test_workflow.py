import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from forgemesh.client.workflow import Cache, Compensation, Concurrency, Retry, Step, Timeouts, Workflow, has, size
from forgemesh.orchestrator.api.workflows import workflow_from_message
from forgemesh.orchestrator.workflow.yaml.source import read_document
from tests.unit.client.written_workflow import written
from tests.unit.language.every_key import EVERY_KEY
from tests.unit.orchestrator.random_workflows import Author
from tests.unit.orchestrator.workflows import parsed

ORDER = """\
name: order
version: 1.0.0
input: {order_id: string, express: boolean?}
timeout: 3600s
vars: {total: 0}
concurrency: {key: "${input.order_id}"}
steps:
  - id: reserve
    call: {plugin: shop.stock@^2, operation: reserve}
    input: {order: "${input.order_id}"}
    compensate: {operation: release, plugin: shop.stock@^2, input: {id: "${steps.reserve.output.id}"}}
    set: {total: "${vars.total + steps.reserve.output.total}"}
  - id: route
    switch:
      - name: fast
        when: has(input.express) && input.express
        steps:
          - {id: courier, call: {interface: shop.courier, operation: send, select: {must: {country: de}}}}
      - otherwise:
          - {id: rest, wait: {for: 1500ms}}
          - {id: approval, wait: {signal: approved, timeout: 1h, on_timeout: skip}}
          - {id: post, call: {plugin: shop.post, operation: send}, when: steps.approval.status == "SUCCEEDED"}
    no_match: fail
  - id: tell
    parallel:
      branches:
        mail: [{id: send, call: {plugin: shop.mail, operation: send}, input: "Order ${input.order_id} is on its way"}]
        bill: [{id: bill, workflow: {name: billing}, input: {total: "${vars.total}"}, on_close: abandon}]
      join: {quorum: 1}
    after: [reserve, route]
    trigger: none_failed
  - id: pack
    map:
      over: ${steps.reserve.output.lines}
      steps:
        - id: line
          call: {plugin: shop.pack, operation: pack}
          input: {line: "${item}", n: "${index + 1}"}
          retry: {max_attempts: 5, initial: 500ms}
          timeouts: {start_to_close: 20s}
          cache: {ttl: 10m}
      tolerate: 10%
      max_concurrency: 8
output: {lines: "${size(steps.pack.output)}", total: "${vars.total}"}
"""


def order() -> Workflow:
    flow = Workflow(
        "order",
        version="1.0.0",
        input={"order_id": "string", "express": "boolean?"},
        timeout=timedelta(hours=1),
        vars={"total": 0},
        concurrency=Concurrency(key="${input.order_id}"),
    )
    reserve = flow.call(
        "reserve",
        plugin="shop.stock@^2",
        operation="reserve",
        input={"order": flow.input.order_id},
        compensate=Compensation(plugin="shop.stock@^2", operation="release", input={"id": Step("reserve").output.id}),
        set={"total": flow.vars.total + Step("reserve").output.total},
    )
    with flow.switch("route", no_match="fail") as route:
        with route.case(has(flow.input.express) & flow.input.express, name="fast") as fast:
            fast.call("courier", interface="shop.courier", operation="send", must={"country": "de"})
        with route.otherwise() as slow:
            slow.pause("rest", timedelta(milliseconds=1500))
            approval = slow.signal("approval", "approved", timeout="1h", on_timeout="skip")
            slow.call("post", plugin="shop.post", operation="send", when=approval.status == "SUCCEEDED")
    with flow.parallel("tell", quorum=1, after=[reserve, "route"], trigger="none_failed") as tell:
        with tell.branch("mail") as mail:
            text = f"Order {flow.input.order_id} is on its way"
            mail.call("send", plugin="shop.mail", operation="send", input=text)
        tell.branch("bill").child("bill", "billing", input={"total": flow.vars.total}, on_close="abandon")
    with flow.map("pack", reserve.output.lines, max_concurrency=8, tolerate="10%") as pack:
        pack.call(
            "line",
            plugin="shop.pack",
            operation="pack",
            input={"line": pack.item, "n": pack.index + 1},
            retry=Retry(max_attempts=5, initial="500ms"),
            timeouts=Timeouts(start_to_close=timedelta(seconds=20)),
            cache=Cache(ttl="10m"),
        )
    flow.returns({"lines": size(pack.output), "total": flow.vars.total})
    return flow


def tree_of(text: str) -> Any:
    return read_document(text).tree


def test_a_workflow_in_python_says_the_same_as_in_yaml() -> None:
    flow = order()

    assert tree_of(flow.to_yaml()) == tree_of(ORDER)
    assert parsed(flow.to_yaml()).content_hash == parsed(ORDER).content_hash
    assert parsed(flow.to_json()).content_hash == parsed(ORDER).content_hash
    assert parsed(workflow_from_message(flow.to_message())).content_hash == parsed(ORDER).content_hash


def test_every_key_of_the_language_can_be_written_in_python() -> None:
    tree = tree_of(EVERY_KEY)

    assert tree_of(written(tree).to_yaml()) == tree


@given(st.randoms(use_true_random=False))
def test_any_workflow_is_the_same_in_python_yaml_json_and_as_a_message(draw: random.Random) -> None:
    tree = Author(draw).definition() | {"name": "w"}

    flow = written(tree)

    assert tree_of(flow.to_yaml()) == tree
    texts = [flow.to_yaml(), flow.to_json(), workflow_from_message(flow.to_message())]
    assert len({parsed(text).content_hash for text in texts}) == 1


def test_waits_until_a_moment_are_written_as_templates() -> None:
    flow = Workflow("w")
    flow.until("a", "2030-01-31T12:00:00Z")
    flow.until("b", flow.input.when, after=[])

    assert tree_of(flow.to_yaml())["steps"] == [
        {"id": "a", "wait": {"until": "2030-01-31T12:00:00Z"}},
        {"id": "b", "wait": {"until": "${input.when}"}, "after": []},
    ]


def test_a_step_reads_as_people_write_it() -> None:
    flow = Workflow("w")
    first = flow.call("a", plugin="p", operation="o")
    flow.call("b", operation="o", interface="i", set={"total": 1}, when="true", after=first)
    flow.call("c", plugin="p", operation="o", after="b")

    assert flow.to_yaml().splitlines()[2:] == [
        "  - {id: a, call: {plugin: p, operation: o}}",
        '  - {id: b, after: [a], when: "true", call: {interface: i, operation: o}, set: {total: 1}}',
        "  - {id: c, after: [b], call: {plugin: p, operation: o}}",
    ]


def test_a_branch_is_written_once() -> None:
    group = Workflow("w").parallel("g")
    group.branch("a")

    with pytest.raises(ValueError, match="group 'g' has a branch 'a' already"):
        group.branch("a")


def test_a_message_says_why_it_cannot_be_made() -> None:
    deep, wrong = Workflow("deep"), Workflow("wrong")
    sequence: Any = deep
    for level in range(31):
        sequence = sequence.map(f"m{level}", [1])
    wrong.call("a", plugin="p", operation="o", trigger="always")  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="at most 30 groups inside one another"):
        deep.to_message()
    with pytest.raises(ValueError, match="'always' is none of all_succeeded, none_failed"):
        wrong.to_message()


def test_a_step_is_no_value() -> None:
    flow = Workflow("w")
    step = flow.call("a", plugin="p", operation="o")

    with pytest.raises(TypeError, match="of a step, take its output"):
        flow.call("b", plugin="p", operation="o", input={"x": step})
