#!/usr/bin/env python3
"""
Writes a container image as `ctr images import` takes it, without a registry and without Docker.

    image.py --name localhost/forgemesh:dev --out image.tar --env PATH=/usr/bin FOLDER:. FILE:path/in/image

Each SOURCE:TARGET is a layer of its own; the same files give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path


def main() -> None:
    """Read the arguments, write the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--entry", action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--user", default="65532:65532")
    parser.add_argument("layers", nargs="+", metavar="SOURCE:TARGET")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.out.parent) as folder:
        layers = [_layer(Path(folder), number, text) for number, text in enumerate(arguments.layers)]
        config = {
            "architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"),
            "os": "linux",
            "config": {"Entrypoint": arguments.entry, "Env": arguments.env, "User": arguments.user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for _, digest in layers]},
        }
        manifest = [
            {"Config": "config.json", "RepoTags": [arguments.name], "Layers": [path.name for path, _ in layers]}
        ]
        with tarfile.open(arguments.out, "w") as image:
            for name, said in (("config.json", config), ("manifest.json", manifest)):
                _add(image, name, json.dumps(said).encode())
            for path, _ in layers:
                image.add(path, path.name)


def _layer(folder: Path, number: int, text: str) -> tuple[Path, str]:
    """A layer's file and its digest."""
    source, _, target = text.rpartition(":")
    path = folder / f"layer-{number}.tar"
    with tarfile.open(path, "w") as layer:
        layer.add(source, target, filter=_plain)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return path, digest.hexdigest()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _add(image: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    image.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
