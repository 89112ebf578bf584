import contextlib
import json

import pytest
from hypothesis import given, strategies as st

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.plugin import PluginDefinitionError, manifest_from_toml

WHOLE = """
id = "image.resize"
version = "2.0.1"
description = "Makes images smaller."
provides = ["image.resizer@1.2.0"]
requires = ["image.codec@^1", { interface = "storage.blob", range = "^2", optional = true, on_loss = "ignore" }]
max_concurrency = 4
priority = -3
weight = 2
metadata = { team = "media" }
limits = { memory_bytes = 268435456, cpu = 1.5 }

[config]
type = "object"
properties.quality.type = "integer"

[operations.resize]
description = "One image."
idempotent = true
timeout = "5s"
input = { type = "object", required = ["image"] }
output = '{"type": "object"}'

[operations.forget]
idempotent = false
cacheable = true
"""


def mistakes(text: str) -> str:
    with pytest.raises(PluginDefinitionError) as refused:
        manifest_from_toml(text, "manifest.toml")
    return "\n".join(refused.value.mistakes)


def test_everything_that_a_manifest_can_say_can_be_written() -> None:
    manifest = manifest_from_toml(WHOLE)
    codec, blob = manifest.dependencies
    resize, forget = manifest.operations

    assert (manifest.plugin_id, manifest.version) == ("image.resize", "2.0.1")
    assert [(one.name, one.version) for one in manifest.provides] == [("image.resizer", "1.2.0")]
    assert (codec.plugin_id, codec.version_range) == ("image.codec", "^1")
    assert (blob.interface_name, blob.optional, blob.on_loss) == ("storage.blob", True, manifest_pb2.ON_LOSS_IGNORE)
    assert (manifest.max_concurrency, manifest.priority, manifest.weight) == (4, -3, 2)
    assert (manifest.limits.memory_bytes, manifest.limits.cpu_millis) == (2**28, 1500)
    assert json.loads(manifest.config_schema)["properties"] == {"quality": {"type": "integer"}}
    assert resize.timeout.ToMilliseconds() == 5000
    assert resize.idempotency == manifest_pb2.IDEMPOTENCY_IDEMPOTENT
    assert json.loads(resize.input_schema) == {"type": "object", "required": ["image"]}
    assert json.loads(resize.output_schema) == {"type": "object"}
    assert (forget.idempotency, forget.cacheable) == (manifest_pb2.IDEMPOTENCY_NOT_IDEMPOTENT, True)


def test_little_is_enough() -> None:
    manifest = manifest_from_toml('id = "a.b"\nversion = "1.0.0"\n[operations.run]\n')

    assert [one.name for one in manifest.operations] == ["run"]
    assert manifest.weight == 1


def test_all_mistakes_are_said_at_once() -> None:
    said = mistakes(
        """
        version = "one"
        provides = ["what"]
        requires = [{ plugin = "a", rang = "^1" }, "b@new"]
        weight = 0
        prioritty = 1
        max_concurrency = "many"
        limits = { memory = 5 }
        config = { type = 7 }
        [operations."not a name"]
        idempotnt = true
        timeout = "soon"
        input = "{"
        """
    )

    for mistake in (
        "id is missing",
        "version 'one' is not SemVer",
        "provides 'what' is not an interface",
        "requires: unknown key 'rang', did you mean 'range'?",
        "requires 'b@new' is not a plugin such as",
        "weight 0 is not between",
        "unknown key 'prioritty', did you mean 'priority'?",
        "max_concurrency: expected int, got str",
        "limits: unknown key 'memory', did you mean 'memory_bytes'?",
        "config is no JSON Schema: $.type: 7 is not valid",
        "operation not a name: its name is not an identifier",
        "operation not a name: unknown key 'idempotnt', did you mean 'idempotent'?",
        "operation not a name: timeout: 'soon' is not a length of time",
        "operation not a name: input is no JSON",
    ):
        assert mistake in said


def test_a_plugin_without_operations_is_none() -> None:
    assert "operations is missing" in mistakes('id = "a.b"\nversion = "1.0.0"\n')
    assert "it has no operations" in mistakes('id = "a.b"\nversion = "1.0.0"\n[operations]\n')


def test_what_is_no_toml_is_refused() -> None:
    assert "it is no TOML" in mistakes("id = ")


@given(st.text(max_size=200))
def test_any_text_is_a_manifest_or_refused(text: str) -> None:
    for written in (text, f'id = "a.b"\nversion = "1.0.0"\n{text}', f"[operations.run]\n{text}"):
        with contextlib.suppress(PluginDefinitionError):
            manifest_from_toml(written)


@given(st.dictionaries(st.sampled_from(["id", "version", "weight", "priority", "provides", "requires", "limits",
                                        "metadata", "operations", "config"]),
                       st.one_of(st.integers(), st.booleans(), st.just("x"), st.just([]), st.just({}),
                                 st.just([{"plugin": 3}]), st.just({"run": {"timeout": 1e300}}))))  # fmt: skip
def test_values_of_any_type_are_refused_and_not_stumbled_over(document: dict[str, object]) -> None:
    lines = [f"{key} = {_toml(value)}" for key, value in document.items()]
    with contextlib.suppress(PluginDefinitionError):
        manifest_from_toml("\n".join(lines))


def _toml(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value)
        case _:
            return repr(value)


@pytest.mark.parametrize("depth", [51, 950, 100_000])
def test_a_schema_that_is_nested_too_deep_is_refused(depth: int) -> None:
    text = 'id = "a.b"\nversion = "1.0.0"\n[operations.x]\ninput = \'' + '{"not":' * depth + "true" + "}" * depth + "'"

    with pytest.raises(PluginDefinitionError, match="nested deeper than 50"):
        manifest_from_toml(text)
