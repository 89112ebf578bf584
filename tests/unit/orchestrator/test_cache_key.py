from dataclasses import replace

import pytest

from forgemesh.orchestrator.execution.cache_key import LENGTH, cache_key
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Target

TARGET = Target(operation="o", interface="shape", version_range="^1", must={"region": "eu"}, prefer={"gpu": "yes"})
ASKED = Payload(b"1")
KEY = cache_key("default", TARGET, ASKED, named=False)


@pytest.mark.parametrize(
    "other",
    [
        cache_key("other", TARGET, ASKED, named=False),
        cache_key("default", replace(TARGET, operation="p"), ASKED, named=False),
        cache_key("default", replace(TARGET, interface="", plugin_id="shape"), ASKED, named=False),
        cache_key("default", replace(TARGET, version_range="^1.0"), ASKED, named=False),
        cache_key("default", replace(TARGET, must={"region": "us"}), ASKED, named=False),
        cache_key("default", replace(TARGET, must={}), ASKED, named=False),
        cache_key("default", replace(TARGET, must={"region": "eu", "gpu": "yes"}, prefer={}), ASKED, named=False),
        cache_key("default", replace(TARGET, prefer={"gpu": "no"}), ASKED, named=False),
        cache_key("default", TARGET, Payload(b'"1"'), named=False),
        cache_key("default", TARGET, Payload(b"1", "text/plain"), named=False),
        cache_key("default", TARGET, Payload(b"1", metadata={"a": "b"}), named=False),
        cache_key("default", TARGET, ASKED, named=True),
    ],
)
def test_whatever_decides_the_answer_is_part_of_the_key(other: str) -> None:
    assert len(other) == LENGTH
    assert other != KEY


def test_the_order_of_facts_does_not_matter() -> None:
    one = replace(TARGET, must={"a": "1", "b": "2"})
    other = replace(TARGET, must={"b": "2", "a": "1"})

    assert cache_key("default", one, ASKED, named=False) == cache_key("default", other, ASKED, named=False)


def test_parts_do_not_run_into_one_another() -> None:
    one = replace(TARGET, interface="a\0b", version_range="c")
    other = replace(TARGET, interface="a", version_range="b\0c")

    assert cache_key("default", one, ASKED, named=False) != cache_key("default", other, ASKED, named=False)
