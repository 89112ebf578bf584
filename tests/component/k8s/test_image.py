"""What the images are made of; that they run is seen on a cluster."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT
from tests.component.k8s.manifests import K8S

IMAGE = K8S / "image" / "Containerfile"
EXAMPLE = ROOT / "examples" / "weather" / "Containerfile"


def copied(file: Path) -> list[str]:
    """The sources of every COPY out of the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def let_through(source: str) -> bool:
    """Whether .dockerignore, which refuses everything else, names the source or a folder above it."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    return "*" in lines and any(source == one or source.startswith(f"{one}/") for one in kept)


@pytest.mark.parametrize("file", [IMAGE, EXAMPLE], ids=["image", "example"])
def test_everything_that_is_copied_is_there_and_is_sent_to_the_builder(file: Path) -> None:
    sources = copied(file)

    assert sources
    assert [source for source in sources if not list(ROOT.glob(source))] == []
    assert [source for source in sources if not let_through(source)] == []


def test_every_part_of_the_distribution_is_copied() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        name.removesuffix("/forgemesh") for name in table["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ]
    wanted += [table["project"]["readme"], *table["project"]["license-files"], "requirements/runtime.txt"]

    assert [name for name in wanted if not any(fnmatch.fnmatch(name, source) for source in copied(IMAGE))] == []


def test_the_bill_of_materials_names_what_is_installed() -> None:
    folder = next(path for path in sys.path if path.endswith("site-packages"))
    program = [sys.executable, str(K8S / "image" / "bill_of_materials.py"), folder]

    bill = json.loads(subprocess.run(program, capture_output=True, text=True, timeout=60, check=True).stdout)

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    purls = {component["name"]: component["purl"] for component in bill["components"]}
    locked = re.findall(
        r"^([a-z][\w.-]+)==(\S+)", (ROOT / "requirements/runtime.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert locked
    assert {name: f"pkg:pypi/{name}@{version}" for name, version in locked}.items() <= purls.items()
    assert purls["forgemesh"].startswith("pkg:pypi/forgemesh@")
