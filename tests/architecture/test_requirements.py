"""What is locked is what pyproject.toml asks for, exactly, for whoever installs it from wherever."""

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.repository import ROOT

LOCKS = ("dev.txt", "protos.txt", "runtime.txt")
TESTED = ("3.11", "3.12", "3.13", "3.14")


def locked(name: str) -> dict[str, Requirement]:
    """What a lock file pins, by name."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    pins = [Requirement(line.rstrip(" \\")) for line in text.splitlines() if line and line[0] not in "# "]
    return {canonicalize_name(pin.name): pin for pin in pins}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def wanted() -> dict[str, list[str]]:
    """What each lock has to fulfil."""
    table = project()
    runtime = [*table["project"]["dependencies"], *table["build-system"]["requires"]]
    generator = (ROOT / "requirements" / "protos.in").read_text(encoding="utf-8").splitlines()
    return {
        "runtime.txt": runtime,
        "dev.txt": [*runtime, *table["project"]["optional-dependencies"]["dev"]],
        "protos.txt": [line for line in generator if not line.startswith("#")],
    }


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_one_version_of_everything_within_its_range(name: str) -> None:
    pins = locked(name)
    wants = [Requirement(text) for text in wanted()[name]]

    assert {re.sub(r"^==[^=*,]+$", "==", str(pin.specifier)) for pin in pins.values()} == {"=="}
    outside = [
        str(want)
        for want in wants
        if canonicalize_name(want.name) not in pins
        or not want.specifier.contains(str(pins[canonicalize_name(want.name)].specifier)[2:])
    ]
    assert outside == [], "make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_fits_every_python_that_is_supported(name: str) -> None:
    for version in TESTED:
        left_out = [
            str(pin)
            for pin in locked(name).values()
            if pin.marker is not None
            and "win32" not in str(pin.marker)
            and not pin.marker.evaluate({"python_version": version, "python_full_version": f"{version}.0"})
        ]
        assert left_out == []


@pytest.mark.parametrize("name", LOCKS)
def test_everything_in_a_lock_has_a_hash_and_names_no_host(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]

    assert [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"://|@|--\w*index|--find-links|--trusted-host", text) == []


def test_what_runs_is_what_was_tested() -> None:
    tested = {name: str(pin) for name, pin in locked("dev.txt").items()}
    runs = {name: str(pin) for name, pin in locked("runtime.txt").items()}

    assert runs.items() <= tested.items()


def test_every_range_has_two_ends() -> None:
    """But that of the time zones, which are numbered by the year and hold no code."""
    table = project()["project"]
    ranges = [*table["dependencies"], *table["optional-dependencies"]["dev"], *project()["build-system"]["requires"]]
    operators = {Requirement(text).name: {one.operator for one in Requirement(text).specifier} for text in ranges}

    assert {name: ends for name, ends in operators.items() if ends != {">=", "<"}} == {"tzdata": {">="}}
