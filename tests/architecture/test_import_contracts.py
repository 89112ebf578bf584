"""The import contracts in pyproject.toml: they speak of modules that exist, and each finds what breaks it."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.repository import ROOT, SOURCE_ROOTS, tracked

CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
LAYERS = [contract for contract in CONTRACTS if contract["type"] == "layers"]
ROOM = "forgemesh.plugin_host.host.calls"
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def _module_of(path: Path) -> str:
    (root,) = (root for root in SOURCE_ROOTS if path.is_relative_to(root))
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    _module_of(path): path
    for path in tracked()
    if path.suffix == ".py" and any(path.is_relative_to(root) for root in SOURCE_ROOTS)
}
MODULES = {
    ".".join(parts[:end]) for parts in (module.split(".") for module in SOURCES) for end in range(1, len(parts) + 1)
}


def _names(layer: str) -> list[str]:
    """The modules of a layer; a contract that says that one may be missing says nothing, once it is."""
    return [name.strip() for name in re.split(r"[|:]", layer)]


def _matching(pattern: str) -> list[str]:
    """The modules of ours that a pattern means: `*` is one part of a name, `**` one or more."""
    parts = [re.escape(part).replace(r"\*\*", r".+").replace(r"\*", r"[^.]+") for part in pattern.split(".")]
    return sorted(module for module in MODULES if re.fullmatch(r"\.".join(parts), module))


def _meant(contract: dict[str, Any]) -> Iterator[str]:
    """Every pattern of a contract."""
    for container in contract.get("containers", []):
        yield container
        yield from (f"{container}.{name}" for layer in contract["layers"] for name in _names(layer))
    for key in ("source_modules", "forbidden_modules", "ancestors", "skip_descendants"):
        yield from (pattern for pattern in contract.get(key, []) if fnmatchcase(pattern, "forgemesh*"))
    for ignored in contract.get("ignore_imports", []):
        yield from (pattern for pattern in ignored.split(" -> ") if fnmatchcase(pattern, "forgemesh*"))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["id"])
def test_every_pattern_of_a_contract_matches_a_module(contract: dict[str, Any]) -> None:
    patterns = list(_meant(contract))

    assert patterns
    assert [pattern for pattern in patterns if not _matching(pattern)] == []


def test_a_pattern_that_matches_no_module_would_be_found() -> None:
    assert _matching("forgemesh.registry.domain.**")
    assert not _matching("forgemesh.nowhere.**")
    assert not _matching("forgemesh.registry.(main)")
    assert "forgemesh.chassis.server" not in _matching("forgemesh.*")


def test_every_module_stands_on_a_layer() -> None:
    """Each package of the namespace has a contract that lists all of it."""
    layered = {name for contract in LAYERS if contract.get("exhaustive") for name in contract["containers"]}
    parts = {module.split(".")[1] for module in MODULES if module.count(".") > 1}

    assert {f"forgemesh.{part}" for part in parts - {"api"}} <= layered
    assert "forgemesh" in layered


def test_a_violation_of_each_contract_is_found_by_its_name(tmp_path: Path) -> None:
    """One run over a copy of all sources, in which every contract is broken in every way that it forbids."""
    said, planted = _linted(tmp_path, plant=True)

    kept = [contract["name"] for contract in CONTRACTS if f"{contract['name']} BROKEN" not in said]
    assert kept == []
    assert [place for place in planted if place not in said] == []


def test_without_a_violation_the_copy_keeps_every_contract(tmp_path: Path) -> None:
    """So what the test above finds is what it has planted."""
    said, _ = _linted(tmp_path, plant=False)

    assert [contract["name"] for contract in CONTRACTS if f"{contract['name']} KEPT" not in said] == []


def _linted(folder: Path, *, plant: bool) -> tuple[str, list[str]]:
    """What import-linter says of a copy of the sources, in one line, and where violations were planted in it."""
    for root in SOURCE_ROOTS:
        shutil.copytree(root, folder / root.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    planted = _plant(folder) if plant else []
    roots = [str(folder / root.relative_to(ROOT)) for root in SOURCE_ROOTS]
    path = os.pathsep.join([*roots, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    # -S: without it the .pth file of this installation puts the real sources beside the copied ones
    program = subprocess.run(
        [sys.executable, "-S", "-c", LINT],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "1000", "NO_COLOR": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert program.returncode == (1 if plant else 0), program.stderr
    return " ".join(program.stdout.split()), planted


def _plant(folder: Path) -> list[str]:
    """Break every contract; what import-linter has to say of each violation."""
    planted = []
    for contract in CONTRACTS:
        match contract["type"]:
            case "layers":
                planted += list(_planted_in_layers(folder, contract))
            case "forbidden":
                forbidden = contract["forbidden_modules"][-1]
                for pattern in contract["source_modules"]:
                    module = _matching(pattern)[0]
                    _append(folder, module, forbidden)
                    planted.append(f"{module} -> {forbidden}")
            case "acyclic_siblings":
                for one, other in (("planted_egg", "planted_hen"), ("planted_hen", "planted_egg")):
                    _write(folder, f"{ROOM}.{one}", f"{ROOM}.{other}")
                planted.append("planted_hen -> .planted_egg")
    return planted


def _planted_in_layers(folder: Path, contract: dict[str, Any]) -> Iterator[str]:
    """An import from the lowest layer into the highest, and a module on no layer."""
    for container in contract["containers"]:
        low, high = (f"{container}.{_names(contract['layers'][end])[0]}" for end in (-1, 0))
        module = f"{low}.planted_{contract['id'].replace('-', '_')}"
        if SOURCES[low].name == "__init__.py":
            _write(folder, module, high)
        else:
            module = low
            _append(folder, module, high)
        yield f"{module} -> {high}"
        if contract.get("exhaustive"):
            stray = f"{container}.planted_stray"
            if container == "forgemesh":
                stray += ".__init__"
            _write(folder, stray, "")
            yield "planted_stray"


def _place(folder: Path, module: str) -> Path:
    """The file of a module in the copy: where its package is."""
    package = SOURCES.get(module.rpartition(".")[0], SOURCES["forgemesh.chassis"].parent)
    source = SOURCES.get(module) or package.parent / f"{module.rpartition('.')[2]}.py"
    return folder / source.relative_to(ROOT)


def _append(folder: Path, module: str, imported: str) -> None:
    with _place(folder, module).open("a", encoding="utf-8") as file:
        file.write(f"\n\nimport {imported}\n")


def _write(folder: Path, module: str, imported: str) -> None:
    if module.endswith(".__init__"):
        place = folder / "services" / "/".join(module.split("."))
        place = place.with_suffix(".py")
    else:
        place = _place(folder, module)
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"import {imported}\n" if imported else "", encoding="utf-8")
