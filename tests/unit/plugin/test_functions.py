"""Functions as a plugin."""

from dataclasses import dataclass
from typing import Any

import pytest

from forgemesh.plugin import Context, PluginDefinitionError, define, manifest_of, operation, plugin


@dataclass
class Size:
    largest: int = 3


words = plugin("text.words", version="1.0.0", config=Size)


@words.operation(idempotent=True, timeout="2s")
async def count(text: str, ctx: Context) -> int:
    """How many words there are."""
    return len(text.split())


@words.operation
def cut(text: str, size: Size) -> str:
    return text[: size.largest]


@words.start
def begin(size: Size) -> None:
    LIFE.append(f"started with {size.largest}")


@words.stop
def end() -> None:
    LIFE.append("stopped")


LIFE: list[str] = []


def test_functions_become_operations() -> None:
    manifest = manifest_of(define(words))

    assert (manifest.plugin_id, manifest.version) == ("text.words", "1.0.0")
    assert manifest.description == "Functions as a plugin."
    assert [(one.name, one.description) for one in manifest.operations] == [
        ("count", "How many words there are."),
        ("cut", ""),
    ]
    assert manifest.operations[0].timeout.ToMilliseconds() == 2000
    assert '"largest"' in manifest.config_schema


def test_the_configuration_is_no_part_of_the_input() -> None:
    assert "size" not in manifest_of(define(words)).operations[1].input_schema


def test_a_function_gets_the_configuration_that_counts_when_it_is_called() -> None:
    made = define(words).make(Size(2))
    cut_it: Any = getattr(made, define(words).operations["cut"].attribute)
    before = cut_it(text="abcdef")
    made.configure(Size(4))

    assert (before, cut_it(text="abcdef")) == ("ab", "abcd")


def test_functions_are_started_and_stopped() -> None:
    made = define(words).make(Size(9))
    made.start()
    made.stop()

    assert LIFE == ["started with 9", "stopped"]


async def test_an_operation_stays_a_function() -> None:
    assert await count("one two", Context()) == 2
    assert cut("abc", Size(1)) == "a"


def test_a_plugin_without_operations_says_how_to_make_some() -> None:
    with pytest.raises(PluginDefinitionError) as refused:
        define(plugin("text.empty", version="1.0.0"))

    assert refused.value.mistakes == (
        "it has no operations; put @<name>.operation on the functions that can be called",
    )


def test_two_functions_of_one_name_are_a_mistake() -> None:
    twice = plugin("text.twice", version="1.0.0")
    twice.operation(count)
    twice.operation(name="count")(cut)

    with pytest.raises(PluginDefinitionError, match="operation 'count' is defined twice, by count and cut"):
        define(twice)


def test_the_same_object_declares_a_class() -> None:
    declared = plugin("text.classy", version="1.0.0")

    @declared
    class Classy:
        @operation
        def shout(self, text: str) -> str:
            return text.upper()

    assert define(Classy).plugin_id == "text.classy"
