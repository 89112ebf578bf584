import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.plugin import (
    Context,
    Payload,
    PluginDefinitionError,
    define,
    manifest_of,
    operation,
    plugin,
)

ROOT = Path(__file__).parents[3]


class Day(msgspec.Struct, frozen=True):
    """One day."""

    high: float


@plugin(
    "weather.stats",
    version="1.2.0",
    provides=["timeseries.summary@1.0.0"],
    max_concurrency=8,
    priority=3,
    weight=5,
    metadata={"team": "climate"},
)
class WeatherStats:
    """
    Summaries of daily weather,
    day by day.

    Not part of the description.
    """

    @operation(idempotent=True, timeout="1500ms", cacheable=True)
    async def temperature(self, days: list[Day], ctx: Context) -> dict[str, float]:
        """Mean of the daily maximum."""
        return {"mean": sum(day.high for day in days) / len(days)}

    @operation(name="raw", idempotent=False)
    def pass_on(self, whole: Payload) -> Payload:
        return whole

    @operation
    def anything(self, value: Any) -> Any:
        return value


def mistakes_of(cls: type) -> str:
    with pytest.raises(PluginDefinitionError) as refused:
        define(cls)
    return "\n".join(refused.value.mistakes)


def test_a_manifest_is_derived_from_the_class() -> None:
    manifest = manifest_of(define(WeatherStats))

    assert manifest.plugin_id == "weather.stats"
    assert manifest.version == "1.2.0"
    assert manifest.description == "Summaries of daily weather, day by day."
    assert [(interface.name, interface.version) for interface in manifest.provides] == [("timeseries.summary", "1.0.0")]
    assert (manifest.max_concurrency, manifest.priority, manifest.weight) == (8, 3, 5)
    assert dict(manifest.metadata) == {"team": "climate"}


def test_operations_are_described_in_the_order_of_the_class() -> None:
    temperature, raw, anything = manifest_of(define(WeatherStats)).operations

    assert [temperature.name, raw.name, anything.name] == ["temperature", "raw", "anything"]
    assert temperature.description == "Mean of the daily maximum."
    assert temperature.idempotency == manifest_pb2.IDEMPOTENCY_IDEMPOTENT
    assert temperature.cacheable
    assert temperature.timeout.ToMilliseconds() == 1500
    assert raw.idempotency == manifest_pb2.IDEMPOTENCY_NOT_IDEMPOTENT
    assert anything.idempotency == manifest_pb2.IDEMPOTENCY_UNSPECIFIED
    assert not anything.HasField("timeout")


def test_schemas_say_what_goes_in_and_out() -> None:
    temperature, raw, anything = manifest_of(define(WeatherStats)).operations
    schema = msgspec.json.decode(temperature.input_schema)

    assert schema["$defs"]["temperature"]["required"] == ["days"]
    assert schema["$defs"]["Day"]["properties"] == {"high": {"type": "number"}}
    assert msgspec.json.decode(temperature.output_schema)["additionalProperties"] == {"type": "number"}
    assert (raw.input_schema, raw.output_schema) == ("", "")
    assert anything.output_schema == ""


def test_every_process_derives_the_same_manifest() -> None:
    """Otherwise the second host of a plugin would be refused."""
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_definition as t;"
    program += "sys.stdout.buffer.write(t.manifest_of(t.define(t.WeatherStats)).SerializeToString(deterministic=True))"
    made = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert made[0] == made[1] == manifest_of(define(WeatherStats)).SerializeToString(deterministic=True)


async def test_an_operation_can_still_be_called_like_any_method() -> None:
    assert await WeatherStats().temperature([Day(1.0), Day(3.0)], Context()) == {"mean": 2.0}
    assert WeatherStats().anything(7) == 7


def test_all_mistakes_of_a_class_are_reported_at_once() -> None:
    @plugin(
        "Weather.Stats.",
        version="1.2",
        provides=["summary@1", "timeseries.summary@1.0.0", "timeseries.summary@1.0.0"],
        max_concurrency=-1,
        weight=0,
        metadata=cast(Any, {"team": 7}),
    )
    class Wrong:
        @operation(timeout="5 parsecs")
        def unannotated(self, days, *rest: int): ...  # type: ignore[no-untyped-def]

        @operation(name="not an identifier")
        def unnamed(self) -> None: ...

        @operation(name="unannotated")
        def again(self) -> None: ...

        @operation
        def contexts(self, first: Context, second: Context) -> None: ...

        @operation
        def payloads(self, whole: Payload, part: int) -> None: ...

        @operation
        def generator(self) -> Any:
            yield 1

        @operation
        @staticmethod
        def static(days: int) -> None: ...

    found = mistakes_of(Wrong)

    for mistake in (
        "id 'Weather.Stats.' is not a dotted lower-case name",
        "version '1.2' is not SemVer",
        "max_concurrency -1",
        "weight 0",
        "metadata 'team': 7 is not text",
        "provides 'summary@1' is not an interface",
        "provides 'timeseries.summary@1.0.0' is listed twice",
        "operation unannotated: timeout: '5 parsecs'",
        "operation unannotated: parameter days has no annotation",
        "operation unannotated: parameter *rest: int cannot be filled",
        "operation not an identifier: its name is not an identifier",
        "operation 'unannotated' is defined twice, by unannotated and again",
        "operation contexts: parameters first and second are both a Context",
        "operation payloads: a parameter of type Payload takes the whole input",
        "operation generator: it is a generator",
        "operation static: it is not a plain method",
    ):
        assert mistake in found


class Unreadable:
    """A type that no JSON describes."""


def test_a_type_without_a_schema_is_a_mistake() -> None:
    @plugin("weather.stats", version="1.0.0")
    class Wrong:
        @operation
        def takes(self, value: Unreadable) -> None: ...

        @operation
        def gives(self) -> Unreadable:
            return Unreadable()

    found = mistakes_of(Wrong)

    assert "operation takes: its parameters: type" in found
    assert "operation gives: what it returns: type" in found


def test_a_plugin_needs_operations() -> None:
    @plugin("weather.stats", version="1.0.0")
    class Empty:
        def temperature(self) -> None: ...

    assert "it has no operations" in mistakes_of(Empty)


def test_a_class_without_the_decorator_is_no_plugin() -> None:
    assert "carries no @plugin" in mistakes_of(Day)


def test_a_method_that_is_overridden_without_a_decorator_is_no_operation() -> None:
    @plugin("weather.more", version="1.0.0")
    class More(WeatherStats):
        def anything(self, value: Any) -> Any:
            return value

    assert list(define(More).operations) == ["temperature", "raw"]
