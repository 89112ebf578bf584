import pytest

from forgemesh.plugin_host.supervisor.domain.version_range import lies_in, range_mistake


@pytest.mark.parametrize(
    ("version", "version_range", "inside"),
    [
        ("1.4.2", "", True),
        ("1.4.2", "^1.2", True),
        ("2.0.0", "^1.2", False),
        ("0.3.0", "^0.2.1", False),
        ("1.4.2", "~1.4", True),
        ("1.4.2", ">=1.2, <2", True),
        ("1.4.2", ">= 1.2 < 1.4", False),
        ("1.4.2", "1.2 - 1.5", True),
        ("1.4.2", "!=1.4.2", False),
        ("1.4.3", ">=1.4, !=1.4.2", True),
        ("3.1.0", "^1 || ^3", True),
        ("2.0.0-rc.1", ">=1", False),
        ("2.0.0-rc.10", ">=2.0.0-rc.9", True),
        ("not a version", "", False),
        ("1.0.0", "not a range", False),
    ],
)
def test_whether_a_version_lies_in_a_range(version: str, version_range: str, inside: bool) -> None:
    assert lies_in(version, version_range) is inside


def test_a_bad_range_is_named_with_what_to_write() -> None:
    assert range_mistake("^1.2 || >=3, !=3.1.0") == ""
    assert range_mistake("banana") == (
        '\'banana\' is not a range of SemVer versions; write e.g. "^1.2", ">=1.2 <3" or "1.x || 2.x"'
    )
