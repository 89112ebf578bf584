"""
Writes the lock files: what `make run`, `make test` and CI install, exactly, with the hash of every file.

Each fits every Python that ForgeMesh supports, and names no host, so that it installs from whatever index a machine
uses. Without `--upgrade` a lock keeps the versions that still fit.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
GENERATOR = HERE / "protos.in"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take the newest that the ranges allow")
    parser.add_argument("--upgrade-package", metavar="NAME", action="append", default=[], help="of this one only")
    wanted = parser.parse_args()
    options = ["--upgrade"] if wanted.upgrade else [f"--upgrade-package={name}" for name in wanted.upgrade_package]
    with tempfile.TemporaryDirectory(prefix="forgemesh-lock-") as folder:
        build = Path(folder, "build.in")
        build.write_text("\n".join(build_requirements()), encoding="utf-8")
        lock("dev.txt", [PROJECT, build], ["--extra=dev", *options])
        # what runs is what was tested: the same versions in both
        lock("runtime.txt", [PROJECT, build], [f"--constraints={HERE / 'dev.txt'}", *options])
    lock("protos.txt", [GENERATOR], options)
    return 0


def build_requirements() -> list[str]:
    """An editable install builds the project's metadata, which takes more than the project itself needs."""
    with PROJECT.open("rb") as file:
        requirements: list[str] = tomllib.load(file)["build-system"]["requires"]
    return requirements


def lock(name: str, sources: list[Path], options: list[str]) -> None:
    """Runs uv; what it cannot resolve ends the program with its own message."""
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", *map(str, sources), *options]
    command += ["--universal", "--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-config", "--quiet"]
    command += ["--custom-compile-command=make lock", f"--output-file={HERE / name}"]
    finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr or f"uv failed with exit code {finished.returncode}")
    pinned = sum("==" in line for line in (HERE / name).read_text(encoding="utf-8").splitlines())
    print(f"requirements/{name}: {pinned} packages")


if __name__ == "__main__":
    sys.exit(main())
