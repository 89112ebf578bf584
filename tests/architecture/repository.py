"""What the architecture tests look at: the files of this repository, told apart by who writes them."""

import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "protos" / "gen"
SOURCE_ROOTS = (GENERATED, ROOT / "services", ROOT / "plugin_host", ROOT / "clients")


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is committed or would be with the next commit."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = {ROOT / name for name in listing.stdout.split("\0") if name}
    return tuple(sorted(path for path in paths if path.is_file()))


def modules() -> list[Path]:
    """Every Python file that people write."""
    return [path for path in tracked() if path.suffix == ".py" and not path.is_relative_to(GENERATED)]


def packages() -> list[Path]:
    """Every folder of the distribution with Python files that people write."""
    folders = {path.parent for path in modules()}
    return sorted(folder for folder in folders for root in SOURCE_ROOTS if folder.is_relative_to(root))


def relative(paths: Iterable[Path]) -> list[str]:
    """How a failing test names files."""
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)
