"""
Prints what is installed in the given folders, as a CycloneDX 1.6 document: `bill_of_materials.py FOLDER...`.

It names no moment and no machine, so that the same installation gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, distributions
from typing import Any
from urllib.parse import quote


def bill_of_materials(folders: list[str]) -> dict[str, Any]:
    """Every distribution in these folders, by name."""
    found = {_name(one): one for one in distributions(path=folders)}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [_component(name, found[name]) for name in sorted(found)],
    }


def _component(name: str, distribution: Distribution) -> dict[str, Any]:
    reference = f"pkg:pypi/{quote(name)}@{quote(distribution.version)}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": distribution.version,
        "purl": reference,
    }
    if licence := distribution.metadata.get("License-Expression"):
        component["licenses"] = [{"expression": licence}]
    elif licence := distribution.metadata.get("License"):
        component["licenses"] = [{"license": {"name": licence.splitlines()[0]}}]
    return component


def _name(distribution: Distribution) -> str:
    return distribution.metadata["Name"].lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    json.dump(bill_of_materials(sys.argv[1:]), sys.stdout, indent=1)
