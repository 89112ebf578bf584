#!/usr/bin/env python3
"""
A root file system with this machine's Python: rootfs.py FOLDER INTERPRETER LIBRARIES.

What the interpreter and the extensions below LIBRARIES are linked with is in it too. A stand-in for the base image that
a registry would give, without a shell: whatever needs one is found out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_NOT_NEEDED = shutil.ignore_patterns(
    "__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "site-packages", "config-*", "*.a"
)
_FOLDERS = ("data", "dev", "etc/ssl", "opt", "proc", "run", "sys", "tmp", "usr/local/bin", "usr/share", "var/tmp")
_MERGED = ("bin", "lib", "lib64", "sbin")
_PASSWD = "root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n"
_GROUP = "root:x:0:\nnonroot:x:65532:\n"


def main() -> None:
    """Make the folder anew."""
    root, interpreter, libraries = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    shutil.rmtree(root, ignore_errors=True)
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    program, library = (
        _ask(interpreter, "os.path.realpath(sys.executable)"),
        _ask(interpreter, "os.path.dirname(os.__file__)"),
    )
    shutil.copytree(library, _inside(root, library), ignore=_NOT_NEEDED, symlinks=True)
    _copy(root, program)
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to(program)
    extensions = [str(path) for path in (*Path(library).glob("lib-dynload/*.so"), *libraries.rglob("*.so"))]
    for linked in _linked([program, *extensions]):
        if not linked.startswith(str(libraries)):
            _copy(root, linked)
    for folder in ("/etc/ssl/certs", "/usr/share/zoneinfo"):
        if Path(folder).is_dir():
            shutil.copytree(folder, root / folder[1:], symlinks=False, ignore_dangling_symlinks=True)
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text(_GROUP)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    subprocess.run(["chmod", "-R", "go+rX", str(root)], check=True)


def _ask(interpreter: str, expression: str) -> str:
    return subprocess.check_output([interpreter, "-c", f"import os, sys; print({expression})"], text=True).strip()


def _inside(root: Path, path: str) -> Path:
    """Where the file stands in the new root; the folders that are links there lead to /usr."""
    first, _, rest = path.lstrip("/").partition("/")
    return root / "usr" / first / rest if first in _MERGED else root / first / rest


def _copy(root: Path, path: str) -> None:
    target = _inside(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(os.path.realpath(path), target)
    target.chmod(0o755)


def _linked(files: list[str]) -> set[str]:
    """Every library that these are linked with, and what the name service of the C library loads by name."""
    said = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    found = set(re.findall(r"(/\S+) \(0x", said))
    folder = Path(next(path for path in found if "/libc.so" in path)).parent
    return found | {
        str(path)
        for name in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
        if (path := folder / name).exists()
    }


if __name__ == "__main__":
    main()
