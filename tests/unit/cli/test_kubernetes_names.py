import re

import pytest
from hypothesis import given, strategies as st

from forgemesh.cli.kubernetes.names import (
    LONGEST,
    account_name,
    is_dns_label,
    label_value,
    name_with_content,
    workload_name,
)
from forgemesh.notation.names import fits_dotted, fits_version

IDS = st.from_regex(re.compile(r"[a-z][a-z0-9_-]{0,70}(?:\.[a-z0-9][a-z0-9_-]{0,20}){0,3}"), fullmatch=True).filter(
    fits_dotted
)
VERSIONS = st.from_regex(
    re.compile(
        r"(?:0|[1-9][0-9]{0,5})\.(?:0|[1-9][0-9]{0,5})\.(?:0|[1-9][0-9]{0,5})"
        r"(?:-[A-Za-z-]{1,8}(?:\.[A-Za-z0-9-]{1,30}){0,2})?(?:\+[0-9A-Za-z-]{1,40}(?:\.[0-9A-Za-z-]{1,8}){0,2})?"
    ),
    fullmatch=True,
).filter(fits_version)
LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


@pytest.mark.parametrize(
    ("plugin_id", "version", "name"),
    [
        ("weather.stats", "1.2.0", "plugin-weather-stats-v1-2-0"),
        ("stats", "10.0.21", "plugin-stats-v10-0-21"),
        ("shop.word-count", "1.0.0", "plugin-shop-word--count-v1-0-0"),
    ],
)
def test_an_ordinary_version_has_a_name_that_can_be_read(plugin_id: str, version: str, name: str) -> None:
    assert workload_name(plugin_id, version) == name


def test_a_prerelease_with_a_build_has_a_name_too() -> None:
    name = workload_name("weather.stats", "1.2.0-rc.1+build")

    assert re.fullmatch(r"plugin-weather-stats-v1-2-0-rc-1-b-?x[0-9a-f]{10}", name)


@given(IDS, VERSIONS)
def test_every_name_is_a_dns_label_also_with_what_is_added_to_it(plugin_id: str, version: str) -> None:
    name = workload_name(plugin_id, version)

    assert is_dns_label(name)
    assert len(name) <= LONGEST
    assert is_dns_label(name_with_content(f"{name}-config", "content"))
    assert is_dns_label(name_with_content("publish" + name.removeprefix("plugin"), "content"))
    assert is_dns_label(account_name(plugin_id))


@given(IDS, VERSIONS, IDS, VERSIONS)
def test_no_two_versions_share_a_name(one: str, version: str, other: str, other_version: str) -> None:
    names = {workload_name(*pair): pair for pair in ((one, version), (other, other_version))}

    assert len(names) == len({(one, version), (other, other_version)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a.b", "1.0.0"), ("a-b", "1.0.0")),
        (("a.b", "1.0.0"), ("a_b", "1.0.0")),
        (("a-.b", "1.0.0"), ("a--b", "1.0.0")),
        (("a", "1.0.0-rc.1"), ("a", "1.0.0-RC.1")),
        (("a", "1.0.0-rc.1"), ("a", "1.0.0-rc-1")),
        (("a", "1.0.0-rc.1"), ("a", "1.0.0+rc.1")),
        (("a", "1.0.0+x.1"), ("a", "1.0.0+x-1")),
        (("a.v1.0", "2.3.4"), ("a", "1.0.2")),
        (("a" * 100, "1.0.0"), ("a" * 101, "1.0.0")),
    ],
)
def test_what_looks_alike_has_different_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert workload_name(*one) != workload_name(*other)
    assert (label_value(one[0]), label_value(one[1])) != (label_value(other[0]), label_value(other[1]))


@given(IDS, VERSIONS)
def test_ids_and_versions_become_values_of_labels(plugin_id: str, version: str) -> None:
    assert LABEL_VALUE.fullmatch(label_value(plugin_id))
    assert LABEL_VALUE.fullmatch(label_value(version))
    assert label_value("weather.stats") == "weather.stats"
    assert label_value("1.2.0-rc.1+build.5") == "1.2.0-rc.1_build.5"


@given(IDS, IDS, VERSIONS, VERSIONS)
def test_no_two_of_them_share_a_value(one: str, other: str, version: str, other_version: str) -> None:
    assert (label_value(one) == label_value(other)) is (one == other)
    assert (label_value(version) == label_value(other_version)) is (version == other_version)
    assert (account_name(one) == account_name(other)) is (one == other)
