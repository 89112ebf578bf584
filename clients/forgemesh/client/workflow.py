"""
Workflows written in Python: what they say is data, and says the same as YAML.

    flow = Workflow("order", version="1.0.0", input={"order_id": "string"})
    reserve = flow.call("reserve", plugin="shop.stock@^2", operation="reserve", input={"order": flow.input.order_id})
    flow.call("charge", plugin="shop.payment", operation="charge", input={"amount": reserve.output.total})
    await mesh.register(flow.to_yaml())
"""

from __future__ import annotations

from collections.abc import Mapping

from forgemesh.api.orchestrator.v1.workflow_pb2 import Workflow as WorkflowMessage
from forgemesh.client.expression import Expression, Path, cel, has, literal, size, template
from forgemesh.client.policy import Cache, Compensation, Concurrency, Length, Retry, Timeouts, length, tree_of
from forgemesh.client.steps import Sequence, Step, Tree
from forgemesh.language.json_text import json_text
from forgemesh.language.message_writing import MAX_NESTED, workflow_message
from forgemesh.language.yaml_text import yaml_text

__all__ = [
    "Cache",
    "Compensation",
    "Concurrency",
    "Expression",
    "Path",
    "Retry",
    "Sequence",
    "Step",
    "Timeouts",
    "Workflow",
    "cel",
    "has",
    "literal",
    "size",
]


class Workflow(Sequence):
    """
    A workflow as its author writes it; docs/workflows.md says what everything means.

    Nothing is checked here but what Python needs: registering or validating it says every mistake at once.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        description: str | None = None,
        input: Mapping[str, str] | None = None,  # noqa: A002 - what the language calls it
        timeout: Length | None = None,
        vars: Mapping[str, object] | None = None,  # noqa: A002 - what the language calls it
        max_concurrency: int | None = None,
        concurrency: Concurrency | None = None,
    ) -> None:
        """`input` maps names to types such as "string" or "integer?"; `vars` are variables and what they are first."""
        steps: list[Tree] = []
        super().__init__(steps)
        said: Tree = {
            "name": name,
            "version": version,
            "description": description,
            "input": dict(input) if input is not None else None,
            "timeout": length(timeout) if timeout is not None else None,
            "vars": template(vars),
            "max_concurrency": max_concurrency,
            "concurrency": tree_of(concurrency) if concurrency is not None else None,
            "steps": steps,
        }
        self._definition = {key: value for key, value in said.items() if value is not None}

    @property
    def input(self) -> Path:
        """The execution's input."""
        return Path("input")

    @property
    def vars(self) -> Path:
        """The variables, each by its name: `flow.vars.total`."""
        return Path("vars")

    @property
    def execution(self) -> Path:
        """The execution's id, namespace, workflow and version."""
        return Path("execution")

    @property
    def error(self) -> Path:
        """In a compensation: why the step is undone."""
        return Path("error")

    def returns(self, output: object) -> None:
        """What an execution returns: a template."""
        self._definition["output"] = template(output)

    def to_yaml(self) -> str:
        """The text as people read it."""
        return yaml_text(self._definition)

    def to_json(self) -> str:
        """The same as JSON."""
        return json_text(self._definition, indent=2)

    def to_message(self) -> WorkflowMessage:
        """The same as a message. Raises ValueError for what no message has, such as groups nested too deep for one."""
        message = workflow_message(self._definition)
        if message is None:
            raise ValueError(f"messages take at most {MAX_NESTED} groups inside one another; register the text instead")
        return message
