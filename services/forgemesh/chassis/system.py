"""On which systems a mesh can run."""

from __future__ import annotations

import platform


def unsupported_system(name: str = "") -> str:
    """Why no mesh runs on a system of this name, or on this one, and what to do instead; empty if it runs here."""
    name = name or platform.system()
    if name == "Linux":
        return ""
    return (
        f"a mesh runs on Linux only, and this is {name}, where clients work: start the mesh on Linux with"
        " `forgemesh up`, and say `export FORGEMESH_ADDRESS=HOST:7401` here"
    )
