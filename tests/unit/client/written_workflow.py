"""A workflow's tree, written again with the builder."""

from typing import Any

from forgemesh.client.policy import Cache, Compensation, Concurrency, Retry, Timeouts
from forgemesh.client.steps import Sequence
from forgemesh.client.workflow import Workflow

_POLICIES: dict[str, type[Any]] = {"retry": Retry, "timeouts": Timeouts, "cache": Cache}


def written(tree: dict[str, Any]) -> Workflow:
    """The workflow that an author would write to mean this tree."""
    head = {key: value for key, value in tree.items() if key not in ("name", "steps", "output")}
    if "concurrency" in head:
        head["concurrency"] = Concurrency(**head["concurrency"])
    flow = Workflow(tree["name"], **head)
    _write(flow, tree["steps"])
    if "output" in tree:
        flow.returns(tree["output"])
    return flow


def _write(sequence: Sequence, steps: list[Any]) -> None:
    for tree in steps:
        kind = next(kind for kind in _KINDS if kind in tree)
        options = {key: _option(key, value) for key, value in tree.items() if key not in ("id", kind)}
        _KINDS[kind](sequence, tree["id"], tree[kind], options)


def _option(key: str, value: Any) -> Any:
    if key == "compensate":
        undo = value | value.get("select", {})
        return Compensation(**{name: _option(name, inner) for name, inner in undo.items() if name != "select"})
    return _POLICIES[key](**value) if key in _POLICIES else value


def _call(sequence: Sequence, step_id: str, tree: Any, options: Any) -> None:
    target = {key: value for key, value in tree.items() if key != "select"}
    sequence.call(step_id, **target, **tree.get("select", {}), **options)


def _child(sequence: Sequence, step_id: str, tree: Any, options: Any) -> None:
    sequence.child(step_id, tree["name"], version=tree.get("version"), **options)


def _switch(sequence: Sequence, step_id: str, tree: Any, options: Any) -> None:
    switch = sequence.switch(step_id, **options)
    for case in tree:
        if "otherwise" in case:
            _write(switch.otherwise(), case["otherwise"])
        else:
            _write(switch.case(case["when"], name=case.get("name")), case["steps"])


def _joining(tree: Any) -> dict[str, Any]:
    said = {key: value for key, value in tree.items() if key not in ("branches", "steps", "over")}
    if isinstance(said.get("join"), dict):
        said |= said.pop("join")
    return said


def _parallel(sequence: Sequence, step_id: str, tree: Any, options: Any) -> None:
    group = sequence.parallel(step_id, **_joining(tree), **options)
    for name, steps in tree["branches"].items():
        _write(group.branch(name), steps)


def _map(sequence: Sequence, step_id: str, tree: Any, options: Any) -> None:
    _write(sequence.map(step_id, tree["over"], **_joining(tree), **options), tree["steps"])


def _loop(sequence: Sequence, step_id: str, tree: Any, options: Any) -> None:
    more = {key: value for key, value in tree.items() if key not in ("until", "steps")}
    _write(sequence.loop(step_id, tree["until"], **more, **options), tree["steps"])


def _wait(sequence: Sequence, step_id: str, tree: Any, options: Any) -> None:
    if "for" in tree:
        sequence.pause(step_id, tree["for"], **options)
    elif "until" in tree:
        sequence.until(step_id, tree["until"], **options)
    else:
        more = {key: value for key, value in tree.items() if key != "signal"}
        sequence.signal(step_id, tree["signal"], **more, **options)


_KINDS = {
    "call": _call,
    "workflow": _child,
    "switch": _switch,
    "parallel": _parallel,
    "map": _map,
    "loop": _loop,
    "wait": _wait,
}
