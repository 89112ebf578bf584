import msgspec
import pytest
from hypothesis import given, strategies as st

from forgemesh.language.yaml_text import WIDTH, yaml_text
from forgemesh.orchestrator.workflow.yaml.source import read_document
from tests.unit.language.every_key import EVERY_KEY

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=40,
)


@given(st.dictionaries(st.text(), json_values))
def test_any_tree_is_read_back_as_it_was(tree: dict[str, object]) -> None:
    found = read_document(yaml_text(tree) or "{}").tree

    assert msgspec.json.encode(found or {}) == msgspec.json.encode(tree)


def test_the_workflow_with_every_key_is_read_back_as_it_was() -> None:
    tree = read_document(EVERY_KEY).tree
    assert isinstance(tree, dict)

    assert read_document(yaml_text(tree)).tree == tree


MISTAKABLE = (
    """yes|No|null|~|1|1e3|0x1f|1_000|1:30|2026-01-01|- a|a: b|a #b|@a|&a|*a|!a|%a|`a|'a|"|{a|a,b]|| a|a |é|😀|="""
)


@pytest.mark.parametrize("text", [*MISTAKABLE.split("|"), "|", "a\nb", "\x7f", "\u2028", "\ufeff"])
def test_a_text_that_could_be_something_else_stands_in_quotes(text: str) -> None:
    written = yaml_text({"key": text})

    assert written.startswith('key: "')
    assert read_document(written).tree == {"key": text}


@pytest.mark.parametrize("text", ["a", "shop.stock@^1.2", "two words", "200ms", "1.5h", "1.0.0", "1.0.0-rc.1+5", "_x"])
def test_a_plain_word_needs_no_quotes(text: str) -> None:
    assert yaml_text({"key": text}) == f"key: {text}\n"
    assert read_document(f"key: {text}").tree == {"key": text}


def test_short_values_stand_on_one_line_and_steps_on_lines_of_their_own() -> None:
    call = {"plugin": "p@^1", "operation": "o"}
    tree = {
        "name": "w",
        "steps": [
            {"id": "a", "call": call, "input": {"x": "${input.x}"}},
            {"id": "b", "parallel": {"branches": {"one": [{"id": "c", "call": call}]}}},
            {"id": "d", "call": call, "input": {"long": ["x" * 60, "y" * 60]}},
        ],
    }

    text = yaml_text(tree)

    assert (
        text
        == f"""\
name: w
steps:
  - {{id: a, call: {{plugin: p@^1, operation: o}}, input: {{x: "${{input.x}}"}}}}
  - id: b
    parallel:
      branches:
        one:
          - {{id: c, call: {{plugin: p@^1, operation: o}}}}
  - id: d
    call: {{plugin: p@^1, operation: o}}
    input:
      long:
        - {"x" * 60}
        - {"y" * 60}
"""
    )
    assert max(map(len, text.splitlines())) <= WIDTH
