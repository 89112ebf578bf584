"""The seeds of a simulation, shared out among several tests, so that workers share them; what all of them showed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

PARTS = 8
SEEDS = int(os.environ.get("FORGEMESH_SIMULATIONS", "1000"))
FIRST = int(os.environ.get("FORGEMESH_SEED", "0"))


def seeds_of(part: int) -> range:
    """Every PARTS-th seed; all parts together have each of SEEDS once."""
    return range(FIRST + part, FIRST + SEEDS, PARTS)


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """One folder for all worker processes of this run, and no other run."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    return folder


def together(folder: Path, part: int, shown: Mapping[str, Mapping[str, int]]) -> dict[str, Counter[str]] | None:
    """
    Note what a part's seeds have shown, counts by kind; the sums of all parts, or None while some have not ended.

    Whoever ends last gets them, in whatever process: a note is there before it is looked for.
    """
    unfinished = folder / f"{part}.unfinished"
    unfinished.write_text(json.dumps(shown))
    unfinished.rename(folder / f"{part}.json")
    notes = [folder / f"{other}.json" for other in range(PARTS)]
    if not all(note.exists() for note in notes):
        return None
    sums: dict[str, Counter[str]] = {}
    for note in notes:
        for kind, counts in json.loads(note.read_text()).items():
            sums.setdefault(kind, Counter()).update(counts)
    return sums
