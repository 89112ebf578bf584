import json
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from forgemesh.plugin import (
    ConfigurationError,
    OperationError,
    PluginDefinition,
    PluginDefinitionError,
    Secret,
    define,
    manifest_of,
    operation,
    plugin,
)


class Limit(msgspec.Struct):
    calls: int
    seconds: float = 1.0


@dataclass
class Settings:
    """How the plugin works."""

    url: str
    password: Secret | None = None
    limits: list[Limit] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.url.startswith("https://"):
            raise ValueError("url is not https")


@plugin("test.configured", version="1.0.0", config=Settings)
class Configured:
    def __init__(self, config: Settings) -> None:
        self.config = config

    @operation
    def url(self) -> str:
        return self.config.url


DEFINITION: PluginDefinition = define(Configured)


def read(**given: object) -> Settings:
    assert DEFINITION.configuration is not None
    settings: Settings = DEFINITION.configuration.read(json.dumps(given))
    return settings


def violations(text: str) -> tuple[str, ...]:
    assert DEFINITION.configuration is not None
    with pytest.raises(ConfigurationError) as refused:
        DEFINITION.configuration.read(text)
    return refused.value.violations


def test_a_configuration_becomes_what_the_author_declared() -> None:
    settings = read(url="https://here", limits=[{"calls": 3}])

    assert settings == Settings("https://here", None, [Limit(3)])


def test_its_schema_stands_in_the_manifest() -> None:
    schema = json.loads(manifest_of(DEFINITION).config_schema)

    assert schema["$defs"]["Settings"]["required"] == ["url"]
    assert schema["$defs"]["Settings"]["additionalProperties"] is False
    assert schema["$defs"]["Secret"]["properties"] == {"file": {"type": "string"}}


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    said = violations('{"urll": "https://here", "limits": [{"calls": "many", "second": 1}], "password": "hunter2"}')

    assert len(said) == 5
    assert "$: 'url' is a required property" in said
    assert "$.limits[0].calls: 'many' is not of type 'integer'" in said
    assert any(one.startswith("$.password: ") for one in said)
    assert sum("Additional properties are not allowed" in one for one in said) == 2


def test_what_the_authors_own_check_refuses_is_refused() -> None:
    assert violations('{"url": "http://here"}') == ("url is not https",)


@pytest.mark.parametrize("text", ["{", "[" * 51 + "]" * 51, "[" * 950 + "]" * 950, "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    assert violations(text)[0].startswith("it is no JSON")


def test_no_configuration_is_an_empty_one() -> None:
    assert violations("") == ("$: 'url' is a required property",)


def test_a_class_that_takes_no_config_is_refused() -> None:
    @plugin("test.deaf", version="1.0.0", config=Settings)
    class Deaf:
        @operation
        def hear(self) -> None: ...

    with pytest.raises(PluginDefinitionError, match="has no __init__ with a parameter config"):
        define(Deaf)


def test_hooks_that_cannot_be_called_are_refused() -> None:
    @plugin("test.hooks", version="1.0.0")
    class Hooks:
        @operation
        def hear(self) -> None: ...

        def configure(self, config: Settings) -> None: ...

        def save_state(self, how: str) -> None: ...

        def restore_state(self, state: int) -> None: ...

    with pytest.raises(PluginDefinitionError) as refused:
        define(Hooks)

    assert refused.value.mistakes == (
        "it has a method configure and declares no config; say @plugin(..., config=Type)",
        "restore_state is called as restore_state(self, state, version); give it these parameters, or another name",
        "save_state is called as save_state(self); give it these parameters, or another name",
    )


@pytest.mark.parametrize("wanted", [int, dict, object, "nonsense"])
def test_a_configuration_is_a_type_with_fields(wanted: object) -> None:
    odd = plugin("test.odd", version="1.0.0", config=wanted)
    odd.operation(lambda: None)

    with pytest.raises(PluginDefinitionError, match="config: "):
        define(odd)


def test_a_secret_is_read_anew_each_time_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    secret = read(url="https://here", password={"file": str(file)}).password
    assert secret is not None
    first = secret.read()
    file.write_text("hunter3")

    assert (first, secret.read()) == ("hunter2", "hunter3")
    assert "hunter" not in repr(secret) + str(secret)


def test_a_secret_that_cannot_be_read_says_which_file() -> None:
    with pytest.raises(OperationError) as failed:
        Secret("/nowhere/password").read()

    assert failed.value.reason == "SECRET_UNAVAILABLE"
    assert failed.value.retryable
    assert "the secret in /nowhere/password cannot be read: No such file or directory" in str(failed.value)
