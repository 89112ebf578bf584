import pytest
from hypothesis import given, strategies as st
from semantic_version import Version

from forgemesh.notation.version_range import InvalidRange, VersionRange, wanted_by, wanted_of_interface

VERSIONS = "0.0.3 0.0.4 0.2.0 0.2.9 0.3.0 1.0.0-rc.1 1.0.0 1.2.3-rc.2 1.2.3-rc.10 1.2.3 1.2.4 1.3.0 2.0.0-rc.1 2.0.0"


def accepted(version_range: str) -> list[str]:
    wanted = VersionRange.of(version_range)
    return [version for version in VERSIONS.split() if wanted.accepts(Version(version))]


@pytest.mark.parametrize(
    ("version_range", "versions"),
    [
        ("=1.2.3", "1.2.3"),
        ("1.2.3", "1.2.3"),
        ("!=1.2.3, ^1.2", "1.2.4 1.3.0"),
        ("!= 1.2.x ^1", "1.0.0 1.3.0"),
        ("<1.0.0", "0.0.3 0.0.4 0.2.0 0.2.9 0.3.0"),
        ("<=0.2", "0.0.3 0.0.4 0.2.0 0.2.9"),
        (">1.2", "1.3.0 2.0.0"),
        (">1.2.3", "1.2.4 1.3.0 2.0.0"),
        (">= 1.3", "1.3.0 2.0.0"),
        ("^1.2", "1.2.3 1.2.4 1.3.0"),
        ("^0.2", "0.2.0 0.2.9"),
        ("^0.0.3", "0.0.3"),
        ("^0.0", "0.0.3 0.0.4"),
        ("~1.2.3", "1.2.3 1.2.4"),
        ("~1", "1.0.0 1.2.3 1.2.4 1.3.0"),
        ("^0.0.3 || =2.0.0", "0.0.3 2.0.0"),
        (">=1.0.0,<1.3", "1.0.0 1.2.3 1.2.4"),
        (">=1.0.0 <1.3", "1.0.0 1.2.3 1.2.4"),
        ("1.2.3 - 1.3", "1.2.3 1.2.4 1.3.0"),
        ("0.2.9 - 1.2.3, !=1.0.0", "0.2.9 0.3.0 1.2.3"),
        ("1.2.x", "1.2.3 1.2.4"),
        ("2.*", "2.0.0"),
    ],
)
def test_the_grammar(version_range: str, versions: str) -> None:
    assert accepted(version_range) == versions.split()


@pytest.mark.parametrize("version_range", ["", "*", ">=0.0.0", "!=9.9.9", "<2 || >=2"])
def test_prereleases_are_left_out_unless_they_are_named(version_range: str) -> None:
    assert accepted(version_range) == [version for version in VERSIONS.split() if "-" not in version]


@pytest.mark.parametrize(
    ("version_range", "versions"),
    [
        ("=1.2.3-rc.2", "1.2.3-rc.2"),
        (">=1.2.3-rc.3 <2", "1.2.3-rc.10 1.2.3 1.2.4 1.3.0"),
        ("^1.2.3-rc.1", "1.2.3-rc.2 1.2.3-rc.10 1.2.3 1.2.4 1.3.0"),
        (">1.2.3-rc.2 <1.2.3", "1.2.3-rc.10"),
        ("<=1.2.3-rc.2 >=1.1", "1.2.3-rc.2"),
    ],
)
def test_a_named_prerelease_lets_in_those_of_its_own_version_only_and_numbers_in_it_count_as_numbers(
    version_range: str, versions: str
) -> None:
    assert [one for one in accepted(version_range) if one.startswith(("1.2", "1.3", "2"))] == versions.split()


@pytest.mark.parametrize(
    "version_range",
    [
        "latest",
        "1.2.3.4",
        "^",
        "||",
        "^1 ||",
        ", ^1",
        "^1,",
        "==1",
        "~>1",
        "=>1",
        "1.2.3-rc..1",
        "01.2",
        "^\u0661",
        "1 -2",
    ],
)
def test_what_is_no_range_is_refused(version_range: str) -> None:
    with pytest.raises(InvalidRange):
        VersionRange.of(version_range)
    with pytest.raises(InvalidRange):
        VersionRange.of_interface(version_range)


def test_a_range_has_a_length() -> None:
    with pytest.raises(InvalidRange, match="at most 200 characters"):
        VersionRange.of(" || ".join(["=1.2.3"] * 100))


@given(st.text(alphabet="0123456789.^~<>=!|, -xrcv*", max_size=24))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    try:
        accepted(text)
    except InvalidRange:
        pass


numbers = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))


@given(numbers, numbers)
def test_an_interface_at_a_bare_version_is_fulfilled_by_the_same_major_and_at_least_that_minor_and_patch(
    wanted: tuple[int, int, int], provided: tuple[int, int, int]
) -> None:
    version_range = VersionRange.of_interface("{}.{}.{}".format(*wanted))
    same_major, newer = provided[0] == wanted[0], provided[1:] >= wanted[1:]

    assert version_range.accepts(Version("{}.{}.{}".format(*provided))) == (same_major and newer)


def test_an_interface_can_be_wanted_in_exactly_one_version() -> None:
    assert not VersionRange.of_interface("=1.2.0").accepts(Version("1.3.0"))
    assert VersionRange.of_interface("v1.2").accepts(Version("1.3.0"))


@given(numbers, numbers)
def test_a_caret_holds_the_first_number_that_is_not_zero(
    wanted: tuple[int, int, int], version: tuple[int, int, int]
) -> None:
    held = next((place for place, number in enumerate(wanted) if number), 2) + 1
    expected = version[:held] == wanted[:held] and version >= wanted

    assert VersionRange.of("^{}.{}.{}".format(*wanted)).accepts(Version("{}.{}.{}".format(*version))) == expected


@pytest.mark.parametrize(
    ("version", "version_range", "inside"),
    [
        ("1.4.2", "", True),
        ("2.0.0-rc.1", "", True),
        ("1.0.0+dev.001", "^1", True),
        ("2.0.0-rc.1", ">=1", False),
        ("1.2.3-rc.1", "^1.2.3-rc.1 || ^3", True),
        ("1.3.0-rc.1", "^1.2.3-rc.1", False),
        ("1.4.2", ">=1.2, <2", True),
        ("1.4.2", ">=1, !=1.4.2", False),
        ("1.4.2", "1.2 - 1.5", True),
        ("3.1.0", "^1 || ^3", True),
        ("1.4.2", "1.4.0", False),
        ("not a version", "^1", False),
        ("1.0.0", "not a range", False),
    ],
)
def test_a_version_of_a_plugin_is_wanted_or_not(version: str, version_range: str, inside: bool) -> None:
    assert wanted_by(version_range)(version) is inside


@pytest.mark.parametrize(
    ("version", "version_range", "inside"),
    [("1.4.2", "1.4.0", True), ("1.3.0", "1.4.0", False), ("1.4.2", "=1.4.0", False), ("1.4.2", "", True)],
)
def test_an_interface_is_wanted_in_versions_that_its_users_can_work_with(
    version: str, version_range: str, inside: bool
) -> None:
    assert wanted_of_interface(version_range)(version) is inside


def test_a_range_is_read_once_however_often_it_is_asked_for() -> None:
    assert wanted_by("^1.2") is wanted_by("^1.2")
