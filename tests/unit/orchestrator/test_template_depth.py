import pytest

from forgemesh.faults.workflow import ExpressionError
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.expressions.template import TemplateCompiler, evaluate


def evaluated(tree: object, value: Payload) -> Payload:
    return evaluate(TemplateCompiler(CelCompiler(), ("input",)).compile(tree), lambda _: value)


def failure(tree: object, value: Payload) -> str:
    with pytest.raises(ExpressionError) as error:
        evaluated(tree, value)
    return error.value.message


@pytest.mark.parametrize("depth", [251, 950, 100_000])
def test_a_deeply_nested_payload_is_refused_and_not_followed(depth: int) -> None:
    deep = Payload(b"[" * depth + b"]" * depth)

    assert evaluated("${input}", deep) is deep
    assert "nested deeper than 250" in failure("${input[0]}", deep)
    assert "nested deeper than 250" in failure(["${input}"], deep)


def test_what_a_template_adds_counts() -> None:
    deep = Payload(b"[" * 250 + b"]" * 250)

    assert evaluated("${input[0]}", deep).data == b"[" * 249 + b"]" * 249
    assert evaluated(["${input[0]}"], deep).data == deep.data
    assert "nested deeper than 250" in failure(["${input}"], deep)
    assert "nested deeper than 250" in failure("${[input]}", deep)
