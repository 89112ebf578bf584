"""Copies of a data directory as a crash leaves it, each with one byte changed."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from forgemesh.faults.service import DataCorrupted

T = TypeVar("T")

PAGE = 4096
_DENSE = 100
"""Bytes at the start of a page where most of its structure stands."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One byte of one file that is not what it was; its text is what it takes to make it again."""

    file: str
    offset: int
    mask: int

    def apply(self, directory: Path) -> None:
        with (directory / self.file).open("r+b") as file:
            file.seek(self.offset)
            (byte,) = file.read(1)
            file.seek(self.offset)
            file.write(bytes([byte ^ self.mask]))


def seed_of_run() -> int:
    """A new one each time, unless FORGEMESH_SEED names it; printed, so that pytest shows it when a test fails."""
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    return seed


def crashed_copy(directory: Path, into: Path) -> Path:
    """
    What a process would leave in `directory` if it were killed now; it must not be writing.

    Without the shared memory of SQLite's connections, which the next process makes anew.
    """
    return Path(shutil.copytree(directory, into, ignore=shutil.ignore_patterns("*-shm")))


def flips(directory: Path, seed: int, count: int) -> Iterator[Flip]:
    """Places in all files that hold anything, each file as often as the others; half of them where pages start."""
    draw = random.Random(seed)
    sizes = {path.name: path.stat().st_size for path in sorted(directory.iterdir()) if path.is_file()}
    files = [name for name, size in sizes.items() if size]
    for _ in range(count):
        file = draw.choice(files)
        page = draw.randrange(0, sizes[file], PAGE)
        within = draw.randrange(min(draw.choice((_DENSE, PAGE)), sizes[file] - page))
        yield Flip(file, page + within, draw.randrange(1, 256))


def flipped_copies(directory: Path, into: Path, seed: int, count: int) -> Iterator[tuple[Flip, Path]]:
    """Copies of `directory`, each with one of `flips`; a copy is gone when the next one is asked for."""
    for flip in flips(directory, seed, count):
        copy = crashed_copy(directory, into)
        flip.apply(copy)
        yield flip, copy
        shutil.rmtree(copy)


async def fates_of_flips(
    directory: Path, scratch: Path, count: int, answers: Callable[[Path], Awaitable[T]]
) -> tuple[T, Counter[tuple[str, str]]]:
    """
    What `answers` gives for a copy of `directory`, and how often a flip in a file was "refused" or gave "the same".

    Fails at the first flip that gives other answers, or another error than DataCorrupted.
    """
    expected = await answers(crashed_copy(directory, scratch / "whole"))
    fates: Counter[tuple[str, str]] = Counter()
    for flip, copy in flipped_copies(directory, scratch / "flipped", seed_of_run(), count):
        fate = "the same"
        try:
            found = await answers(copy)
        except DataCorrupted as refused:
            fate = "refused" if _names_a_remedy(refused) else f"refused without a remedy: {refused.message}"
        except Exception as error:
            error.add_note(repr(flip))
            raise
        else:
            assert found == expected, flip
        fates[flip.file, fate] += 1
    print(dict(fates))
    return expected, fates


def _names_a_remedy(refused: DataCorrupted) -> bool:
    return '"Damaged data" in docs/operations.md' in refused.message
