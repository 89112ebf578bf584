"""Random workflows over the whole language."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.unit.orchestrator.workflows import CALL

WEIGHTS = {"call": 12, "parallel": 3, "switch": 2, "map": 2, "loop": 2, "wait": 2, "workflow": 1}
TRIGGERS = ("all_succeeded", "all_succeeded", "none_failed", "any_succeeded", "all_done")
VARIABLES = ("u", "v")


@dataclass
class Author:
    """Writes one workflow, of steps of the kinds in `weights`; `visible` are the steps that the next one may name."""

    draw: random.Random
    names: int = 0
    inside_map: int = 0
    inside_loop: int = 0
    fresh: dict[str, None] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=lambda: WEIGHTS)

    def definition(self) -> dict[str, Any]:
        draw = self.draw
        tree: dict[str, Any] = {"steps": self.sequence(0, ()), "vars": {"u": "${input.n}", "v": "${vars.u}"}}
        if draw.random() < 0.2:
            tree["timeout"] = "4s"
        if draw.random() < 0.25:
            tree["max_concurrency"] = draw.randint(1, 3)
        tree["output"] = {"n": "${input.n}", "v": "${vars.v}"}
        return tree

    def sequence(self, depth: int, visible: tuple[str, ...]) -> list[dict[str, Any]]:
        draw = self.draw
        count = draw.randint(1, 4 if depth == 0 else 3)
        graph = draw.random() < 0.35
        steps: list[dict[str, Any]] = []
        ancestors: list[set[str]] = []
        for index in range(count):
            before = [index - 1] if index else []
            after: list[int] | None = None
            if graph and index:
                after = sorted(draw.sample(range(index), draw.randint(0, min(index, 2))))
                before = after
            known: set[str] = set()
            for source in before:
                known |= ancestors[source] | {steps[source]["id"]}
            step = self.step(depth, (*visible, *sorted(known)))
            if after is not None:
                step["after"] = [steps[source]["id"] for source in after]
            if before and draw.random() < 0.3:
                step["trigger"] = draw.choice(TRIGGERS)
            steps.append(step)
            ancestors.append(known)
        return steps

    def step(self, depth: int, visible: tuple[str, ...]) -> dict[str, Any]:
        draw = self.draw
        self.names += 1
        step: dict[str, Any] = {"id": f"s{self.names}"}
        kind = draw.choices(list(self.weights), list(self.weights.values()))[0] if depth < 3 else "call"
        getattr(self, f"_{kind}")(step, depth, visible)
        if draw.random() < 0.1:
            step["when"] = self.condition(visible)
        if draw.random() < 0.15:
            step["set"] = {draw.choice(VARIABLES): draw.choice(["${vars.u}", f"${{steps.{step['id']}.output}}", 7])}
        return step

    def _call(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        draw = self.draw
        step |= {"call": CALL, "input": self.template(visible)}
        step["retry"] = {"max_attempts": draw.randint(1, 3), "initial": "100ms"}
        if draw.random() < 0.3:
            step["compensate"] = {
                **CALL,
                "input": {"of": f"${{steps.{step['id']}.output}}"},
                "retry": {"initial": "50ms"},
            }
        if draw.random() < 0.2:
            step["idempotent"] = draw.choice([True, False])
            step["in_doubt"] = draw.choice(["retry", "fail", "manual"])
        if draw.random() < 0.1:
            step["on_exhausted"] = "incident"
        if draw.random() < 0.1:
            step["timeouts"] = {"schedule_to_close": "1500ms"}

    def _workflow(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        step |= {"workflow": {"name": "other"}, "input": self.template(visible)}
        step["retry"] = {"max_attempts": self.draw.randint(1, 2), "initial": "100ms"}

    def _parallel(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        draw = self.draw
        count = draw.randint(1, 4)
        group: dict[str, Any] = {"branches": {f"b{n}": self.sequence(depth + 1, visible) for n in range(count)}}
        self._join(group, count)
        group["merge"] = draw.choice(["first", "last"])
        step["parallel"] = group

    def _map(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        count = self.draw.randint(0, 5)
        self.inside_map += 1
        group: dict[str, Any] = {"over": list(range(count)), "steps": self.sequence(depth + 1, visible)}
        self.inside_map -= 1
        self._join(group, max(count, 1))
        step["map"] = group

    def _loop(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        draw = self.draw
        self.inside_loop += 1
        steps = self.sequence(depth + 1, visible)
        self.inside_loop -= 1
        ended = draw.choice(steps)["id"]
        conditions = [f"steps.{ended}.status == 'SUCCEEDED'", f"index == {draw.randint(0, 3)}", self.condition(visible)]
        group: dict[str, Any] = {"until": draw.choice(conditions), "max_iterations": draw.randint(1, 4), "steps": steps}
        if draw.random() < 0.5:
            group["delay"] = "200ms"
        group["on_limit"] = draw.choice(["fail", "succeed", "succeed"])
        step["loop"] = group

    def _join(self, group: dict[str, Any], count: int) -> None:
        draw = self.draw
        group["join"] = draw.choice(["all", "all", "all_settled", "any", {"quorum": draw.randint(1, count)}])
        if group["join"] in ("all", "all_settled") and draw.random() < 0.3:
            group["tolerate"] = draw.choice([1, "50%"])
        if draw.random() < 0.4:
            group["max_concurrency"] = draw.randint(1, 2)

    def _switch(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        draw = self.draw
        cases: list[dict[str, Any]] = [
            {"when": self.condition(visible), "steps": self.sequence(depth + 1, visible)}
            for _ in range(draw.randint(1, 2))
        ]
        if draw.random() < 0.5:
            cases.append({"otherwise": self.sequence(depth + 1, visible)})
        step |= {"switch": cases, "no_match": draw.choice(["fail", "skip", "skip"])}

    def _wait(self, step: dict[str, Any], depth: int, visible: tuple[str, ...]) -> None:
        draw = self.draw
        if draw.random() < 0.5:
            step["wait"] = {"for": "300ms"}
        else:
            step["wait"] = {"signal": draw.choice(["go", "stop"])}
            if draw.random() < 0.6:
                step["wait"] |= {"timeout": "1s", "on_timeout": draw.choice(["fail", "skip"])}

    def condition(self, visible: tuple[str, ...]) -> str:
        draw = self.draw
        if visible and draw.random() < 0.5:
            return f"steps.{draw.choice(visible)}.status == '{draw.choice(['SUCCEEDED', 'SKIPPED', 'FAILED'])}'"
        return f"input.n > {draw.randint(0, 9)}"

    def template(self, visible: tuple[str, ...]) -> object:
        draw = self.draw
        if draw.random() < 0.03:
            return "${input.absent}"
        if self.inside_map and draw.random() < 0.3:
            return {"item": "${item}", "index": "${index}"}
        if self.inside_loop and draw.random() < 0.3:
            return {"index": "${index}", "v": "${vars.v}"}
        if visible and draw.random() < 0.7:
            step = draw.choice(visible)
            return draw.choice(
                [{"x": [f"${{steps.{step}.output}}"]}, f"${{steps.{step}.status}}", {"e": f"${{steps.{step}.error}}"}]
            )
        return {"n": "${input.n}", "v": "${vars.v}"}
