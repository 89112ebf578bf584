"""
Generates forgemesh.api from the protos into protos/gen, or says with --check where the two differ.

Runs in an environment of its own, because the generator must be the oldest one whose code every supported
runtime accepts: `make protos` and `make protos-check` see to that.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
COMMITTED = PROTOS / "gen"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory(prefix="forgemesh-protos-") as folder:
        generate(Path(folder))
        wanted = files_in(Path(folder))
    found = files_in(COMMITTED)
    if check:
        return report(wanted, found)
    write(wanted, found)
    return 0


def generate(into: Path) -> None:
    """Runs protoc; a proto that it refuses ends the program with protoc's own message."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.glob("forgemesh/**/*.proto"))
    services = [source for source in sources if source.endswith("_service.proto")]
    protoc(sources, into, "python", "mypy")
    protoc(services, into, "grpc_python", "mypy_grpc")
    for package in {path.parent for path in into.rglob("*_pb2.py")}:
        (package / "py.typed").touch()


def protoc(sources: list[str], into: Path, *outputs: str) -> None:
    scripts = Path(sys.executable).parent
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"]
    command += [f"--plugin=protoc-gen-{name}={scripts}/protoc-gen-{name}" for name in ("mypy", "mypy_grpc")]
    command += [f"--{output}_out={into}" for output in outputs]
    finished = subprocess.run(command + sources, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr or f"protoc failed with exit code {finished.returncode}")


def files_in(folder: Path) -> dict[Path, bytes]:
    """Content by relative path, without what Python caches."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def write(wanted: dict[Path, bytes], found: dict[Path, bytes]) -> None:
    """Makes protos/gen equal to `wanted`, and leaves files alone that are so already."""
    stale = found.keys() - wanted.keys()
    for path in stale:
        (COMMITTED / path).unlink()
    changed = [path for path, content in wanted.items() if found.get(path) != content]
    for path in changed:
        (COMMITTED / path).parent.mkdir(parents=True, exist_ok=True)
        (COMMITTED / path).write_bytes(wanted[path])
    print(f"protos/gen: {len(wanted)} files, {len(changed)} written, {len(stale)} removed")


def report(wanted: dict[Path, bytes], found: dict[Path, bytes]) -> int:
    """The exit code of a check."""
    differing = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    if not differing:
        print(f"protos/gen: {len(wanted)} files, all up to date")
        return 0
    print("error: protos/gen is not what the protos give", file=sys.stderr)
    for path in differing:
        state = "missing" if path not in found else "left over" if path not in wanted else "differs"
        print(f"  {state}: protos/gen/{path.as_posix()}", file=sys.stderr)
    print("  to fix it: make protos, then commit protos/gen", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
