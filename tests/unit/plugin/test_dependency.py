import pytest
from hypothesis import given, strategies as st

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.notation.version_range import fits_range
from forgemesh.plugin import Limits, PluginDefinitionError, Requires, define, manifest_of, operation, plugin


def manifest(**said: object) -> manifest_pb2.Manifest:
    @plugin("shop.till", version="1.0.0", **said)  # type: ignore[arg-type]
    class Till:
        @operation
        def open(self) -> None: ...

    return manifest_of(define(Till))


def test_what_a_plugin_needs_stands_in_its_manifest() -> None:
    stock, anybody, money = manifest(
        requires=[
            "shop.stock@^2",
            "shop.log",
            Requires(interface="money.exchange", range=">=1.2, <2", optional=True, on_loss="stop"),
        ]
    ).dependencies

    assert (stock.plugin_id, stock.version_range, stock.optional) == ("shop.stock", "^2", False)
    assert stock.on_loss == manifest_pb2.ON_LOSS_DEGRADE
    assert (anybody.plugin_id, anybody.version_range) == ("shop.log", "")
    assert (money.interface_name, money.version_range, money.optional) == ("money.exchange", ">=1.2, <2", True)
    assert money.on_loss == manifest_pb2.ON_LOSS_STOP


def test_limits_stand_in_the_manifest() -> None:
    limits = manifest(limits=Limits(memory_bytes=2**28, cpu=0.5, open_files=256)).limits

    assert (limits.memory_bytes, limits.cpu_millis, limits.open_files) == (2**28, 500, 256)


def test_without_limits_and_needs_a_manifest_is_as_it_was() -> None:
    bare = manifest()

    assert not bare.HasField("limits")
    assert not bare.dependencies
    assert bare.config_schema == ""


@pytest.mark.parametrize(
    ("said", "mistake"),
    [
        ({"requires": "shop.stock"}, "requires 'shop.stock' is not a list such as [\"shop.stock@^2\"]"),
        ({"requires": ["Shop!"]}, "requires 'Shop!' is not a plugin such as"),
        ({"requires": ["shop.stock@"]}, "requires 'shop.stock@' is not a plugin such as"),
        ({"requires": ["shop.stock@newest"]}, "requires 'shop.stock@newest' is not a plugin such as"),
        ({"requires": [7]}, "requires 7 is neither text"),
        ({"requires": [Requires()]}, "names not exactly one of plugin and interface"),
        ({"requires": [Requires(plugin="a", interface="b")]}, "names not exactly one of plugin and interface"),
        ({"requires": [Requires(plugin="a", range="no")]}, "requires a in 'no', which is not a range"),
        ({"requires": [Requires(plugin="a", on_loss="panic")]}, "on_loss 'panic' is none of ignore, degrade, stop"),  # type: ignore[arg-type]
        ({"requires": ["shop.stock@^1", "shop.stock@^2"]}, "requires 'shop.stock' is listed twice"),
        ({"requires": ["shop.till"]}, "requires 'shop.till', which is the plugin itself"),
        ({"limits": Limits(memory_bytes=1)}, "memory_bytes 1 is not between"),
        ({"limits": Limits(cpu=-1)}, "cpu -1 is no share of cores"),
        ({"limits": Limits(open_files=3)}, "open_files 3 is not between"),
        ({"limits": {"memory": 3}}, "is no Limits("),
    ],
)
def test_what_is_wrong_with_it_is_said(said: dict[str, object], mistake: str) -> None:
    with pytest.raises(PluginDefinitionError) as refused:
        manifest(**said)

    assert mistake in "\n".join(refused.value.mistakes)


@pytest.mark.parametrize(
    "written",
    ["", "1", "1.2.x", "=1.0.0", "!=1.3.0", "<2", "<=2.1", ">1", ">=1.0.0-rc.1", "^0.3", "~1.2", "^1 || ^2",
     ">=1, <3", ">=1 <3", "1.2 - 2.0", "*", "^1.2.3+build.5"],
)  # fmt: skip
def test_ranges_of_every_kind_are_ranges(written: str) -> None:
    assert fits_range(written)


@pytest.mark.parametrize(
    "written",
    ["newest", "^", "~>1.2", "==1.2.3", "01.2", "1.2.3.4", ">=", "1 ||", "|| 1", ", 1", "1..2", "^^1", "a" * 200],
)
def test_what_is_no_range_is_none(written: str) -> None:
    assert not fits_range(written)


@given(st.text(alphabet="0123456789.xX*^~<>=!|, -+va", max_size=128))
def test_any_text_is_looked_through_quickly(text: str) -> None:
    assert fits_range(text) in (True, False)
