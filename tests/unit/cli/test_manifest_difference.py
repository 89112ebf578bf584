from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from forgemesh.api.plugin.v1.manifest_pb2 import OnLoss
from forgemesh.cli.manifest_difference import deserved_version, differences
from forgemesh.cli.manifest_page import manifest_page
from forgemesh.plugin import define, manifest_of, operation, plugin


@dataclass
class Reservation:
    reserved: int


def manifest(make: Callable[[], type] | None = None, **said: Any) -> Any:
    @plugin("shop.stock", **({"version": "1.2.3"} | said))
    class Stock:
        """Knows what is in store."""

        @operation
        def reserve(self, article: str, number: int = 1) -> Reservation:
            """Sets it aside."""
            raise NotImplementedError

        @operation(idempotent=True)
        def count(self) -> int:
            raise NotImplementedError

    return manifest_of(define(make() if make else Stock))


def said(before: Any, after: Any) -> list[str]:
    return [str(one) for one in differences(before, after)]


def test_the_same_content_differs_in_nothing_whatever_its_version() -> None:
    assert differences(manifest(), manifest(version="9.0.0")) == []


def changed() -> type:
    @plugin("shop.stock", version="1.2.3", provides=["shop.reservable@1.0.0"], max_concurrency=4)
    class Stock:
        """Knows more."""

        @operation(idempotent=False, timeout="5s")
        def reserve(self, article: int, place: str, number: int = 2) -> str:
            """Sets it aside."""
            raise NotImplementedError

        @operation
        def release(self) -> None:
            raise NotImplementedError

    return Stock


def test_every_change_is_named_with_what_was_before() -> None:
    assert said(manifest(), manifest(changed)) == [
        "operation count is gone",
        "operation release is new",
        "operation reserve: parameter article: integer was article: string",
        "operation reserve: parameter number: integer = 2 was number: integer = 1",
        "operation reserve: parameter place: string is new",
        "operation reserve: it returns string, before Reservation",
        "operation reserve: it must not be repeated, before it says nothing about repetitions",
        "operation reserve: its timeout is 5 s, before none",
        "it provides shop.reservable@1.0.0 as well",
        "its description is another one",
        "max_concurrency: 4, before 0",
    ]


def test_a_type_that_changed_inside_is_named() -> None:
    before, after = manifest(), manifest()
    for one in after.operations:
        one.output_schema = one.output_schema.replace('"reserved"', '"left"')

    assert said(before, after) == ["operation reserve: Reservation is {left: integer}, before {reserved: integer}"]


def test_dependencies_limits_and_configuration_are_compared_in_their_words() -> None:
    before, after = manifest(), manifest()
    after.dependencies.add(plugin_id="shop.prices", version_range="^1", optional=True, on_loss=OnLoss.ON_LOSS_STOP)
    after.limits.memory_bytes = 256 << 20
    after.config_schema = '{"type": "object", "properties": {"port": {"type": "integer", "default": 5}}}'

    assert said(before, after) == [
        "it needs shop.prices ^1 (optional, stops without it)",
        "limits: 256 MiB, before none",
        "configuration: port: integer = 5, before none",
    ]


def test_a_difference_that_no_word_tells_is_not_kept_silent() -> None:
    before, after = manifest(), manifest()
    operations = list(after.operations)
    del after.operations[:]
    after.operations.extend(reversed(operations))

    assert said(before, after) == ["its operations are in another order, or a schema is written differently"]


@pytest.mark.parametrize(
    ("version", "wanted"),
    [("1.2.3", "2.0.0"), ("0.4.1", "0.5.0"), ("1.0.0-rc.1", "1.0.0"), ("nonsense", "nonsense")],
)
def test_what_breaks_callers_deserves_a_major_version(version: str, wanted: str) -> None:
    assert deserved_version(version, differences(manifest(), manifest(changed))) == wanted


def test_more_deserves_a_minor_version_and_words_a_patch() -> None:
    more, words = manifest(), manifest(description="Another one.")
    more.operations.add(name="release")

    assert deserved_version("1.2.3", differences(manifest(), more)) == "1.3.0"
    assert deserved_version("1.2.3", differences(manifest(), words)) == "1.2.4"


def test_the_page_shows_a_plugin_as_its_caller_sees_it() -> None:
    found = manifest(changed)
    found.limits.open_files = 64
    found.metadata["owner"] = "shop"

    assert manifest_page(found) == [
        "shop.stock 1.2.3   Knows more.",
        "  provides   shop.reservable@1.0.0",
        "  runs       4 calls at a time",
        "  limits     64 files",
        "  metadata   owner=shop",
        "",
        "  reserve(article: integer, number: integer = 2, place: string) -> string",
        "      Sets it aside.",
        "      must not be repeated · at most 5 s",
        "",
        "  release() -> null",
    ]
    assert manifest_page(manifest())[-1] == "  Reservation   {reserved: integer}"
